"""PRIVATE. A progress bar by tqdm for long calls on files."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class ProgressBar:
    """Listens to a long call of `_core` while the `with` block runs: one bar for each stage.

    A bar that cannot be drawn is left out: where there is no standard error (windowed programs,
    daemons) or none any more, the call goes on without one.
    """

    def __init__(self, shown: bool | None) -> None:
        """None: shown where standard error is a terminal."""
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
        self._bar.disable = True  # or it would be drawn once more when it is collected
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
    """Whether there is a standard error to draw on, and a bar is wanted there."""
    stream = sys.stderr
    try:
        if stream is None or getattr(stream, "closed", False):
            return False
        if shown is not None:
            return bool(shown)
        is_terminal = getattr(stream, "isatty", None)  # what stands in for a file may not have it
        return is_terminal is not None and bool(is_terminal())
    except (OSError, ValueError):  # detached from its file
        return False
