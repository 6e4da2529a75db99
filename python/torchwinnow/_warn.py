"""PRIVATE. Warnings that come once, however many processes train."""

from __future__ import annotations

import warnings

import torch.distributed as dist


def warn(message: str) -> None:
    """A UserWarning, in the first process of a group alone."""
    if dist.is_available() and dist.is_initialized() and dist.get_rank() != 0:
        return
    warnings.warn(message, stacklevel=3)
