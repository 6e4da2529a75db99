"""PRIVATE. The base class of our callbacks: a Callback of every installed Lightning package.

`lightning` and `pytorch_lightning` each have a class with the same interface. A callback that
derives from both works in the trainers of both.
"""

from __future__ import annotations

import importlib
import importlib.util

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _callback_classes() -> tuple[type, ...]:
    """Returns the classes. Raises ImportError if there is none."""
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
