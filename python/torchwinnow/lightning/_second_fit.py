"""PRIVATE. Whether a callback that has been through a fit goes on with its masks in the next one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def _holds(masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> bool:
    """Whether the weights are zero wherever the masks drop."""
    return not any(
        bool((weight.detach().ne(0) > masks[name].to(weight.device).ne(0)).any())
        for name, weight in weights.items()
    )


def why_anew(
    masks: Mapping[str, Tensor], weights: Mapping[str, Tensor], *, is_same: bool, has_ended: bool
) -> str | None:
    """Why the masks of an earlier fit are not those of a model; None where they are.

    A fit that was interrupted may have left dropped values that one step of the optimizer has moved.

    Args:
        masks: by parameter, as of the earlier fit
        weights: of the model that is about to train
        is_same: it is the module that was trained before
        has_ended: the earlier fit came to its end
    """
    if list(masks) != list(weights) or any(
        masks[name].shape != weight.shape for name, weight in weights.items()
    ):
        return "the parameters have other names or shapes"
    if is_same:
        if not has_ended or _holds(masks, weights):
            return None
        return "its weights do not have the zeros of the masks any more"
    drops = any(bool(mask.eq(0).any()) for mask in masks.values())
    return None if drops and _holds(masks, weights) else "it is another model"
