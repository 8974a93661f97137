"""Times, rates and the memory of files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from marey.video import index as ix
from marey.video.decoder import PyavFile


def stream(average: Fraction | None, unit: Fraction = Fraction(1, 1000)) -> SimpleNamespace:
    return SimpleNamespace(average_rate=average, guessed_rate=None, base_rate=None, time_base=unit)


def test_the_exact_rate_is_kept_where_it_agrees() -> None:
    rounded = np.round(np.arange(50) * 1001 / 30).astype(np.int64)
    assert ix.average_rate(stream(Fraction(30000, 1001)), rounded) == Fraction(30000, 1001)
    assert ix.average_rate(stream(Fraction(90000)), rounded) == pytest.approx(29.97, abs=0.01)
    assert ix.average_rate(stream(None), np.arange(5) * 40) == 25
    assert ix.average_rate(stream(None), None) == ix.NOMINAL_RATE


def test_missing_stamps_are_filled() -> None:
    times = ix.filled_times([None, 40, None, 60, 200], 0.001, 25.0)
    assert np.allclose(times, [0, 0.04, 0.08, 0.12, 0.2])


def test_an_index_is_remembered_until_the_file_changes(
    film: SimpleNamespace, tmp_path: Path
) -> None:
    path = film.encode(tmp_path / "a.mp4", 6, options={"crf": "20"})
    first = PyavFile(str(path)).index
    assert PyavFile(str(path)).index is first
    film.encode(path, 7, options={"crf": "20"})
    assert len(PyavFile(str(path)).index) == 7
    assert ix.file_mark(str(tmp_path / "nowhere"), True) is None


def test_packets_in_doubt_are_recognised(film: SimpleNamespace, tmp_path: Path) -> None:
    whole = film.encode(tmp_path / "a.mp4", 6, options={"crf": "20"})
    assert not PyavFile(str(whole)).index.decoded
    film.damage_packet(whole, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PyavFile, "_scan", lambda self, table: pytest.fail(table.doubt))
        with pytest.raises(pytest.fail.Exception, match="damaged packets"):
            PyavFile(str(whole))
