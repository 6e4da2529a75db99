"""PRIVATE. Starts the command-line tool that the package brings along."""

from __future__ import annotations

import os
import sys
from pathlib import Path

WINNOW = Path(__file__).parent / "bin" / "winnow"


def main() -> None:
    """Becomes the tool: its exit codes and signals are those that the caller sees."""
    os.execv(WINNOW, ["winnow", *sys.argv[1:]])
