"""PRIVATE. The base class of our callbacks: a Callback of every Lightning that is installed.

`lightning` and `pytorch_lightning` have a class each, of one interface; derived from both, a
callback is at home in the trainers of both.
"""

from __future__ import annotations

import importlib
import importlib.util

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _callback_classes() -> tuple[type, ...]:
    """ImportError where there is none."""
    found = [
        importlib.import_module(package).Callback
        for package in _PACKAGES
        if importlib.util.find_spec(package.partition(".")[0]) is not None
    ]
    if not found:
        raise ImportError(
            "torchwinnow.lightning needs Lightning: pip install lightning (or pytorch-lightning)"
        )
    return tuple(found)


Callback = type("Callback", _callback_classes(), {"__doc__": "A Callback of every Lightning."})
