"""Holds a sparsifier's masks while an optimizer trains its data, in your own training loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from ._held_masks import MOMENTUM_KEYS, HeldMasks
from ._step_hooks import StepHooks
from ._warn import warn
from .data_sparsifier import BaseDataSparsifier
from .data_sparsifier import _container as containers


def hold_masks(
    sparsifier: BaseDataSparsifier,
    optimizers: Any,
    *,
    momentum_keys: Sequence[str] = MOMENTUM_KEYS,
) -> MaskHold:
    """Keeps dropped values at +0, from now on and after every step of the optimizers.

        sparsifier.step()
        with hold_masks(sparsifier, optimizer):
            train()
        sparsifier.squash_mask()

    A hook of the optimizer masks weights and their momenta, so gradients, momentum and weight decay
    cannot bring a dropped value back, and every forward pass sees the zeros. Masks that
    `sparsifier.step` computes later are held from the optimizer's next step on, or from `apply()`.
    Names may be added, removed and squashed meanwhile; masks are still held after `squash_mask`. Masks
    that drop nothing, before the first step, cost nothing. Averages of the weights are not masked: call
    `apply_mask_` with `sparsifier.get_mask(name)` on them.

    Args:
        sparsifier: its data are Parameters or Embeddings of the model, which the optimizers train
        optimizers: one or several of torch.optim, including those that wrap others, as accelerate's do
        momentum_keys: the keys of an optimizer's state that are masked; averages of squares are not

    Returns:
        An object that ends it: by `remove()`, or at the end of a `with` block.

    Raises:
        TypeError: for another kind of sparsifier, and for an optimizer without hooks for its steps.
        ValueError: if the optimizers train none of the sparsifier's data.

    Not thread-safe. Not in torch.ao.
    """
    if not isinstance(sparsifier, BaseDataSparsifier):
        raise TypeError(
            "sparsifier: expected a BaseDataSparsifier of torchwinnow, found "
            f"{type(sparsifier).__name__}"
        )
    given = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
    return MaskHold(sparsifier, given, momentum_keys)


class _LiveMasks(HeldMasks):
    """The masks of a sparsifier whose names and data may change at any time."""

    def __init__(self, sparsifier: BaseDataSparsifier, keys: Sequence[str]) -> None:
        super().__init__(sparsifier, {}, {}, keys)

    def weights(self) -> dict[str, Tensor]:
        sparsifier = self._sparsifier
        return {
            name: sparsifier.get_data(
                name, return_original=containers.is_masked(sparsifier._container, name)
            )
            for name in sparsifier.data_groups
        }

    def masks(self) -> dict[str, Tensor]:
        self._weights = self.weights()
        return {
            name: self._sparsifier.get_mask(name)
            for name in self._weights
            if not _keeps_all(self._sparsifier.state[name]["mask"])
        }


def _keeps_all(mask: Tensor) -> bool:
    """Returns True for an initial mask, whose elements share one value of memory."""
    return mask.numel() > 1 and not any(mask.stride()) and bool(mask.flatten()[0] == 1)


class MaskHold:
    """The result of `hold_masks`. A context manager that calls `remove()` at its end."""

    def __init__(
        self, sparsifier: BaseDataSparsifier, optimizers: list[Any], keys: Sequence[str]
    ) -> None:
        self._masks = _LiveMasks(sparsifier, keys)
        self._optimizers = optimizers
        weights = self._masks.weights()
        trained = set(_parameters_of(optimizers))
        if weights and not any(id(weight) in trained for weight in weights.values()):
            raise ValueError(
                f"the optimizers train none of the sparsifier's data {list(weights)[:5]}: hold the "
                "masks where the model's parameters are, and after the optimizer got them"
            )
        others = [name for name, weight in weights.items() if id(weight) not in trained]
        if others:
            warn(
                f"the optimizers train none of {others[:5]}{'' if len(others) <= 5 else ', ...'}: their "
                "zeros are held where you call apply(); pass all optimizers"
            )
        self._hooks = StepHooks(self._masks.apply_after_step)
        self._hooks.attach(optimizers)
        if not self._hooks:
            names = [type(each).__name__ for each in optimizers]
            raise TypeError(
                f"optimizers: {names} have no hooks for their steps (register_step_post_hook of "
                "torch.optim.Optimizer); call apply_mask_ after each step instead"
            )
        self.apply()

    def apply(self) -> None:
        """Masks all data and momenta now. Call it after sparsifier.step, or after loading weights."""
        self._masks.apply(self._optimizers)

    def remove(self) -> None:
        """Removes the hooks. Weights are not changed. A second call does nothing."""
        self._hooks.remove()

    def __enter__(self) -> MaskHold:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


def _parameters_of(optimizers: Iterable[Any]) -> Iterable[int]:
    """Yields the ids of the parameters. Raises TypeError for an object without parameter groups."""
    for optimizer in optimizers:
        groups = getattr(optimizer, "param_groups", None)
        if groups is None:
            raise TypeError(
                f"optimizers: expected optimizers of torch.optim, found {type(optimizer).__name__}"
            )
        yield from (id(parameter) for group in groups for parameter in group["params"])
