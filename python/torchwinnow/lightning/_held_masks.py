"""PRIVATE. Masks that hold while a model trains: dropped values stay zero from step to step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from .. import _ops
from ..data_sparsifier import _container as containers

# What an optimizer remembers of past gradients and adds to a weight later. Averages of squares
# only scale a step.
MOMENTUM_KEYS = ("exp_avg", "momentum_buffer")


def momenta_of(
    optimizer: Any, parameter: Tensor, keys: Iterable[str] = MOMENTUM_KEYS
) -> Iterator[Tensor]:
    """The optimizer's momenta of a parameter; none before its first step."""
    state: Mapping[str, Any] = optimizer.state.get(parameter, {})
    for key in keys:
        if isinstance(state.get(key), Tensor):
            yield state[key]


def hold_masks(sparsifier: Any, optimizers: Iterable[Any], keys: Iterable[str]) -> None:
    """Sets every dropped value of the data that are not squashed, and of their momenta, to +0.

    For after optimizer.step(): momentum and weight decay then find zeros and leave zeros.
    """
    optimizers = list(optimizers)
    for name in sparsifier.data_groups:
        if not containers.is_masked(sparsifier._container, name):
            continue
        weight, mask = sparsifier.get_data(name), sparsifier.get_mask(name)
        _ops.apply_mask_(weight.detach(), mask)
        for optimizer in optimizers:
            for momentum in momenta_of(optimizer, weight, keys):
                _ops.apply_mask_(momentum, mask)
