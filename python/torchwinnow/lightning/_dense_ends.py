"""PRIVATE. Warnings at the end of training, if the model that is kept is not sparse enough."""

from __future__ import annotations

from typing import Any

from .._warn import warn
from ._run_length import short_of

# A share of all values; a smaller difference is not worth a warning.
_TOLERANCE = 0.01


class BestCheckpoints:
    """Records the share that was dropped when a ModelCheckpoint wrote its best file.

    `look` is called before masks advance: a file that is new then was written under the old masks.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, Any]] = {}
        self._levels: dict[int, float] = {}

    def look(self, trainer: Any, level: float) -> None:
        """
        Args:
            level: the share that the masks drop now
        """
        for callback in getattr(trainer, "checkpoint_callbacks", ()):
            path = getattr(callback, "best_model_path", "")
            # Without a monitor, `best_model_path` is just the last file.
            if not path or getattr(callback, "monitor", None) is None:
                continue
            best = str(path), getattr(callback, "best_model_score", None)
            if self._seen.get(id(callback)) != best:
                self._seen[id(callback)], self._levels[id(callback)] = best, level

    def warn(self, trainer: Any, level: float) -> None:
        """Warns of best files whose share is below `level`, the share at the end."""
        self.look(trainer, level)
        for callback in getattr(trainer, "checkpoint_callbacks", ()):
            before = self._levels.get(id(callback), level)
            if before + _TOLERANCE < level:
                path, _ = self._seen[id(callback)]
                warn(
                    f"the best checkpoint of {type(callback).__name__} by '{callback.monitor}', "
                    f"{path}, is from before the level was reached: its masks drop {before:.1%}, "
                    f"those of the trained model {level:.1%}. Save the model as it is now, or let "
                    f"only epochs after the schedule's end compete: log '{callback.monitor}' as "
                    "infinite before"
                )


def warn_of_early_end(trainer: Any, scheduler: Any) -> None:
    """Warns if training was stopped before masks had the schedule's last level."""
    if scheduler is None or getattr(trainer, "fast_dev_run", False):
        return
    last = scheduler.last_epoch - 1  # masks are computed before the schedule's step
    short = short_of(scheduler, last)
    if short is not None:
        warn(
            f"training was stopped before its schedule's end, at step {max(last, 0)} of "
            f"{scheduler.end_step}: the {scheduler.schedule_param} of '{short.name}' is only "
            f"{short.reached:.4g}, not {short.wanted:.4g}. With EarlyStopping, give the trainer "
            "min_epochs of the schedule's length"
        )
