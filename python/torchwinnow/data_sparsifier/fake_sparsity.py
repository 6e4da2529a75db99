"""The parametrization that multiplies by a mask."""

from __future__ import annotations

from torch import Tensor, nn

from ._masks import check_product


class FakeSparsity(nn.Module):
    """Reads of a tensor are `mask * tensor` under this parametrization.

    The mask is a buffer, the very object that was given: changing it in place changes later reads.
    It is not part of a state_dict.

    Differs from torch.ao: a strict load does not ask for the mask either, so that a parametrized
    module loads its own state_dict.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`mask * x`. AssertionError if the shapes differ; nothing is broadcast."""
        check_shape(self.mask, x)
        return self.mask * x


def check_shape(mask: Tensor, x: Tensor) -> None:
    """AssertionError unless both have one shape."""
    if mask.shape != x.shape:
        raise AssertionError(
            f"mask shape ({tuple(mask.shape)}) must match x shape ({tuple(x.shape)})"
        )


def check_mask(mask: object, weight: Tensor) -> None:
    """Whether `weight` can be read under `mask`.

    TypeError: no tensor. AssertionError: another shape. ValueError: another device, or a dtype
    that `mask * weight` would take over.
    """
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask: expected a tensor, found {type(mask).__name__}")
    check_shape(mask, weight)
    if mask.device != weight.device:
        raise ValueError(f"mask is on {mask.device}, the data on {weight.device}")
    check_product(mask.dtype, weight.dtype)
