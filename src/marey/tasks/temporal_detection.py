"""When a class is to be seen: windows of long videos in, labelled segments out.

    training      windows (B, 1, C, T, H, W) -> answers (B, N, K + 2) -> class loss + segment loss
    evaluation    each window's best candidates, kept until all of a video are there; then joined

``loss`` has the parts ``class_loss`` and ``segment_loss``. ``anchor`` and ``sigmoid`` heads sum the
focal and the distance-IoU loss over the batch and divide by its positives; ``softmax`` averages
each window's and then the windows'.

Source: BasicTAD, CVIU 2023, and the authors' code.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from marey.choices import TaskChoice
from marey.config import nearest
from marey.data.table import AMBIGUOUS
from marey.geometry.segments import Found, check_suppression
from marey.metrics import segment_ap as measure
from marey.tasks.segment_decoding import Grid, candidates_of, class_scores, join
from marey.tasks.segment_targets import (
    IGNORED,
    Target,
    anchor_targets,
    distance_iou,
    focal,
    point_targets,
    softmax_focal,
)
from marey.types import Batch, steps_a_second

COLUMNS = 4  # of a candidate: start and end in frames of the video, score, class


class TemporalDetection:
    """The task of one detector of the zoo, whose ``config``, ``spec`` and ``classes`` it reads.

    Raises ValueError for suppression that cannot be carried out or classes that are not there.
    """

    best = "mAP"
    counts_correct = False  # no share of a batch is right or wrong

    def __init__(self, choice: TaskChoice, model: Any) -> None:
        self.choice, self.config = choice.segments, model.config
        self.rate = steps_a_second(model.spec)
        for told in (self.choice.inside, self.choice.joined, self.choice.again):
            check_suppression(told)
        self.classes = model.classes or tuple(str(k) for k in range(self.config.num_classes))
        self.pairs = []
        for pair in self.choice.repeat_as:
            for name in pair:
                if name not in self.classes:
                    raise ValueError(
                        f"segments.repeat_as names class {name!r}, which the data does not have"
                        f"{nearest(name, self.classes)}"
                    )
            self.pairs.append((self.classes.index(pair[0]), self.classes.index(pair[1])))
        self._grid: Grid | None = None

    def grid(self, answers: Tensor) -> Grid:
        """Where the candidates of these answers are, on their device."""
        if self._grid is None or len(self._grid.place) != answers.shape[1]:
            self._grid = Grid.of(answers.shape[1], self.config)
        return self._grid.to(answers.device)

    # Training

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``loss`` and its two parts."""
        assert batch.rgb is not None
        assert isinstance(batch.target, Tensor)
        answers = model(batch.rgb.flatten(0, 1)).float()
        told = batch.target.unflatten(1, (-1, 3))  # (B, 1 + M, 3)
        wanted = [row[1:][row[1:, 2] >= 0] for row in told]
        spans, labels = [w[:, :2] for w in wanted], [w[:, 2].long() for w in wanted]
        parts = self.losses(answers, spans, labels, valid=told[:, 0, 2])
        return {"loss": parts[0] + parts[1], "class_loss": parts[0], "segment_loss": parts[1]}

    def losses(
        self, answers: Tensor, spans: list[Tensor], labels: list[Tensor], *, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Class and segment loss of windows with instances ``spans`` (G, 2) in frames."""
        grid = self.grid(answers)
        logits, offsets = answers[..., :-2], answers[..., -2:]
        targets = [self.targets(grid, *pair) for pair in zip(spans, labels, strict=True)]
        for target, padding in zip(targets, grid.in_padding(valid), strict=True):
            target.labels[padding] = IGNORED
        background = self.config.num_classes
        positive = [(t.labels >= 0) & (t.labels < background) for t in targets]
        found = grid.decode(offsets) if grid.anchors is not None else None
        segment = []
        for b, (target, own) in enumerate(zip(targets, positive, strict=True)):
            if found is not None:
                mine = found[b][own]
            else:  # in strides of the level
                around = grid.place[:, None] + offsets[b] * offsets.new_tensor([-1.0, 1.0])
                mine = around[own]
            segment.append(distance_iou(mine, target.segments[own]))
        if self.config.head == "softmax":
            classes = torch.stack(
                [softmax_focal(x, t.labels) for x, t in zip(logits, targets, strict=True)]
            )
            means = [x.mean() if len(x) else x.sum() for x in segment]
            return classes.mean(), torch.stack(means).mean()
        counts = [int(own.sum()) for own in positive]
        if self.config.head == "anchor":
            total = sum(max(1, count) for count in counts)
        else:
            total = max(1, sum(counts))
        every = torch.cat([t.labels for t in targets])
        return focal(logits.flatten(0, 1), every) / total, torch.cat(segment).sum() / total

    def targets(self, grid: Grid, spans: Tensor, labels: Tensor) -> Target:
        """What each candidate of one window should answer."""
        background = self.config.num_classes
        if grid.anchors is not None:
            return anchor_targets(grid.anchors, spans, labels, background)
        return point_targets(
            grid.place,
            grid.reach,
            spans,
            labels,
            strides=grid.stride,
            background=background,
            edges=self.config.head == "softmax",
        )

    # Evaluation

    def candidates(self, answers: Tensor, valid: list[int]) -> list[Found]:
        """The candidates of each window, in its frames, on the CPU."""
        grid = self.grid(answers)
        segments = grid.decode(answers[..., -2:]).cpu()
        scores = class_scores(answers[..., :-2], self.config.head).cpu()
        return [
            candidates_of(s, p, n, self.choice)
            for s, p, n in zip(segments, scores, valid, strict=True)
        ]

    def batch_scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """The candidates of each window as a row of numbers (B, candidates * 4), in frames of the
        video, score -1 where there are fewer."""
        assert batch.rgb is not None
        assert isinstance(batch.target, Tensor)
        device = next(model.parameters()).device
        answers = model(batch.rgb.flatten(0, 1).to(device, non_blocking=True)).float()
        _, starts, valid = batch.target[:, :3].long().unbind(1)
        most = min(self.choice.candidates, answers.shape[1] * self.config.num_classes)
        rows = torch.full((len(answers), most, COLUMNS), -1.0)
        for b, found in enumerate(self.candidates(answers, valid.tolist())):
            count = len(found.scores)
            rows[b, :count, :2] = found.segments + starts[b]
            rows[b, :count, 2], rows[b, :count, 3] = found.scores, found.labels.float()
        return rows.flatten(1)

    def scores(self, model: nn.Module, *pixels: Tensor) -> Tensor:
        """Not to be had from pixels alone."""
        raise ValueError("a detector's windows need their place in the video: use batch_scores")

    def segments(self, parts: list[Found], *, end_s: float = float("inf")) -> Found:
        """The candidates of a video's windows, in its frames, as its segments in seconds."""
        found = join(parts, self.choice, self.pairs)
        return found._replace(segments=(found.segments / self.rate).clamp(0, end_s))

    def metric(self) -> DetectionMetric:
        """An empty accumulator."""
        return DetectionMetric(self)

    def state_dict(self) -> dict[str, Any]:
        """Nothing outlives a step here."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuses the state of another task."""
        if state:
            raise ValueError(f"task state has {sorted(state)}, which detection does not keep")


class DetectionMetric:
    """Windows' candidates and their videos' segments, kept until the figures are asked for."""

    def __init__(self, task: TemporalDetection) -> None:
        self.task = task
        self._parts: dict[int, list[Found]] = defaultdict(list)
        self._truth: dict[int, np.ndarray] = {}
        self._unclear: dict[int, np.ndarray] = {}  # segments of no clear class
        self._found: dict[int, Found] | None = None

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Add windows: rows of ``batch_scores`` and the samples' targets."""
        self._found = None
        for row, told in zip(scores, target, strict=True):
            candidates = row.unflatten(0, (-1, COLUMNS))
            candidates = candidates[candidates[:, 2] >= 0]
            video = int(told[0])
            self._parts[video].append(
                Found(candidates[:, :2], candidates[:, 2], candidates[:, 3].long())
            )
            instances = told.unflatten(0, (-1, 3))[1:].double()
            self._truth[video] = instances[instances[:, 2] >= 0].numpy()
            self._unclear[video] = instances[instances[:, 2] == AMBIGUOUS].numpy()

    def found(self) -> dict[int, Found]:
        """The segments of each video by its row, in seconds."""
        if self._found is None:
            self._found = {v: self.task.segments(parts) for v, parts in self._parts.items()}
        return self._found

    def _table(self) -> np.ndarray:
        """Average precision (K, T)."""
        if not self._parts:
            raise ValueError("no video was scored: check that the split has readable videos")
        said = []
        for video, found in self.found().items():
            columns = (column.tolist() for column in found)
            said += [
                (video, span, label, score) for span, score, label in zip(*columns, strict=True)
            ]
        return measure.average_precision(
            _instances(self._truth),
            measure.instances(*_columns(said, 4)),
            self.task.choice.overlaps,
            num_classes=self.task.config.num_classes,
            rule=self.task.choice.rule,
            ambiguous=_instances(self._unclear),
        )

    def result(self) -> dict[str, float]:
        """mAP, the mean over overlaps, and mAP@T at each of them. All 0-1."""
        means = measure.mean_over_classes(self._table())
        levels = self.task.choice.overlaps
        each = {f"mAP@{t:g}": float(value) for t, value in zip(levels, means, strict=True)}
        return {"mAP": float(means.mean()), **each}

    def per_class(self) -> list[float | None]:
        """Each class's average precision over the overlaps; None where it has no instance."""
        return [None if np.isnan(row).all() else float(row.mean()) for row in self._table()]

    def confusion(self) -> np.ndarray | None:
        """None: a segment is not one of a fixed number of things."""
        return None

    def describe(self, items: Any) -> list[dict[str, Any]]:
        """One plain row a video, as predictions.json has them."""
        rows = []
        for video, found in sorted(self.found().items()):
            columns = (column.tolist() for column in found)
            segments = [
                {"start_s": round(a, 3), "end_s": round(b, 3), "score": round(p, 5), "class": k}
                for (a, b), p, k in zip(*columns, strict=True)
            ]
            truth = [[round(a, 3), round(b, 3), int(k)] for a, b, k in self._truth[video].tolist()]
            name = items[video].video if items is not None else str(video)
            rows.append({"video": name, "segments": segments, "truth": truth})
        return rows


def _instances(videos: dict[int, np.ndarray]) -> measure.Instances:
    rows = [(v, row[:2].tolist(), int(row[2])) for v, some in videos.items() for row in some]
    return measure.instances(*_columns(rows, 3))


def _columns(rows: list[Any], count: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]
