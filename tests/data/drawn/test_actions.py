"""What is told by a frame, what by motion, and what by neither."""

import numpy as np
import pytest

from marey.data import synthetic
from marey.data.drawn import actions, directions, motions
from marey.data.drawn.stage import Setting


def setting(task: str = "t", frames: int = 64, **changes: object) -> Setting:
    values = {"size": (60, 80), "times": np.arange(frames) / 25, "difficulty": 0} | changes
    return Setting((task, "train", 1), "train", **values)  # type: ignore[arg-type]


def hands(stage: object) -> np.ndarray:
    return stage.actors[-1].seen["hand_l"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", list(motions.RHYTHMIC))
def test_tempos_are_the_same_pose_seen_every_ninth_frame(kind: str) -> None:
    """For each phase of one tempo another tempo has a phase with equal poses at stride 9."""
    motion = motions.RHYTHMIC[kind].motion
    times = np.arange(0, 64, actions.SLOW_STEP) / 25
    slow, medium, fast = actions.CYCLES
    for phase in np.linspace(0, 1, 7):
        poses = [
            motion(p + rate * times) for p, rate in ((phase, slow), (-phase, medium), (phase, fast))
        ]
        for other in poses[1:]:
            for joint, angle in poses[0].items():
                assert np.allclose(angle, other[joint], atol=1e-9)


def test_tempos_differ_at_every_second_frame() -> None:
    times = np.arange(0, 64, 2) / 25
    crossings = []
    for rate in actions.CYCLES:
        angle = motions.swing(rate * times + 0.1)["elbow_raise_l"]
        crossings.append(int((np.diff(np.sign(angle - 20)) != 0).sum()))
    assert crossings == [4, 11, 17]


def test_phase_is_random() -> None:
    firsts = [
        hands(
            actions.rhythm(Setting(("r", k), "train", (60, 80), np.arange(4) / 25, 0), "wave slow")
        )
        for k in range(12)
    ]
    assert np.ptp([f[0, 1] - f[0, 1].round(-2) for f in firsts]) > 1
    assert len({round(float(f[0, 1]), 3) for f in firsts}) == 12


def test_motion_of_appearance_does_not_depend_on_its_class() -> None:
    moved = [hands(actions.appearance(setting(), name)) for name in actions.APPEARANCE_CLASSES]
    assert all(np.array_equal(moved[0], other) for other in moved[1:])


def test_both_halves_are_independent() -> None:
    """The prop does not change the motion, the tempo not what a single frame may show."""
    by_prop = [hands(actions.both(setting(), f"{k} medium")) for k in actions.BOTH_PROPS]
    assert all(np.array_equal(by_prop[0], other) for other in by_prop[1:])
    slow, fast = (hands(actions.both(setting(), f"ball {t}")) for t in ("slow", "fast"))
    assert np.allclose(slow[::9], fast[::9])
    assert not np.allclose(slow[::2], fast[::2])


def test_a_prop_beside_the_figure_stands_still_and_does_not_change_its_motion() -> None:
    clips = [
        synthetic.draw("beside", "train", k, size=(48, 64), frames=16, difficulty=0)
        for k in range(9)
    ]
    ball, box, flag = (clip.frames.astype(int) for clip in clips[1::3])  # one tempo
    assert [clips[k].label for k in (1, 4, 7)] == [1, 4, 7]
    for one, other in ((ball, box), (box, flag), (ball, flag)):
        unlike = np.abs(one - other).max(axis=(0, 3)) > 40  # where the props stand
        assert 20 < unlike.sum() < 600
        moved = [np.abs(clip[8] - clip[0]).max(axis=2) > 40 for clip in (one, other)]
        assert moved[0].sum() > 10
        assert not (moved[0] & unlike).any()
        assert np.array_equal(moved[0] & ~unlike, moved[1] & ~unlike)


@pytest.mark.parametrize("task", ["fine", "direction", "rhythm", "appearance", "both", "beside"])
def test_labels_are_balanced_and_subsets_keep_the_order(task: str) -> None:
    count = len(synthetic.TASKS[task].classes)
    some = synthetic.TASKS[task].classes[1:4]
    labels = [
        synthetic.draw(task, "train", k, size=(32, 32), frames=2, classes=some).label
        for k in range(6)
    ]
    assert labels == [0, 1, 2, 0, 1, 2]
    counts = {"fine": 10, "direction": 12, "rhythm": 9, "appearance": 12, "both": 9, "beside": 9}
    assert count == counts[task]


def test_actors_stay_in_the_frame() -> None:
    from marey.data.drawn.film import Options
    from marey.data.drawn.tasks import film_of

    for index in range(40):
        for task in ("fine", "direction"):
            stage = film_of(task, "train", index, Options()).stage
            box = stage.boxes(stage.actors[-1])
            middle = 0.5 * (box[:, 0] + box[:, 2])
            assert middle.min() > 0.02, (task, index)
            assert middle.max() < 0.98, (task, index)
            assert (box[:, 3] - box[:, 1]).max() > 0.3


def test_names_of_partners() -> None:
    assert directions.partner("sit") == "stand"
    assert directions.partner("put down") == "pick up"
    with pytest.raises(ValueError):
        directions.partner("walk")


@pytest.mark.parametrize("task", ["fine", "rhythm", "both", "beside", "appearance", "direction"])
def test_a_round_over_the_classes_shares_its_scene(task: str) -> None:
    """So no class can be told by its background, its figure or where the figure stands."""
    from marey.data.drawn.film import Options
    from marey.data.drawn.tasks import film_of

    count = len(synthetic.TASKS[task].classes)
    step = 2 if task == "direction" else count  # there a pair shares it
    stages = [film_of(task, "train", k, Options()).stage for k in range(step)]
    assert len({stage.texture for stage in stages}) == 1
    assert len({stage.actors[-1].look.number for stage in stages}) == 1
    assert len({stage.zoom.tobytes() for stage in stages}) == 1
    following = film_of(task, "train", count, Options()).stage
    assert following.zoom.tobytes() + following.offset.tobytes() != (
        stages[0].zoom.tobytes() + stages[0].offset.tobytes()
    )
