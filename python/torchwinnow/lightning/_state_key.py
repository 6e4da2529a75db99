"""PRIVATE. The key of a callback's state in a checkpoint: different for each callback, equal in each run.

Lightning asks for it before there is a trainer, so it depends on the callback's settings alone. They are
written as a text that is equal in every process, and the key contains its digest.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_PLAIN = (str, int, float, bool, tuple, type(None))


def _code_of(function: Any) -> list[Any]:
    """Returns what distinguishes one lambda from another: its names, constants and plain captures."""
    code = getattr(function, "__code__", None)
    if code is None:
        return []
    constants = [each for each in code.co_consts if isinstance(each, (str, int, float, tuple))]
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    held = [each for each in (*cells, *(function.__defaults__ or ())) if isinstance(each, _PLAIN)]
    return [list(code.co_names), repr(constants), repr(held)]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents
    except ValueError:  # its variable has no value yet
        return False
    return True


def _plain(value: Any) -> Any:
    """Returns a value for JSON, without addresses of objects, which differ between processes."""
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Tensor):
        return ["tensor", str(value.dtype), list(value.shape)]
    if isinstance(value, functools.partial):
        return ["partial", _plain(value.func), _plain(value.args), _plain(value.keywords)]
    if callable(value):
        name = getattr(value, "__qualname__", type(value).__qualname__)
        return [getattr(value, "__module__", None), name, *_code_of(value)]
    return [type(value).__module__, type(value).__qualname__]


def state_key(class_name: str, name: str | None, settings: Mapping[str, Any]) -> str:
    """Returns `CLASS{'name': NAME}`, or `CLASS{'settings': DIGEST}` for a callback without a name."""
    if name is not None:
        return f"{class_name}{ {'name': name} !r}"
    text = json.dumps(_plain(settings), sort_keys=True)
    return f"{class_name}{ {'settings': hashlib.sha256(text.encode()).hexdigest()[:12]} !r}"


def state_in_checkpoint(
    states: Mapping[Any, Any], key: str, class_name: str, others: set[str]
) -> Any | None:
    """Returns the state for the callback `key` if the checkpoint has it under another key, or None.

    The settings may differ from those that were saved, or the checkpoint may be older than keys with
    settings. The state is used if it is the only one that no other callback has.

    Args:
        states: the checkpoint's states, by key
        others: the keys of the trainer's other callbacks of the class

    Raises:
        RuntimeError: if several states, or several callbacks, could be meant.
    """
    ours = [each for each in states if str(each).partition("{")[0] == class_name]
    free = [each for each in ours if each not in others]
    if not free:
        return None
    waiting = [each for each in others if each not in states]
    if len(free) > 1 or waiting:
        raise RuntimeError(
            f"Error loading {class_name}: the checkpoint has the states {ours}, and which is that of "
            f"{key} cannot be told; construct the callbacks as they were when it was saved, or give "
            "each a name= from the start"
        )
    return states[free[0]]
