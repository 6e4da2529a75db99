"""PRIVATE. Configurations of data, which may hold a first mask."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_PLAIN = (int, float, str, bool, type(None))


def copied(config: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy; of numbers, texts and tuples of numbers at a fifth of the time of deepcopy."""
    return {key: value if _is_plain(value) else copy.deepcopy(value) for key, value in config.items()}


def _is_plain(value: Any) -> bool:
    kind = type(value)
    return kind in _PLAIN or (kind is tuple and all(type(each) in _PLAIN for each in value))


def with_own_mask(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config`, with a copy of its mask."""
    config = dict(config)
    if isinstance(config.get("mask"), Tensor):
        config["mask"] = config["mask"].detach().clone()
    return config


def given_mask(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    """Of the configuration, or a copy of that of the defaults, or None."""
    mask = config.get("mask")
    return with_own_mask(defaults).get("mask") if mask is None else mask
