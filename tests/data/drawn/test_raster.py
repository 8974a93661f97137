"""Strokes: coverage, order and shape."""

import numpy as np

from marey.data.drawn.raster import Stroke, coverage, evaluate, paint, points, radii


def stroke(x: float, radius: float, depth: float = 0.0, **more: object) -> Stroke:
    return Stroke(
        points(x, 20.0, 2),
        points(x, 20.0, 2),
        radii(radius, radius, 2),
        (1.0, 0.0, 0.0),
        np.full(2, depth),
        **more,  # type: ignore[arg-type]
    )


def test_coverage_of_a_disc_is_its_area() -> None:
    for radius in (3.0, 6.5, 10.0):
        patch = evaluate(stroke(20.3, radius), (40, 40))
        assert patch is not None
        area = (1 - patch.keep[0]).sum()
        assert abs(area - np.pi * radius**2) < 0.02 * np.pi * radius**2


def test_slab_covers_its_rectangle() -> None:
    slab = stroke(20.0, 4.0, kind="slab")
    slab.end = points(32.0, 20.0, 2)
    patch = evaluate(slab, (40, 40))
    assert patch is not None
    assert abs((1 - patch.keep[0]).sum() - 12 * 8) < 1.0


def test_strokes_outside_the_frame_are_not_drawn() -> None:
    assert evaluate(stroke(-20.0, 4.0), (40, 40)) is None
    hidden = stroke(20.0, 4.0, shown=np.array([False, True]))
    canvas = np.zeros((2, 3, 40, 40), np.float32)
    paint(canvas, [hidden])
    assert canvas[0].sum() == 0
    assert canvas[1, 0].max() > 200


def test_a_stroke_cut_by_the_border_keeps_its_place() -> None:
    canvas, wide = (np.zeros((2, 3, 40, w), np.float32) for w in (40, 80))
    inside, shifted = stroke(1.0, 6.0), stroke(21.0, 6.0)
    paint(canvas, [inside])
    paint(wide, [shifted])
    assert np.allclose(canvas[..., :10], wide[..., 20:30], atol=1e-3)


def test_nearer_things_hide_farther_ones_whatever_the_order_of_the_list() -> None:
    far, near = stroke(20.0, 8.0, 1.0, tag="far"), stroke(20.0, 8.0, 2.0, tag="near")
    near.colour = (0.0, 1.0, 0.0)
    for strokes in ([far, near], [near, far]):
        canvas = np.zeros((2, 3, 40, 40), np.float32)
        paint(canvas, strokes)
        assert canvas[0, 1, 20, 20] > 200
        assert canvas[0, 0, 20, 20] == 0
        assert coverage(strokes, "near", (40, 40))[0, 20, 20] == 1
        assert coverage(strokes, "far", (40, 40))[0].max() < 0.3
