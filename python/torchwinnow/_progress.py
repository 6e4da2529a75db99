"""PRIVATE. A progress bar, drawn by tqdm, for long calls on files."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class ProgressBar:
    """Shows the progress of a long call of `_core` in a `with` block, with one bar for each stage.

    If there is no standard error (windowed programs, daemons), or it disappears, the call continues
    without a bar.
    """

    def __init__(self, shown: bool | None) -> None:
        """If `shown` is None, bars are shown if standard error is a terminal."""
        self._shown = _can_show(shown)
        self._bar: Any = None

    def begin(self, stage: str, total_bytes: int) -> None:
        self._close()
        if not self._shown:
            return
        from tqdm.auto import tqdm  # type: ignore[import-untyped]

        try:
            self._bar = tqdm(
                desc=stage, total=total_bytes, unit="B", unit_scale=True, leave=False
            )
        except (OSError, ValueError):
            self._shown = False

    def advance(self, more_bytes: int) -> None:
        if self._bar is None:
            return
        try:
            self._bar.update(more_bytes)
        except (OSError, ValueError):
            self._give_up()

    def _close(self) -> None:
        if self._bar is None:
            return
        try:
            self._bar.close()
        except (OSError, ValueError):
            self._give_up()
        self._bar = None

    def _give_up(self) -> None:
        self._bar.disable = True  # otherwise tqdm would draw it once more when it is collected
        self._bar = None
        self._shown = False

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()


def _can_show(shown: bool | None) -> bool:
    """Returns True if there is a standard error to draw on, and a bar is wanted there."""
    stream = sys.stderr
    try:
        if stream is None or getattr(stream, "closed", False):
            return False
        if shown is not None:
            return bool(shown)
        is_terminal = getattr(stream, "isatty", None)  # a replaced stderr may not have it
        return is_terminal is not None and bool(is_terminal())
    except (OSError, ValueError):  # detached from its file
        return False
