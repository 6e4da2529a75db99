"""PRIVATE. Decides if a callback continues in a second fit with the masks of the first."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .._held_masks import holds


def why_anew(
    masks: Mapping[str, Tensor], weights: Mapping[str, Tensor], *, is_same: bool, has_ended: bool
) -> str | None:
    """Returns why the masks of an earlier fit do not belong to a model, or None if they do.

    After an interrupted fit, dropped values may not be zero: a step of the optimizer may have changed
    them before the masks were applied.

    Args:
        masks: the masks of the earlier fit, by parameter
        weights: the weights of the model that is about to train
        is_same: whether it is the module that was trained before
        has_ended: whether the earlier fit was completed
    """
    if list(masks) != list(weights) or any(
        masks[name].shape != weight.shape for name, weight in weights.items()
    ):
        return "the parameters have other names or shapes"
    if is_same and not has_ended:
        return None
    has_zeros = all(holds(weight, masks[name]) for name, weight in weights.items())
    if is_same:
        return None if has_zeros else "its weights do not have the zeros of the masks any more"
    drops = any(bool(mask.eq(0).any()) for mask in masks.values())
    return None if drops and has_zeros else "it is another model"
