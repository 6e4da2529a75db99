"""PRIVATE. Holds masks while a model trains: dropped values stay zero from step to step."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from . import _ops
from ._warn import warn

# Momenta, which optimizers add to a weight later (exp_avg_diff is Adan's), and copies of the weights
# that some mix into the model: schedule-free optimizers (z), ASGD (ax) and Lookahead.
MOMENTUM_KEYS = (
    "exp_avg",
    "momentum_buffer",
    "exp_avg_fast",
    "exp_avg_slow",
    "exp_avg_diff",
    "z",
    "ax",
    "slow_param",
    "slow_params",
    "slow_buffer",
    "slow_weights",
    "lookahead_slow_buff",
)

# Words in keys of state that only scales a step or gives its sign: averages of squares, sums, curvature,
# the previous gradient. Zeros there would make the next step too large.
_SCALES = re.compile(r"sq|sum|var|step|hess|delta|inf|prev|grad|max|nu$|p0$")
_MASKABLE = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def optimizers_in(optimizers: Iterable[Any]) -> Iterator[Any]:
    """Yields the optimizers and those that they wrap (Lookahead, accelerate, ZeroRedundancyOptimizer)."""
    pending, seen = list(optimizers), set()
    while pending:
        optimizer = pending.pop(0)
        if id(optimizer) in seen:
            continue
        seen.add(id(optimizer))
        yield optimizer
        for value in getattr(optimizer, "__dict__", {}).values():
            if isinstance(getattr(value, "state", None), Mapping) and hasattr(value, "param_groups"):
                pending.append(value)


def _listed_state(optimizer: Any) -> dict[Tensor, dict[str, Any]]:
    """Returns state that an optimizer keeps outside of `state`, by parameter.

    Lookahead, for example, has an attribute that lists a tensor for each parameter of each group.
    """
    found: dict[Tensor, dict[str, Any]] = {}
    for key, value in getattr(optimizer, "__dict__", {}).items():
        if key == "param_groups" or not isinstance(value, list) or not value:
            continue
        groups = [group["params"] for group in optimizer.param_groups]
        if list(map(_length, value)) != list(map(_length, groups)):
            continue
        for group, tensors in zip(groups, value):
            for parameter, tensor in zip(group, tensors):
                found.setdefault(parameter, {})[key] = tensor
    return found


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, tuple)) else -1


def _state_of(optimizer: Any, listed: Mapping[Tensor, Any], weight: Tensor) -> Mapping[str, Any]:
    """Returns an optimizer's state for a weight, by key; empty before its first step."""
    state = getattr(optimizer, "state", {}).get(weight, {})
    if weight in listed:
        state = {**state, **listed[weight]}
    return state if isinstance(state, Mapping) else {}


def _apply_to_sparse(momentum: Tensor, mask: Tensor) -> None:
    """Masks a momentum of sparse gradients, entry by entry. It need not be coalesced."""
    with torch.no_grad():
        entries = mask[tuple(momentum._indices())]
        momentum._values().masked_fill_(entries.eq(0), 0)


def holds(tensor: Tensor, mask: Tensor) -> bool:
    """Returns True if all dropped values of a tensor, on any device, are zero."""
    return not bool((tensor.detach().ne(0) > mask.to(tensor.device).ne(0)).any())


def mask_tensor_(tensor: Tensor, mask: Tensor) -> str | None:
    """Sets the dropped values to +0, on the tensor's device.

    Returns why that is impossible, with nothing written, or None.
    """
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"a {type(tensor).__name__}"
    if tensor.shape != mask.shape:
        return f"of shape {tuple(tensor.shape)}"
    if tensor.dtype not in _MASKABLE:
        return f"of {tensor.dtype}"
    mask = mask.to(tensor.device)
    if tensor.layout is torch.sparse_coo:
        _apply_to_sparse(tensor, mask)
        return None
    try:
        _ops.apply_mask_(tensor.detach(), mask)
    except ValueError as error:
        return f"no tensor that can be written ({error})"
    return None


