"""Run one prediction with marey imported from an unpacked wheel and nothing of the checkout."""

import json
import sys
import tempfile
from pathlib import Path

alone = str(Path(sys.argv[1]).resolve())
checkout = str(Path(__file__).resolve().parents[1] / "src")
sys.path[:] = [alone, *(p for p in sys.path if p != checkout)]

import marey  # noqa: E402

assert Path(marey.__file__).is_relative_to(alone), f"marey came from {marey.__file__}"

from marey.cli import main  # noqa: E402
from marey.data.synthetic import draw  # noqa: E402
from marey.video import write_video  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    clip = Path(folder) / "clip.mp4"
    write_video(clip, draw("direction", "test", 0).frames, 25)
    told = Path(folder) / "told.json"
    words = ["predict", str(clip), "--model", "slow_r18_8x8", "--random-weights"]
    code = main([*words, "--views", "1x1", "--json-out", str(told)])
    rows = [json.loads(line) for line in told.read_text().splitlines()]
assert code == 0, f"marey predict exited with {code}"
assert rows and rows[0]["predictions"], rows
print("the wheel alone predicts:", rows[0]["predictions"][0])
