"""What can be learned from the drawn world, task by task, by the same small network.

    python studies/world.py                       every row, some minutes each on one core
    python studies/world.py rhythm order          some
    python studies/world.py --seconds 240         processor seconds each network may train

    one frame   a random frame of each clip, no kernel longer than one frame
    slow        8 frames spread over the whole clip, ends included, as "8 frames, 8 apart" takes
    3-D         the clip at the row's own rate, four 3-D convolutions

``untrimmed`` are clips cut around the middle of its events; ``taken`` and ``used`` those of
``recall``: what is taken is seen, what is used is not.

Trained on the train split and measured on the test split, at 48 pixels and difficulty 0. Nothing
is written. ``chance`` is of all classes; ``ceiling`` what a single frame can reach at most.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.data import synthetic
from marey.video.sampling import linspace_indices

SIZE = (48, 64)
CROP = 48
BATCH = 8


@dataclass(frozen=True)
class Row:
    """``train`` and ``test`` count drawn videos; ``window`` source frames are seen at once by the
    3-D network as ``frames``; ``ceiling`` per cent from one frame."""

    task: str
    classes: tuple[str, ...]
    train: int
    test: int
    window: int
    frames: int
    ceiling: float


PAIRS = ("wave then bend", "bend then wave", "kick then jump", "jump then kick")
ROWS = {
    "rhythm": Row("rhythm", (), 360, 135, 24, 24, 100 / 3),
    "both": Row("both", (), 360, 135, 24, 24, 100 / 3),
    "order": Row("order", PAIRS, 240, 80, 64, 16, 50.0),
    "appearance": Row("appearance", (), 480, 120, 32, 4, 100.0),
    "direction": Row("direction", (), 480, 120, 32, 16, 50.0),
    "fine": Row("fine", (), 400, 100, 32, 16, 100.0),
    "untrimmed": Row("untrimmed", synthetic.TASKS["untrimmed"].classes, 60, 20, 16, 16, 100.0),
    "taken": Row("recall", ("take ball", "take cup"), 24, 12, 32, 16, 100.0),
    "used": Row("recall", ("use ball", "use cup"), 24, 12, 32, 16, 50.0),
}
CUT = 32  # frames cut around the middle of each event of a long video


class SmallNet(nn.Sequential):
    """(B, 3, T, H, W) -> (B, K): four convolutions, and the mean over time and place."""

    def __init__(self, classes: int, *, temporal: bool) -> None:
        layers: list[nn.Module] = []
        width_in = 3
        for k, width in enumerate((16, 32, 64, 96)):
            reach, place = 3 if temporal else 1, 5 if k == 0 else 3
            stride = (2 if temporal and k > 1 else 1, 2, 2)
            padding = (reach // 2, place // 2, place // 2)
            layers.append(
                nn.Conv3d(width_in, width, (reach, place, place), stride, padding, bias=False)
            )
            layers += [nn.BatchNorm3d(width), nn.ReLU()]
            width_in = width
        layers += [nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(0.1)]
        super().__init__(*layers, nn.Linear(width_in, classes))


def drawn(row: Row, split: str, count: int) -> tuple[Tensor, Tensor]:
    """Clips (N, 3, T, 48, 64) uint8 and their labels (N,)."""
    if synthetic.TASKS[row.task].kind != "labels":
        return cut(row, split, count)
    clips = [
        synthetic.draw(row.task, split, k, size=SIZE, difficulty=0, classes=row.classes)
        for k in range(count)
    ]
    frames = torch.from_numpy(np.stack([clip.frames for clip in clips]))
    return frames.permute(0, 4, 1, 2, 3), torch.tensor([clip.label for clip in clips])


def cut(row: Row, split: str, count: int) -> tuple[Tensor, Tensor]:
    """As ``drawn``, around the middle of the events of ``count`` long videos."""
    found, labels = [], []
    for k in range(count):
        video = synthetic.draw(row.task, split, k, size=SIZE, difficulty=0, distance_s=(4.0, 8.0))
        for start_s, stop_s, number in video.spans:
            name = video.classes[number]
            if name in row.classes:
                first = round(12.5 * (start_s + stop_s)) - CUT // 2
                index = np.arange(first, first + CUT).clip(0, len(video.times) - 1)
                found.append(video.frames[index])
                labels.append(row.classes.index(name))
    frames = torch.from_numpy(np.stack(found))
    return frames.permute(0, 4, 1, 2, 3), torch.tensor(labels)


def picked(kind: str, row: Row, total: int, draws: torch.Generator | None) -> Tensor:
    """The frames one clip shows a network; without ``draws`` those in the middle."""
    if kind == "slow":
        return linspace_indices(0.0, total, 8, total)
    length = 1 if kind == "one frame" else row.window
    room = total - length
    start = room // 2 if draws is None else int(torch.randint(0, room + 1, (), generator=draws))
    return linspace_indices(start, length, 1 if length == 1 else row.frames, total)


def seen(clips: Tensor, index: Tensor, draws: torch.Generator | None) -> Tensor:
    """Floats of the chosen frames, cropped to a square: at random, or in the middle."""
    room = clips.shape[-1] - CROP
    left = room // 2 if draws is None else int(torch.randint(0, room + 1, (), generator=draws))
    return (clips[:, :, index, :, left : left + CROP].float() - 115) / 60


def train(kind: str, row: Row, clips: Tensor, labels: Tensor, seconds: float) -> nn.Module:
    """A network after ``seconds`` of processor time, the rate a cosine over that time."""
    torch.manual_seed(0)
    draws = torch.Generator().manual_seed(0)
    net = SmallNet(int(labels.max()) + 1, temporal=kind != "one frame")
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    start = time.process_time()
    while True:
        for rows in torch.randperm(len(clips), generator=draws).split(BATCH):
            share = (time.process_time() - start) / seconds
            if share >= 1:
                return net.eval()
            warm = min(1.0, share / 0.08 + 0.02)
            optimiser.param_groups[0]["lr"] = 0.001 * warm * (1 + math.cos(math.pi * share))
            batch = seen(clips[rows], picked(kind, row, clips.shape[2], draws), draws)
            loss = F.cross_entropy(net(batch), labels[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


@torch.no_grad()
def accuracy(kind: str, row: Row, net: nn.Module, clips: Tensor, labels: Tensor) -> float:
    """Per cent of clips; the one-frame network sees a random frame of each."""
    draws = torch.Generator().manual_seed(1) if kind == "one frame" else None
    guess = [
        net(seen(clip[None], picked(kind, row, clips.shape[2], draws), None)).argmax(1)
        for clip in clips
    ]
    return 100 * float((torch.cat(guess) == labels).float().mean())


def main(words: list[str] | None = None) -> None:
    """Train three networks a row and print the table as it grows."""
    parser = argparse.ArgumentParser(description="What small networks learn from the drawn world.")
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(ROWS))
    parser.add_argument("--seconds", type=float, default=120.0, help="of training, each network")
    chosen = parser.parse_args(words)
    for name in chosen.tasks:
        if name not in ROWS:
            parser.error(f"{name!r} is not a row; choose from {', '.join(ROWS)}")
    if chosen.seconds <= 0:
        parser.error(f"--seconds is {chosen.seconds:g}, must be positive")
    torch.set_num_threads(1)
    print("task        classes  chance  ceiling  one frame    slow     3-D  core minutes")
    for name in chosen.tasks or ROWS:
        row = ROWS[name]
        clips, labels = drawn(row, "train", row.train)
        test = drawn(row, "test", row.test)
        count = int(labels.max()) + 1
        print(f"{name:11} {count:7} {100 / count:7.1f} {row.ceiling:8.1f}", end="", flush=True)
        for kind, width in (("one frame", 11), ("slow", 8), ("3-D", 8)):
            net = train(kind, row, clips, labels, chosen.seconds)
            print(f"{accuracy(kind, row, net, *test):{width}.1f}", end="", flush=True)
        print(f"{chosen.seconds / 60:14.1f}", flush=True)


if __name__ == "__main__":
    main()
