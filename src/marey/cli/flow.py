"""``marey flow``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from marey.cli.parse import echo
from marey.config import to_plain


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Optical flow of a video or a data set, stored; repeat the command to go on."""

    source: Annotated[
        Positional[str],
        tyro.conf.arg(
            metavar="SRC",
            help="video, folder of frames or of videos, or data set as for marey train",
        ),
    ]
    out: Annotated[Positional[str], tyro.conf.arg(metavar="DST", help="folder for the flow")]
    method: Literal["dis", "farneback", "tvl1", "raft"] = "dis"
    """dis and farneback need OpenCV, tvl1 its contrib package, raft a file of weights"""
    preset: Literal["ultrafast", "fast", "medium"] = "medium"
    """of dis"""
    bound: float = 20.0
    """pixels a frame at which motion is cut"""
    short_side: int = 256
    """pixels to which frames are scaled first; 0: as they are"""
    warped: bool = False
    """take the camera's motion out, as TSN's warped flow"""
    store: Literal["jpeg", "video"] = "jpeg"
    """pairs flow_x_00001.jpg, flow_y_00001.jpg, or a lossless file"""
    quality: int = 95
    """of JPEG"""
    workers: int = 0
    """videos at once; 0: as many as cores"""
    raft_weights: str = ""
    """file of torchvision's RAFT, small or large"""
    device: str = "auto"
    """where raft runs"""
    json: bool = False
    """print the counts as one line of JSON"""

    def run(self) -> int:
        """Compute what is not there yet, name what failed."""
        from marey.data.flow_sets import write_flow
        from marey.video.flow import FlowChoice

        report = write_flow(
            self.source,
            self.out,
            choice=FlowChoice(
                method=self.method,
                preset=self.preset,
                bound=self.bound,
                short_side=self.short_side,
                quality=self.quality,
                warped=self.warped,
            ),
            store=self.store,
            workers=self.workers,
            weights=self.raft_weights,
            device=self.device,
            progress=flow_line,
        )
        for failure in report.failures:
            echo(f"{failure.source}: {failure.reason}")
        if report.unsteadied:
            echo(
                f"{report.unsteadied} fields hold the camera's motion still: too few corners agreed"
            )
        if self.json:
            print(json.dumps(to_plain(report)))
        else:
            failed = f", {len(report.failures)} failed" if report.failures else ""
            print(f"{self.out}: {report.written} written, {report.before} there before{failed}")
        return 1 if report.failures else 0


def flow_line(done: int, total: int) -> None:
    """How far it is, every twentieth of the way, on stderr."""
    if done in (0, total) or done % max(1, total // 20) == 0:
        echo(f"flow of {done} of {total} videos")
