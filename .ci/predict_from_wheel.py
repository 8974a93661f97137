"""Run one prediction with marey imported from an unpacked wheel and nothing of the checkout."""

import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path

alone = str(Path(sys.argv[1]).resolve())
checkout = str(Path(__file__).resolve().parents[1] / "src")
sys.path[:] = [alone, *(p for p in sys.path if p != checkout)]

marey = import_module("marey")
assert Path(marey.__file__).is_relative_to(alone), f"marey came from {marey.__file__}"
main = import_module("marey.cli").main
draw = import_module("marey.data.synthetic").draw
write_video = import_module("marey.video").write_video

with tempfile.TemporaryDirectory() as folder:
    clip = Path(folder) / "clip.mp4"
    write_video(clip, draw("direction", "test", 0).frames, 25)
    told = Path(folder) / "told.json"
    words = ["predict", str(clip), "--model", "slow_r18_8x8", "--random-weights"]
    code = main([*words, "--views", "1x1", "--json-out", str(told)])
    rows = [json.loads(line) for line in told.read_text().splitlines()]
assert code == 0, f"marey predict exited with {code}"
assert len(rows) == 1, rows
assert rows[0]["predictions"], rows
print("the wheel alone predicts:", rows[0]["predictions"][0])
