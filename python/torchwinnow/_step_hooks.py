"""PRIVATE. Hooks that run after every step of optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ._held_masks import optimizers_in


class StepHooks:
    """Calls a function with an optimizer after each of its steps, until the hooks are removed.

    If an optimizer wraps another one, both get the hook, provided that they support hooks: the outer
    one may change weights after the inner one's step.
    """

    def __init__(self, function: Callable[[Any], None]) -> None:
        self._function = function
        self._optimizers: list[Any] = []
        self._handles: list[Any] = []
        self.is_complete = False  # whether each given optimizer has its own hook

    def attach(self, optimizers: Iterable[Any]) -> None:
        """Adds hooks to these optimizers, and removes others. Costs little if they have hooks already."""
        given = list(optimizers)
        if list(map(id, given)) == list(map(id, self._optimizers)):
            return
        self.remove()
        self._optimizers, hooked = given, set()
        for optimizer in optimizers_in(given):
            # A class that does not call Optimizer.__init__ has no dict of hooks; a wrapper may share
            # that of the optimizer inside.
            hooks = getattr(optimizer, "__dict__", {}).get("_optimizer_step_post_hooks")
            if hooks is None or not hasattr(optimizer, "register_step_post_hook"):
                continue
            if id(hooks) not in hooked:
                self._handles.append(optimizer.register_step_post_hook(self._call))
            hooked.add(id(hooks))
        own = [vars(each).get("_optimizer_step_post_hooks") for each in given if hasattr(each, "__dict__")]
        self.is_complete = len(own) == len(given) and all(id(each) in hooked for each in own)

    def __len__(self) -> int:
        return len(self._handles)

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._optimizers, self._handles, self.is_complete = [], [], False

    def _call(self, optimizer: Any, *_: Any) -> None:
        self._function(optimizer)
