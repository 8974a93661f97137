"""Index arithmetic against numbers worked by hand from the official rules."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marey.types import ClipSpec
from marey.video import clip_indices, is_clamped
from marey.video import sampling as s


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


WINDOWS = {  # frames, stride -> indices of one clip at the start of a 30 fps video
    (8, 8): [0, 9, 18, 27, 36, 45, 54, 63],
    (4, 16): [0, 21, 42, 63],
    (32, 2): [*range(0, 62, 2), 63],
    (16, 4): [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63],
    (1, 1): [0],
}


@pytest.mark.parametrize("shape", WINDOWS)
def test_linspace_windows_have_the_published_strides(shape: tuple[int, int]) -> None:
    spec = ClipSpec(frames=shape[0], stride=shape[1])
    found = clip_indices(300, 30.0, spec)
    assert found.tolist() == WINDOWS[shape]
    assert found.dtype == torch.int64


def test_linspace_counts_strides_at_the_specs_own_rate() -> None:
    spec = ClipSpec(frames=8, stride=8)
    # 64/30 s at 15 fps are 32 frames: linspace(0, 31, 8) = 0, 4.43, 8.86, ...
    assert clip_indices(300, 15.0, spec).tolist() == [0, 4, 8, 13, 17, 22, 26, 31]
    # At 60 fps 128 frames: linspace(0, 127, 8), steps of 18.14.
    assert clip_indices(300, 60.0, spec).tolist() == [0, 18, 36, 54, 72, 90, 108, 127]
    # At 1 fps 2.13 frames: linspace(0, 1.13, 8).
    assert clip_indices(9, 1.0, spec).tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    # Never shorter than one frame.
    assert clip_indices(9, 0.1, spec).tolist() == [0] * 8


def test_linspace_views_stop_short_of_the_end() -> None:
    spec = ClipSpec(frames=8, stride=8)
    starts = [clip_indices(300, 30.0, spec, view=i, num_views=10).tolist()[0] for i in range(10)]
    # (300 - 64) * i / 10 = 23.6 i, truncated
    assert starts == [0, 23, 47, 70, 94, 118, 141, 165, 188, 212]
    last = clip_indices(300, 30.0, spec, view=9, num_views=10).tolist()
    assert last == [212, 221, 230, 239, 248, 257, 266, 275]  # from 212.4 in steps of 9


def test_linspace_training_starts_are_real_numbers_over_all_places() -> None:
    spec = ClipSpec(frames=2, stride=5)
    rng = generator()
    drawn = torch.stack([clip_indices(30, 30.0, spec, generator=rng) for _ in range(2000)])
    assert drawn[:, 0].min() == 0
    assert drawn[:, 0].max() == 19  # starts are below 20
    assert drawn[:, 1].max() == 28
    counts = drawn[:, 0].bincount(minlength=20)
    assert counts.min() > 60, "uniform: 100 expected of each"
    assert (drawn[:, 1] - drawn[:, 0]).unique().tolist() == [9]
    again = clip_indices(30, 30.0, spec, generator=generator(5))
    assert torch.equal(again, clip_indices(30, 30.0, spec, generator=generator(5)))


def test_short_videos_repeat_their_last_frame() -> None:
    spec = ClipSpec(frames=8, stride=8)
    assert clip_indices(20, 30.0, spec).tolist() == [0, 9, 18, 19, 19, 19, 19, 19]
    assert clip_indices(20, 30.0, spec, generator=generator()).tolist()[:3] == [0, 9, 18]
    assert clip_indices(1, 30.0, spec).tolist() == [0] * 8
    assert is_clamped(63, 30.0, spec)
    assert not is_clamped(64, 30.0, spec)
    assert not is_clamped(32, 15.0, spec)
    assert is_clamped(100, 30.0, spec, span=(10, 60))


def test_a_span_is_sampled_as_if_it_were_the_video() -> None:
    spec = ClipSpec(frames=4, stride=2)
    whole = clip_indices(40, 30.0, spec, view=1, num_views=3)
    part = clip_indices(500, 30.0, spec, view=1, num_views=3, span=(100, 140))
    assert torch.equal(part, whole + 100)
    assert clip_indices(500, 30.0, spec, span=(498, 900)).tolist() == [498, 499, 499, 499]


STRIDE = ClipSpec(frames=16, stride=8, sampling="stride")


def test_stride_views_reach_from_start_to_end() -> None:
    # L = 15 * 8 + 1 = 121, V - L = 79: round(79 i / 9)
    starts = [clip_indices(200, 24.0, STRIDE, view=i, num_views=10)[0].item() for i in range(10)]
    assert starts == [0, 9, 18, 26, 35, 44, 53, 61, 70, 79]
    last = clip_indices(200, 24.0, STRIDE, view=9, num_views=10)
    assert last.tolist() == list(range(79, 200, 8))


def test_stride_training_draws_negative_starts_in_short_videos() -> None:
    spec = ClipSpec(frames=4, stride=4, sampling="stride")  # L = 13
    rng = generator()
    short = torch.stack([clip_indices(10, 24.0, spec, generator=rng) for _ in range(300)])
    assert {tuple(row) for row in short.tolist()} == {
        (0, 4, 8, 9), (0, 3, 7, 9), (0, 2, 6, 9), (0, 1, 5, 9)
    }  # fmt: skip
    long = torch.stack([clip_indices(20, 24.0, spec, generator=rng) for _ in range(400)])
    assert sorted(set(long[:, 0].tolist())) == list(range(8))
    assert is_clamped(12, 24.0, spec)
    assert not is_clamped(13, 24.0, spec)


SEGMENT = ClipSpec(frames=8, sampling="segment")


def test_segment_takes_the_middle_of_each_part() -> None:
    # width 31/8 = 3.875; borders round: 0 4 8 12 16 19 23 27 31
    assert clip_indices(32, 12.0, SEGMENT).tolist() == [2, 6, 10, 14, 17, 21, 25, 29]
    # 4 frames into 8 parts: width .375, borders 0 0 1 1 2 2 2 3 3
    assert clip_indices(4, 12.0, SEGMENT).tolist() == [0, 0, 1, 1, 2, 2, 2, 3]
    assert is_clamped(7, 12.0, SEGMENT)
    assert not is_clamped(8, 12.0, SEGMENT)


def test_segment_training_draws_inside_each_part_with_both_ends() -> None:
    rng = generator()
    drawn = torch.stack([clip_indices(32, 12.0, SEGMENT, generator=rng) for _ in range(400)])
    assert drawn.min(0).values.tolist() == [0, 4, 8, 12, 16, 19, 23, 27]
    assert drawn.max(0).values.tolist() == [4, 8, 12, 16, 19, 23, 27, 31]


def test_snippets_of_several_frames() -> None:
    spec = ClipSpec(frames=3, sampling="segment", segment_frames=5)
    # tick = (32 - 5 + 1) / 3 = 9.33: int(4.67), int(14), int(23.33)
    starts = [4, 14, 23]
    assert clip_indices(32, 12.0, spec).tolist() == [a + i for a in starts for i in range(5)]
    assert clip_indices(7, 12.0, spec).tolist() == [0, 1, 2, 3, 4] * 3  # 7 <= 3 + 5 - 1
    rng = generator()
    drawn = torch.stack([clip_indices(32, 12.0, spec, generator=rng) for _ in range(300)])
    firsts = drawn[:, ::5]  # d = 28 // 3 = 9
    assert firsts.min(0).values.tolist() == [0, 9, 18]
    assert firsts.max(0).values.tolist() == [8, 17, 26]


def test_snippet_starts_of_videos_shorter_than_their_parts() -> None:
    rng = generator()
    drawn = torch.stack([s.snippet_starts(9, 8, 5, generator=rng) for _ in range(200)])
    assert (drawn.diff(dim=1) >= 0).all()
    assert sorted(set(drawn.flatten().tolist())) == [0, 1, 2, 3, 4]
    assert s.snippet_starts(6, 8, 5, generator=rng).tolist() == [0] * 8


def test_other_tsn_rules() -> None:
    assert s.centre_starts(100, 4).tolist() == [12, 37, 62, 87]
    assert s.centre_starts(3, 5).tolist() == [0, 0, 1, 2, 2]
    assert s.spaced_starts(100)[:3].tolist() == [0, 4, 8]
    assert s.spaced_starts(10).tolist() == [0] * 25
    assert s.snippet_indices(torch.tensor([0, 8]), 4, 10).tolist() == [0, 1, 2, 3, 8, 9, 9, 9]
    window = s.dense_indices(100, 8)
    assert window.shape == (10, 8)
    assert window[:, 0].tolist() == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert window[0].tolist() == [0, 8, 16, 24, 32, 40, 48, 56]
    assert s.dense_indices(20, 8, generator=generator())[0].tolist() == [0, 8, 16, 4, 12, 0, 8, 16]


@given(
    num_frames=st.integers(1, 400),
    fps=st.floats(1, 240),
    frames=st.integers(1, 40),
    stride=st.integers(1, 20),
    rule=st.sampled_from(["linspace", "stride", "segment"]),
    thick=st.integers(1, 4),
    seed=st.none() | st.integers(0, 99),
    view=st.integers(0, 9),
)
def test_no_index_ever_leaves_the_video(
    num_frames: int, fps: float, frames: int, stride: int, rule: str, thick: int,
    seed: int | None, view: int,
) -> None:  # fmt: skip
    thick = thick if rule == "segment" else 1
    spec = ClipSpec(frames=frames, stride=stride, sampling=rule, segment_frames=thick)
    rng = None if seed is None else generator(seed)
    found = clip_indices(num_frames, fps, spec, generator=rng, view=view, num_views=10)
    assert found.shape == (frames * thick,)
    assert int(found.min()) >= 0
    assert int(found.max()) < num_frames
    if thick == 1:
        assert (found.diff() >= 0).all()


def test_impossible_requests_are_refused() -> None:
    spec = ClipSpec()
    with pytest.raises(ValueError, match="num_frames is 0"):
        clip_indices(0, 30.0, spec)
    with pytest.raises(ValueError, match="fps is 0"):
        clip_indices(10, 0.0, spec)
    with pytest.raises(ValueError, match="view is 3"):
        clip_indices(10, 30.0, spec, view=3, num_views=3)
    with pytest.raises(ValueError, match="holds no frame"):
        clip_indices(10, 30.0, spec, span=(10, 20))
    with pytest.raises(ValueError, match="holds no frame"):
        is_clamped(10, 30.0, spec, span=(5, 5))


SNIPPETS = ClipSpec(frames=3, sampling="snippet", test_frames=4)


def test_snippets_stand_in_the_middle_of_their_parts() -> None:
    assert clip_indices(30, 30.0, SNIPPETS).tolist() == [3, 11, 18, 26]  # int(7.5 (i + 1/2))
    pairs = ClipSpec(frames=2, sampling="snippet", segment_frames=3)
    assert clip_indices(12, 30.0, pairs).tolist() == [2, 3, 4, 7, 8, 9]  # starts int(5 (i + 1/2))
    assert clip_indices(2, 30.0, SNIPPETS).tolist() == [0, 0, 1, 1]  # too short: in order


def test_further_views_take_other_places_in_the_parts() -> None:
    spec = ClipSpec(frames=3, sampling="snippet")
    first, second = (clip_indices(30, 30.0, spec, view=v, num_views=2).tolist() for v in (0, 1))
    assert (first, second) == ([5, 15, 25], [0, 10, 20])
    ten = [clip_indices(30, 30.0, spec, view=v, num_views=10)[0].item() for v in range(10)]
    assert ten == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_snippets_of_training_fill_their_parts() -> None:
    drawn = torch.stack(
        [clip_indices(30, 30.0, SNIPPETS, generator=generator(seed)) for seed in range(200)]
    )
    assert drawn.min(0).values.tolist() == [0, 10, 20]
    assert drawn.max(0).values.tolist() == [9, 19, 29]


def test_a_dense_clip_is_a_window_of_64_frames() -> None:
    spec = ClipSpec(frames=8, sampling="dense")
    starts = [clip_indices(163, 30.0, spec, view=v, num_views=3).tolist() for v in range(3)]
    assert [row[0] for row in starts] == [0, 49, 99]
    assert all(row == list(range(row[0], row[0] + 64, 8)) for row in starts)
    drawn = clip_indices(163, 30.0, spec, generator=generator())
    assert (drawn.diff() == 8).all()


def test_stored_frames_of_a_clip() -> None:
    spec = ClipSpec(frames=3, sampling="snippet", segment_frames=5, test_frames=25)
    assert (s.clip_length(spec, training=True), s.clip_length(spec, training=False)) == (15, 125)
    assert s.clip_length(ClipSpec(frames=8, test_frames=4), training=False) == 8


def test_a_frame_has_the_fields_around_it() -> None:
    stacks = s.stack_indices(torch.tensor([6, 0, 10]), 4, 11).unflatten(0, (3, 4))
    assert stacks.tolist() == [[4, 5, 6, 7], [0, 0, 0, 1], [8, 9, 10, 10]]
    assert s.stack_indices(torch.tensor([5]), 10, 20).tolist() == list(range(10))  # t - 5 to t + 4


def test_strides_are_drawn_where_a_least_one_is_set() -> None:
    spec = ClipSpec(frames=5, stride=15, least_stride=5, sampling="stride")
    drawn = {s.drawn_stride(100, spec, generator(seed)).stride for seed in range(200)}
    assert drawn == set(range(5, 16))
    assert s.drawn_stride(100, spec, None).stride == 15
    assert s.drawn_stride(21, spec, None).stride == 5
    assert s.drawn_stride(3, spec, generator()).stride == 1
    found = clip_indices(21, 25.0, spec).tolist()
    assert found == [0, 5, 10, 15, 20]
    assert not is_clamped(21, 25.0, spec)
    assert is_clamped(4, 25.0, spec)
    plain = ClipSpec(frames=5, stride=15, sampling="stride")
    assert s.drawn_stride(21, plain, generator()) is plain


def test_a_spec_of_both_is_one_of_each() -> None:
    spec = ClipSpec(mean=(1.0, 2.0, 3.0, 4.0, 5.0), std=(1.0,) * 5, modality="rgb_flow")
    assert spec.channels == 23
    assert spec.of("rgb").mean == (1.0, 2.0, 3.0)
    assert (spec.of("flow").modality, spec.of("flow").mean) == ("flow", (4.0, 5.0))
    assert (spec.of("rgb").channels, spec.of("flow").channels) == (3, 2)
