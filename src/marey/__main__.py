"""``python -m marey`` is the same as ``marey``."""

import sys

from marey.cli import main

sys.exit(main())
