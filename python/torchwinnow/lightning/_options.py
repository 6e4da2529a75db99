"""PRIVATE. Checks the options of TrainingAwareDataSparsity."""

from __future__ import annotations

from typing import Any


def check_options(scheduler_class: Any, apply_to_model: bool, interval: str, frequency: int) -> None:
    """Raises ValueError for options that are missing, out of range or contradict each other."""
    if scheduler_class is None:
        raise ValueError("data_scheduler_class is missing")
    if interval not in ("epoch", "step"):
        raise ValueError(f"interval: expected 'epoch' or 'step', found {interval!r}")
    if interval == "step" and not apply_to_model:
        raise ValueError(
            "interval: 'step' needs apply_to_model, since a copy is made at the end of an epoch only"
        )
    if frequency < 1:
        raise ValueError(f"frequency: expected at least 1 batch, found {frequency}")
