"""PRIVATE. Warnings that appear once, even if several processes train."""

from __future__ import annotations

import warnings

import torch.distributed as dist


def warn(message: str) -> None:
    """Issues a UserWarning, but only in the first process of a process group."""
    if dist.is_available() and dist.is_initialized() and dist.get_rank() != 0:
        return
    warnings.warn(message, stacklevel=3)
