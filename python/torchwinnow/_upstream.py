"""PRIVATE. Access to torch.ao.pruning, which torch may not contain.

Importing it adds a warning filter to the process; here the filters are restored.
"""

from __future__ import annotations

import warnings


def _upstream_base() -> type | None:
    """Returns torch.ao's BaseDataSparsifier, or None if this torch has none."""
    try:
        with warnings.catch_warnings():
            from torch.ao.pruning._experimental.data_sparsifier import BaseDataSparsifier
    except ImportError:
        return None
    return BaseDataSparsifier


UPSTREAM_BASE = _upstream_base()


def register_as_upstream(cls: type) -> type:
    """A class decorator that makes isinstance with torch.ao's base class hold without inheritance."""
    if UPSTREAM_BASE is not None:
        UPSTREAM_BASE.register(cls)
    return cls
