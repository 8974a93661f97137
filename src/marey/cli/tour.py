"""``marey demo`` and ``marey doctor``."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """What is installed, what decodes, what to fix; exit code 1 when something needs fixing."""

    json: bool = False
    """print the findings as one line of JSON"""

    def run(self) -> int:
        """Print one line a finding."""
        from marey.doctor import examine

        findings = examine()
        if self.json:
            print(json.dumps([dataclasses.asdict(f) for f in findings]))
        else:
            for finding in findings:
                mark = {True: "ok  ", False: "FIX ", None: "-   "}[finding.fine]
                cure = f"  ({finding.cure})" if finding.cure and finding.fine is not True else ""
                print(f"{mark}{finding.what:14} {finding.told}{cure}")
        return 1 if any(f.fine is False for f in findings) else 0


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The whole job on a drawn data set: draw, train, evaluate, predict, report; 4 minutes."""

    out: str = "demo"
    """folder for everything the demo writes"""

    def run(self) -> int:
        """Run the tour and print where to look."""
        from marey.demo import tour

        return tour(Path(self.out))
