"""PRIVATE. The name of a callback's state in a checkpoint: of its own for each callback, in every run.

Lightning asks for it before there is a trainer, so it comes from the callback's settings alone: what
prints alike in every process is written down in one text, and the key has a digest of it.
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
    """What tells one lambda from another: names and constants in it, and plain values that it holds."""
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
    """A value for JSON, without addresses of objects."""
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
    """`CLASS{'name': NAME}`, or `CLASS{'settings': DIGEST}` for a callback without a name."""
    if name is not None:
        return f"{class_name}{ {'name': name} !r}"
    text = json.dumps(_plain(settings), sort_keys=True)
    return f"{class_name}{ {'settings': hashlib.sha256(text.encode()).hexdigest()[:12]} !r}"


def state_in_checkpoint(
    states: Mapping[Any, Any], key: str, class_name: str, others: set[str]
) -> Any | None:
    """The state that is meant for the callback `key`, where the checkpoint does not have it as such.

    Other settings than when it was saved, or a checkpoint from before keys had settings: the state is
    taken where it is the only one that nobody else asks for. None where there is none at all.

    Args:
        states: the checkpoint's, by key
        others: keys of the trainer's other callbacks of the class

    RuntimeError where there are several, or several that ask.
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
