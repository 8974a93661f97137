"""The ring and the feed: newest frames only, everything else counted."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from marey.predictor.feed import (
    Feed,
    Frame,
    Ring,
    address_of,
    clip_of,
    clip_seconds,
    paced_frames,
    shrink,
)
from marey.types import ClipSpec
from marey.video import VideoError

SPEC = ClipSpec(frames=4, stride=5, rate=10.0, short_side=16)  # clips of 2 s


def picture(level: int) -> np.ndarray:
    return np.full((16, 20, 3), level, dtype=np.uint8)


class FakeClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now, self.slept = 100.0, 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds
        self.slept += seconds


def test_a_ring_keeps_the_newest_seconds_and_counts_what_nobody_saw() -> None:
    ring = Ring(1.0)
    for i in range(21):
        ring.push(Frame(picture(i), i / 10, 0.0))
    assert ring.span() == (1.0, 2.0)
    assert ring.dropped == 10
    assert len(ring.take()) == 11
    for i in range(21, 26):
        ring.push(Frame(picture(i), i / 10, 0.0))
    assert ring.dropped == 10  # those that left had been taken
    for i in range(26, 46):
        ring.push(Frame(picture(i), i / 10, 0.0))
    assert ring.dropped == 24  # frames 2.1 to 3.4 s left unseen


def test_a_ring_bounds_its_memory_and_survives_a_stream_begun_anew() -> None:
    ring = Ring(1.0, most=8)
    for i in range(100):
        ring.push(Frame(picture(0), i * 1e-6, 0.0))
    assert len(ring.take()) == 8
    ring.push(Frame(picture(0), -5.0, 0.0))
    assert ring.span() == (-5.0, -5.0)


def test_a_ring_of_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match="keep_s is 0"):
        Ring(0)


def test_a_clip_spreads_over_its_span_and_ends_with_the_newest_frame() -> None:
    frames = [Frame(picture(i), i / 10, 0.0) for i in range(31)]
    clip = clip_of(frames, SPEC, 2.0, "here")
    assert clip.times.tolist() == pytest.approx([1.5, 2.0, 2.5, 3.0])
    assert clip.frames[:, 0, 0, 0].tolist() == [15, 20, 25, 30]
    young = clip_of(frames[:3], SPEC, 2.0, "here")
    assert young.frames[:, 0, 0, 0].tolist() == [0, 0, 0, 2]
    with pytest.raises(ValueError, match="no frame yet"):
        clip_of([], SPEC, 2.0, "here")


def test_seconds_of_a_clip() -> None:
    assert clip_seconds(SPEC) == 2.0
    assert clip_seconds(ClipSpec(sampling="segment")) == 3.0


def test_a_slow_taker_gets_the_newest_frames_and_the_rest_are_counted() -> None:
    go = threading.Semaphore(30)

    def camera() -> Iterator[tuple[float, np.ndarray]]:
        for i in range(121):
            go.acquire()
            yield i / 10, picture(i)

    def let(frames: int, until: float) -> None:
        for _ in range(frames):
            go.release()
        for _ in range(5000):
            if feed.ring.span() is not None and feed.ring.span()[1] >= until - 1e-6:
                return
            threading.Event().wait(0.002)
        raise AssertionError(f"the reader never reached {until} s")

    feed = Feed(camera(), SPEC, every_s=0.5)
    clips = iter(feed)
    first = next(clips)
    let(0, 2.9)
    seen = first.end_s
    let(60, 8.9)  # six seconds pass while the network is busy
    second = next(clips)
    assert second.end_s == pytest.approx(8.9)  # not the oldest waiting, the newest
    assert second.clip.times.tolist() == pytest.approx([7.4, 7.9, 8.4, 8.9])
    unseen = round((second.end_s - 2.0 - seen) * 10) - 1  # frames between the two clips
    assert second.dropped - first.dropped == unseen
    let(40, 12.0)
    assert [one.end_s for one in clips] == pytest.approx([12.0])
    assert not any(t.name == "marey-feed" for t in threading.enumerate())


def test_a_stream_shorter_than_a_clip_gets_one() -> None:
    (only,) = Feed(iter([(0.0, picture(1)), (0.1, picture(2))]), SPEC)
    assert only.clip.frames[:, 0, 0, 0].tolist() == [1, 1, 1, 2]
    assert list(Feed(iter([]), SPEC)) == []


def test_stop_and_limits_end_a_feed_that_would_not() -> None:
    def forever() -> Iterator[tuple[float, np.ndarray]]:
        i = 0
        while True:
            threading.Event().wait(0.001)
            yield i / 10, picture(0)
            i += 1

    feed = Feed(forever(), SPEC)
    for count, _ in enumerate(feed, start=1):
        if count == 2:
            feed.stop()
    assert count == 2
    assert len(list(Feed(forever(), SPEC, max_seconds=0.2))) >= 1


def test_errors_of_the_reader_reach_the_taker() -> None:
    def breaks() -> Iterator[tuple[float, np.ndarray]]:
        yield 0.0, picture(0)
        raise OSError("cable pulled")

    with pytest.raises(VideoError, match="cable pulled"):
        list(Feed(breaks(), SPEC))
    with pytest.raises(VideoError, match=r"none\.mp4"):
        list(Feed("none.mp4", SPEC))
    with pytest.raises(VideoError, match="video99"):
        list(Feed(99, SPEC))
    with pytest.raises(ValueError, match="every_s is 0"):
        Feed(0, SPEC, every_s=0)


def test_a_file_is_played_at_its_own_pace(draw) -> None:
    clock = FakeClock()
    path = draw("a.mp4", [10] * 40, fps=20)
    seen = []
    for time_s, _ in paced_frames(path, threading.Event(), clock):
        assert clock.now >= 100.0 + time_s - 1e-6
        seen.append(time_s)
    assert seen == pytest.approx([i / 20 for i in range(40)])
    assert clock.slept == pytest.approx(39 / 20, abs=1e-3)


def test_frames_are_kept_no_larger_than_the_network_wants() -> None:
    assert shrink(np.zeros((100, 50, 3), dtype=np.uint8), 16).shape == (32, 16, 3)
    small = picture(3)
    assert shrink(small, 16) is small


def test_addresses() -> None:
    assert address_of("rtsp://a")[2]["rtsp_transport"] == "tcp"
    assert address_of("http://a")[1] is None
    name, kind, _ = address_of("0")
    assert (name, kind) in [("/dev/video0", "v4l2"), ("0", "avfoundation"), ("video=0", "dshow")]
