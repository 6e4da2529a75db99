"""PRIVATE. What TrainingAwareDataSparsity saves.

    apply_to_model, interval, frequency   of the options: another configuration is refused
    sparsifier_class, scheduler_class     likewise
    batches, next_epoch, holding
    sparsifier   without apply_to_model: its state as of the last epoch's end, or None; else its
                 masks and configurations without data: the model has those
    scheduler    its state
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..data_sparsifier import _state

KEYS = (
    "apply_to_model",
    "interval",
    "frequency",
    "sparsifier_class",
    "scheduler_class",
    "batches",
    "next_epoch",
    "holding",
    "sparsifier",
    "scheduler",
)


def class_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def check_state(state: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """RuntimeError naming a key that is missing or was another one when the state was saved."""
    for key in KEYS:
        if key not in state:
            raise RuntimeError(
                f"Error loading TrainingAwareDataSparsity: the state has no '{key}'"
            )
    for key, value in expected.items():
        if state[key] != value:
            raise RuntimeError(
                f"Error loading TrainingAwareDataSparsity: {key} was {state[key]!r} and is "
                f"{value!r} now; construct it as it was when the state was saved"
            )


def masks_of(sparsifier: Any) -> dict[str, Any]:
    """A copy of a sparsifier's state without its data.

    Masks are dense: one byte a value is less than the 17 of a kept one in COO, up to 94 % of zeros.
    """
    return {
        "state": _state.dense_state(sparsifier.state),
        "data_groups": copy.deepcopy(sparsifier.data_groups),
    }


def load_masks(sparsifier: Any, saved: Mapping[str, Any]) -> None:
    """Gives a sparsifier that has the same data the masks and configurations of masks_of.

    RuntimeError where names or shapes differ; nothing is changed then.
    """
    state, groups = _state.dense_state(saved["state"]), saved["data_groups"]
    if list(state) != list(sparsifier.state) or list(groups) != list(sparsifier.data_groups):
        raise RuntimeError(
            f"Error loading masks: they are of {list(state)}, the model's parameters are "
            f"{list(sparsifier.state)}"
        )
    for name, entries in state.items():
        expected, found = sparsifier.get_mask(name).shape, entries["mask"].shape
        if found != expected:
            raise RuntimeError(
                f"Error loading {name}: its mask has shape {tuple(found)}, the model's parameter "
                f"{tuple(expected)}"
            )
    for name, entries in state.items():
        mask = sparsifier.get_mask(name)  # the parametrization has the same object
        mask.data = entries["mask"].to(mask.device)
        sparsifier.state[name] = {**entries, "mask": mask}
        sparsifier.data_groups[name] = dict(groups[name])
