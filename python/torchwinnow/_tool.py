"""PRIVATE. Starts the command-line tool that is part of the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

WINNOW = Path(__file__).parent / "bin" / "winnow"


def main() -> None:
    """Replaces this process by the tool, so that the caller gets its exit code and signals."""
    os.execv(WINNOW, ["winnow", *sys.argv[1:]])