class HeldMasks:
    """Applies a sparsifier's masks to its data and to the optimizers' state for them.

    State that cannot be masked, or whose meaning is unknown, is not changed; a warning names it once.
    """

    def __init__(
        self,
        sparsifier: Any,
        names: Mapping[str, str],
        weights: Mapping[str, Tensor],
        keys: Sequence[str],
    ) -> None:
        """
        Args:
            names: the names of the parameters, by the names of the data
            weights: the parameters, by their names
            keys: the keys of an optimizer's state that are masked
        """
        self._sparsifier, self._names, self._weights = sparsifier, names, weights
        self._keys = frozenset(keys)
        self._scales: set[Any] = set()  # keys seen so far that only scale a step
        self._warned: set[tuple[str, str]] = set()
        self._versions: dict[str, tuple[int, int]] = {}  # of weight and mask, when last applied

    def check(self, model: nn.Module, paths: Mapping[str, str]) -> None:
        """Raises RuntimeError if a parameter is another object now, which would not be masked.

        Args:
            paths: the paths of the parameters in the model, by their names
        """
        for fqn, weight in self._weights.items():
            if model.get_parameter(paths[fqn]) is not weight:
                raise RuntimeError(
                    f"the parameter '{fqn}' was replaced after on_train_start, and no mask is held in "
                    "the new one; copy values into the old one instead (load_state_dict without "
                    "assign=True)"
                )

    def masks(self) -> dict[str, Tensor]:
        """Returns the masks by the parameters' names, also after the sparsifier was squashed."""
        return {fqn: self._sparsifier.get_mask(name) for name, fqn in self._names.items()}

    def apply(self, optimizers: Iterable[Any], *, written: bool = False) -> None:
        """Sets every dropped value of the weights, and of their momenta, to +0.

        Call it after optimizer.step(). Momentum and weight decay then keep the zeros.

        Args:
            written: skip weights if neither they nor their mask were written since the last call.
                torch's version counter tells, which misses writes through `.data`
        """
        self._apply(optimizers, lambda fqn, weight, mask: not (
            written and self._versions.get(fqn) == (weight._version, mask._version)
        ))

    def apply_after_step(self, optimizer: Any) -> None:
        """Does the same for the weights of one optimizer, which it has just changed."""
        groups = optimizer.param_groups
        stepped = {id(parameter) for group in groups for parameter in group["params"]}
        self._apply((optimizer,), lambda fqn, weight, mask: id(weight) in stepped)

    def _apply(self, optimizers: Iterable[Any], wants: Callable[[str, Tensor, Tensor], bool]) -> None:
        held: list[tuple[Any, Any]] | None = None
        for fqn, mask in self.masks().items():
            weight = self._weights[fqn]
            if not wants(fqn, weight, mask):
                continue
            if held is None:
                held = [(each, _listed_state(each)) for each in optimizers_in(optimizers)]
            _ops.apply_mask_(weight.detach(), mask)
            self._versions[fqn] = weight._version, mask._version
            for optimizer, listed in held:
                for key, value in _state_of(optimizer, listed, weight).items():
                    self._apply_to_state(optimizer, fqn, key, value, mask)

    def _apply_to_state(
        self, optimizer: Any, fqn: str, key: str, value: Any, mask: Tensor
    ) -> None:
        if key in self._scales or not isinstance(value, Tensor) or value is self._weights[fqn]:
            return
        if key in self._keys:
            reason = mask_tensor_(value, mask)
            if reason is not None:
                self._warn(
                    fqn, key, f"cannot be masked, since it is {reason}, and dropped values may come "
                    "back from it; leave it out of momentum_keys where that is meant", optimizer
                )
        elif _SCALES.search(str(key)):
            self._scales.add(key)
        elif value.shape == mask.shape and mask.dim() > 0:
            self._warn(
                fqn, key, f"is not masked; if it is a momentum or a copy of the weights, add {key!r} "
                "to momentum_keys, since dropped values come back from it", optimizer
            )

    def _warn(self, fqn: str, key: str, what: str, optimizer: Any) -> None:
        place = (type(optimizer).__name__, key)
        if place in self._warned:
            return
        self._warned.add(place)
        warn(f"'{key}' of '{fqn}' in {place[0]} {what}")
