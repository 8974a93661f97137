"""Figures: feet on the ground, limbs of constant length, hands that reach."""

import numpy as np
import pytest

from marey.data.drawn import figures, motions, pools

LOOK = pools.figure_look(4)


def stand(frames: int) -> figures.Place:
    return figures.Place(np.full(frames, 50.0), np.full(frames, 100.0), np.full(frames, 60.0))


@pytest.mark.parametrize("name", list(motions.FINE) + list(motions.RHYTHMIC))
def test_feet_touch_the_ground_and_limbs_keep_their_length(name: str) -> None:
    action = (motions.FINE | motions.RHYTHMIC)[name]
    motion = action.motion(np.linspace(0, 2, 41))
    body = figures.body_joints(LOOK, motion)
    lowest = np.minimum(body["ankle_l"][:, 1], body["ankle_r"][:, 1])
    assert np.allclose(lowest, 0.028 + motion["lift"])
    for a, b in (("shoulder_l", "elbow_l"), ("hip_r", "knee_r"), ("knee_r", "ankle_r")):
        length = np.linalg.norm(body[a] - body[b], axis=1)
        assert np.ptp(length) < 1e-9
    assert body["head"][:, 1].max() < 1.3


def test_turning_round_mirrors_the_body() -> None:
    motion = motions.wave_one(np.zeros(1))
    body = figures.body_joints(LOOK, motion)
    front = figures.project(body, np.zeros(1), stand(1))
    back = figures.project(body, np.full(1, 180.0), stand(1))
    assert np.allclose(front["hand_l"][:, 0] - 50, 50 - back["hand_l"][:, 0])
    assert np.allclose(front["hand_l"][:, 2], -back["hand_l"][:, 2])


def test_hand_reaches_near_targets_and_stretches_towards_far_ones() -> None:
    place = stand(1)
    seen = figures.project(
        figures.body_joints(LOOK, motions.neutral(np.zeros(1))), np.zeros(1), place
    )
    shoulder = seen["shoulder_l"][:, :2].copy()
    near = shoulder + [[8.0, -3.0]]
    figures.reach(seen, "l", near, np.ones(1), 1.0)
    assert np.allclose(seen["hand_l"][:, :2], near)
    figures.reach(seen, "l", shoulder + [[500.0, 0.0]], np.ones(1), 1.0)
    reached = seen["hand_l"][0, :2] - shoulder[0]
    assert 10 < reached[0] < 40
    assert abs(reached[1]) < 1e-9


def test_unknown_joint_is_refused() -> None:
    with pytest.raises(ValueError, match="tail"):
        figures.pose(3, tail=1.0)


def test_mix_is_linear() -> None:
    a, b = figures.pose(3, lean=0.0), figures.pose(3, lean=40.0)
    assert figures.mix(a, b, np.array([0, 0.5, 1]))["lean"].tolist() == [0, 20, 40]
