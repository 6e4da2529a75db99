"""PRIVATE. A progress bar by tqdm for long calls on files."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class ProgressBar:
    """Listens to a long call of `_core` while the `with` block runs: one bar for each stage."""

    def __init__(self, shown: bool | None) -> None:
        """None: shown where standard error is a terminal."""
        self._disable = None if shown is None else not shown
        self._bar: Any = None

    def begin(self, stage: str, total_bytes: int) -> None:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]

        self._close()
        self._bar = tqdm(
            desc=stage,
            total=total_bytes,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=self._disable,
        )

    def advance(self, more_bytes: int) -> None:
        self._bar.update(more_bytes)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()
