"""What torch ships of the same family: `torch.ao.pruning`, which may be missing.

Importing it puts a filter at the front of the process's warning filters; here they are left as
they were.
"""

from __future__ import annotations

import warnings


def _upstream_base() -> type | None:
    """torch.ao's BaseDataSparsifier, or None where this torch has none."""
    try:
        with warnings.catch_warnings():
            from torch.ao.pruning._experimental.data_sparsifier import BaseDataSparsifier
    except ImportError:
        return None
    return BaseDataSparsifier


UPSTREAM_BASE = _upstream_base()


def register_as_upstream(cls: type) -> type:
    """A class decorator: isinstance with torch.ao's base class holds, though nothing is inherited."""
    if UPSTREAM_BASE is not None:
        UPSTREAM_BASE.register(cls)
    return cls
