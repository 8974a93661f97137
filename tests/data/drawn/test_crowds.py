"""Scenes: every figure has labels and a box of its own each second."""

import numpy as np

from marey.data.drawn import crowds
from marey.data.drawn.film import Options
from marey.data.drawn.tasks import film_of

SMALL = Options(size=(120, 160))


def test_rows_of_every_second_and_figure() -> None:
    people = set()
    for index in range(12):
        film = film_of("scenes", "train", index, SMALL)
        who = {person for _, person, _, _ in film.people}
        people.add(len(who))
        assert len(film.people) == 9 * len(who)
        for time_s, _, box, labels in film.people:
            assert time_s == int(time_s)
            assert 0 <= box[0] < box[2] <= 1
            assert 0 <= box[1] < box[3] <= 1
            assert 0.1 < box[3] - box[1] < 0.8
            assert labels
    assert people == {2, 3, 4}


def test_boxes_hold_the_figure_and_not_more() -> None:
    """A figure drawn alone, on black, covers its box to within a pixel."""
    film = film_of("scenes", "val", 1, Options(difficulty=0))
    stage = film.stage
    boxes = [row for row in film.people if row[1] == 0]
    mask = stage.mask("person 0")
    stage.strokes = [s for s in stage.strokes if s.tag == "person 0" and s.kind != "shadow"]
    mask = stage.mask("person 0")
    for time_s, _, box, _ in boxes:
        y, x = np.nonzero(mask[round(time_s * 25)])
        told = np.array(box) * [160, 120, 160, 120]
        found = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        assert np.abs(told - found).max() <= 1.5


def test_hands_are_shaken_by_two_and_labels_differ_within_a_scene() -> None:
    shake, differing = crowds.SCENE_CLASSES.index("shake hands"), 0
    shaken = 0
    for index in range(12):
        film = film_of("scenes", "train", index, SMALL)
        by_time: dict[float, list[tuple[int, ...]]] = {}
        for time_s, _, _, labels in film.people:
            by_time.setdefault(time_s, []).append(labels)
        for labels in by_time.values():
            count = sum(shake in names for names in labels)
            assert count in (0, 2)
            shaken += count > 0
            differing += len(set(labels)) > 1
    assert shaken > 4
    assert differing > 60
