"""Features: values, times, files."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from marey.predictor import Predictor, extract_features
from marey.predictor.features import pooled

DARK, LIGHT = 55, 200


def test_rows_are_pooled_maps_of_each_window(brightness, draw, tmp_path) -> None:
    path = draw("turn.mp4", [DARK] * 20 + [LIGHT] * 20)
    written, failures = extract_features(path, brightness, tmp_path / "out", window_s=1.0)
    assert failures == []
    assert [p.name for p in written] == ["turn.npz"]
    with np.load(written[0]) as file:
        assert file["times"].tolist() == [[0.0, 1.0], [1.0, 2.0]]
        assert file["features"].shape == (2, 3)  # two maps of two and one channels
        assert file["features"].dtype == np.float32
        dark, light = file["features"].mean(axis=1)
        assert str(file["source"]) == str(path)
    assert dark == pytest.approx(2 * DARK / 255 - 1, abs=0.05)
    assert light == pytest.approx(2 * LIGHT / 255 - 1, abs=0.05)


def test_pathways_are_joined(tiny) -> None:
    clips = torch.randn(2, 3, 4, 37, 37)
    rows = pooled(Predictor(tiny), clips)
    assert rows.shape == (2, sum(tiny.widths))
    with torch.no_grad():
        (last,) = tiny.features(clips)
    torch.testing.assert_close(rows, last.mean((2, 3, 4)))


def test_safetensors_and_a_bad_file_among_good_ones(brightness, draw, tmp_path) -> None:
    draw("in/a.mp4", [DARK] * 20)
    draw("in/x/a.mp4", [LIGHT] * 20)
    (tmp_path / "in" / "bad.mp4").write_bytes(b"")
    written, failures = extract_features(
        tmp_path / "in", brightness, tmp_path / "out", format="safetensors"
    )
    assert [p.name for p in written] == ["in_a.safetensors", "x_a.safetensors"]
    assert [f.source.rsplit("/", 1)[1] for f in failures] == ["bad.mp4"]
    with safe_open(written[1], "np") as file:
        assert file.get_tensor("times").shape == (2, 2)  # a clip covers 0.8 s of 1 s
        assert json.dumps(file.metadata()["source"]).endswith('x/a.mp4"')
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [p.name for p in written]


def test_refusals(brightness, draw, tmp_path) -> None:
    path = draw("a.mp4", [DARK] * 20)
    with pytest.raises(ValueError, match="format is 'csv'"):
        extract_features(path, brightness, tmp_path, format="csv")
    with pytest.raises(ValueError, match="positive"):
        extract_features(path, brightness, tmp_path, window_s=0.0)
    (tmp_path / "bad1.mp4").write_bytes(b"")
    (tmp_path / "bad2.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="none of 2 videos"):
        extract_features(f"{tmp_path}/bad*.mp4", brightness, tmp_path / "out")
    assert not (tmp_path / "out").exists()
