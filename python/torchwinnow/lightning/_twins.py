"""PRIVATE. Several callbacks of the same kind in one trainer."""

from __future__ import annotations

from typing import Any

from ._attach import few
from .._warn import warn


def twins_in(trainer: Any, kind: type) -> list[Any]:
    """Returns the trainer's callbacks of a kind, in order."""
    return [each for each in getattr(trainer, "callbacks", ()) if isinstance(each, kind)]


def metric_of(callback: Any, twins: list[Any]) -> str:
    """Returns the name of a callback's metric. Lightning would log the mean of two with one name."""
    place = twins.index(callback) if callback in twins else 0
    suffix = callback.name or (str(place + 1) if place else "")
    return f"sparsity_{suffix}" if suffix else "sparsity"


def warn_of_shared(callback: Any, twins: list[Any]) -> None:
    """Warns of parameters in which an earlier callback holds masks too."""
    if not callback.apply_to_model or callback not in twins:
        return
    for twin in twins[: twins.index(callback)]:
        theirs = {id(weight) for weight in twin._weights.values() if twin.apply_to_model}
        shared = [fqn for fqn, weight in callback._weights.items() if id(weight) in theirs]
        if shared:
            warn(
                f"two {type(callback).__name__} hold masks in the same parameters: {few(shared)}; "
                "what either drops is zero. Let their filters part the model"
            )
