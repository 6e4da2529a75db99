"""PRIVATE. The state of TrainingAwareDataSparsity.

    apply_to_model, interval, frequency   the options; loading requires the same
    sparsifier_class, scheduler_class     likewise
    batches, next_epoch, holding
    sparsifier   without apply_to_model, its state at the end of the last epoch, or None; otherwise
                 its masks and configurations without data, because the model has those
    scheduler    its state
    settings     the arguments of both classes, config and momentum_keys, as `plain`; missing in a
                 state of an earlier version
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..data_sparsifier import _state

# What a state has beside the options.
_PROGRESS = ("batches", "next_epoch", "holding", "sparsifier", "scheduler")


def class_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


_REMEDY = "construct it as it was when the state was saved, or start anew without the state"


def check_state(
    state: Mapping[str, Any],
    expected: Mapping[str, Any],
    defaults: Mapping[str, Mapping[str, Any]],
) -> None:
    """Raises RuntimeError, naming a key that is missing or whose value differs from the saved one.

    Args:
        defaults: the defaults of settings, which fill in what is not given, both then and now
    """
    head = "Error loading TrainingAwareDataSparsity:"
    options = {key: value for key, value in expected.items() if key != "settings"}
    for key in (*options, *_PROGRESS):
        if key not in state:
            raise RuntimeError(f"{head} the state has no '{key}'")
    for key, value in options.items():
        if state[key] != value:
            raise RuntimeError(f"{head} {key} was {state[key]!r} and is {value!r} now; {_REMEDY}")
    for key, saved in (state.get("settings") or {}).items():
        now = expected["settings"].get(key)
        if key in defaults:
            saved, now = {**defaults[key], **saved}, {**defaults[key], **now}
        for place, before, after in _differences(key, saved, now):
            raise RuntimeError(f"{head} {place} was {before} and is {after} now; {_REMEDY}")


def _differences(place: str, saved: Any, now: Any) -> Iterator[tuple[str, str, str]]:
    """Yields the places where two results of `plain` differ, with both values."""
    if not isinstance(saved, dict) or not isinstance(now, dict):
        if saved != now:
            yield place, repr(saved), repr(now)
        return
    for key in [*saved, *(key for key in now if key not in saved)]:
        if key not in saved or key not in now:
            was, is_now = (repr(each[key]) if key in each else "not given" for each in (saved, now))
            yield f"{place}[{key!r}]", was, is_now
        else:
            yield from _differences(f"{place}[{key!r}]", saved[key], now[key])


def plain(value: Any) -> Any:
    """Returns a value that a checkpoint can hold and that is equal in every process.

    Functions and objects become their names, because code may differ between versions of Python.
    """
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, Tensor):
        return plain(value.detach().cpu().tolist()) if value.numel() <= 64 else list(value.shape)
    return getattr(value, "__qualname__", None) or type(value).__qualname__


def defaults_of(cls: type) -> dict[str, Any]:
    """Returns the default arguments of a class, from its signature."""
    try:
        parameters = inspect.signature(cls).parameters
    except (TypeError, ValueError):  # not every class has one
        return {}
    return plain(
        {name: each.default for name, each in parameters.items() if each.default is not each.empty}
    )


def masks_of(sparsifier: Any) -> dict[str, Any]:
    """Returns a copy of a sparsifier's state without its data.

    Masks are dense: one byte for each value is less than COO's 17 for each kept one, unless more than
    94 % of the values are dropped.
    """
    return {
        "state": _state.dense_state(sparsifier.state),
        "data_groups": copy.deepcopy(sparsifier.data_groups),
    }


def load_masks(sparsifier: Any, saved: Mapping[str, Any]) -> None:
    """Loads the masks and configurations of masks_of into a sparsifier with the same data.

    Raises RuntimeError if names or shapes differ; nothing is changed then.
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
