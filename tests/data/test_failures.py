import pytest

from marey.data.failures import FailureLog
from marey.types import Failure


def test_counts_files_once_and_keeps_the_first_reason() -> None:
    log = FailureLog([Failure("a.mp4", "cut"), Failure("b.mp4", "empty")])
    fresh = log.add([Failure("a.mp4", "other"), Failure("c.mp4", "text")])
    assert [f.source for f in fresh] == ["c.mp4"]
    assert len(log) == 3
    assert log.events == 4
    assert log.share(60) == pytest.approx(0.05)
    assert log.report() == ["a.mp4: cut", "b.mp4: empty", "c.mp4: text"]
    assert log.failures[0] == Failure("a.mp4", "cut")


def test_the_share_is_a_limit_that_may_be_reached_but_not_passed() -> None:
    log = FailureLog([Failure("a.mp4", "cut")])
    log.raise_if_above(0.05, 20)
    with pytest.raises(
        ValueError, match=r"1 of 19 files .* bad share 0\.05.*a\.mp4: cut"
    ) as caught:
        log.raise_if_above(0.05, 19)
    assert "\n" not in str(caught.value)


def test_nothing_read_is_no_share() -> None:
    assert FailureLog().share(0) == 0.0
