"""Holds a sparsifier's masks while an optimizer trains its data, in a loop of your own."""

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
    """Keeps what the masks drop at +0, from now on and after every step of the optimizers.

        sparsifier.step()
        with hold_masks(sparsifier, optimizer):
            train()
        sparsifier.squash_mask()

    Weights and their momenta are masked by a hook of the optimizer, so that gradients, momentum and
    weight decay cannot bring a dropped value back, and every forward pass sees the zeros. Masks that
    `sparsifier.step` makes later hold from the optimizer's next step on, or from `apply()`. Names may
    be added and removed meanwhile, and squashed: masks hold on after `squash_mask`. Masks that drop
    nothing, before the first step, cost nothing. Averages of the weights are not known here: use
    `apply_mask_` with `sparsifier.get_mask(name)` on those.

    Args:
        sparsifier: its data are what the optimizers train: Parameters or Embeddings of the model
        optimizers: one of torch.optim, or several; also one that wraps another, as accelerate's does
        momentum_keys: what is masked of an optimizer's state; averages of squares are not

    Returns:
        What ends it: `remove()`, or the end of a `with` block.

    Raises:
        TypeError: for another sparsifier, and for an optimizer without hooks for its steps.
        ValueError: where the optimizers train none of the sparsifier's data.

    Not for several threads at once. Differs from torch.ao: not offered there.
    """
    if not isinstance(sparsifier, BaseDataSparsifier):
        raise TypeError(
            "sparsifier: expected a BaseDataSparsifier of torchwinnow, got "
            f"{type(sparsifier).__name__}"
        )
    given = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
    return MaskHold(sparsifier, given, momentum_keys)


class _LiveMasks(HeldMasks):
    """The masks of a sparsifier that may get other names and data at any time."""

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
    """Whether it is a first mask, one value of memory that nobody has asked for."""
    return mask.numel() > 1 and not any(mask.stride()) and bool(mask.flatten()[0] == 1)


class MaskHold:
    """Masks that hold, made by `hold_masks`. A context manager: its end is `remove()`."""

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
        """Masks all data and momenta now: after sparsifier.step, or where weights were loaded."""
        self._masks.apply(self._optimizers)

    def remove(self) -> None:
        """Takes the hooks away; weights stay as they are. Nothing happens the second time."""
        self._hooks.remove()

    def __enter__(self) -> MaskHold:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


def _parameters_of(optimizers: Iterable[Any]) -> Iterable[int]:
    """TypeError for what has no groups of parameters."""
    for optimizer in optimizers:
        groups = getattr(optimizer, "param_groups", None)
        if groups is None:
            raise TypeError(
                f"optimizers: expected optimizers of torch.optim, got {type(optimizer).__name__}"
            )
        yield from (id(parameter) for group in groups for parameter in group["params"])
