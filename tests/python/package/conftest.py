"""The tests of the installed package. The reference of the mask rule stands one folder up."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
