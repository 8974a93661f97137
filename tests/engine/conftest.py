"""The tiny recipe of ``tiny_run.py``, as a module that test files can import."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
