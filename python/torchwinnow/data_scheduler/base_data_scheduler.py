"""Changes one value of every data's configuration from epoch to epoch.

    class Halving(BaseDataScheduler):
        def get_schedule_param(self):
            if self.last_epoch == 0:
                return self.base_param
            groups = self.data_sparsifier.data_groups
            return {name: group[self.schedule_param] / 2 for name, group in groups.items()}

    scheduler = Halving(sparsifier, "sparsity_level")
    for epoch in range(epochs):
        train()
        sparsifier.step()  # first the masks
        scheduler.step()   # then the next level
"""

from __future__ import annotations

import copy
import functools
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from .. import _arguments, _core
from .._upstream import UPSTREAM_BASE
from ..data_sparsifier import BaseDataSparsifier

__all__ = ["BaseDataScheduler"]

_SPARSIFIERS = (BaseDataSparsifier,) if UPSTREAM_BASE is None else (BaseDataSparsifier, UPSTREAM_BASE)
# What load_state_dict must not bring from another run.
_OWN_FIELDS = ("data_sparsifier", "_sparsifier_steps_at_start")


def _count_steps(sparsifier: Any) -> None:
    """Lets `sparsifier._step_count` grow at each call of its step, disabled ones included."""
    if getattr(sparsifier.step, "_with_counter", False):
        return
    sparsifier._step_count = 0
    sparsifier.step = _counted(sparsifier.step, weakref.ref(sparsifier))


def _counted(step: Callable[..., Any], target: Callable[[], Any]) -> Callable[..., Any]:
    """`step`, counting. A method is bound to `target` anew: no cycle keeps that alive."""
    function = getattr(step, "__func__", None)
    unbound = step if function is None else function

    @functools.wraps(unbound)
    def counted(*args: Any, **kwargs: Any) -> Any:
        instance = target()
        instance._step_count += 1
        return unbound(*args, **kwargs) if function is None else function(instance, *args, **kwargs)

    counted._with_counter = True  # type: ignore[attr-defined]
    return counted


def _check_epoch(last_epoch: Any) -> None:
    _core.check_last_epoch(_arguments.whole("last_epoch", last_epoch))


def _some(values: Mapping[str, Any]) -> str:
    """The first of them, for a message."""
    shown = ", ".join(f"'{name}': {value!r}" for name, value in list(values.items())[:3])
    return shown + (", ..." if len(values) > 3 else "")


class BaseDataScheduler:
    """The step protocol of a schedule. Subclasses write get_schedule_param.

    The constructor makes the first step, which sets the values of epoch `last_epoch + 1`.

    Attributes:
        data_sparsifier: the sparsifier, of this package or torch.ao's
        schedule_param: the name of the value that is scheduled
        base_param: name -> its value when this was constructed; None if it had none
        last_epoch: the epoch of the last step
        verbose: True prints a line for every value that is set; a function gets the lines
    """

    def __init__(
        self,
        data_sparsifier: BaseDataSparsifier,
        schedule_param: str = "sparsity_level",
        last_epoch: int = -1,
        verbose: bool | Callable[[str], object] = False,
    ) -> None:
        """
        Args:
            data_sparsifier: of this package or torch.ao's
            schedule_param: the name of the value that is scheduled
            last_epoch: of the last step that was made before; at least -1, which is none
            verbose: see the attribute

        Warns if a scheduler was made for this value of the sparsifier before: the base of this
        one is what is found now, and no longer what the data were added with.

        TypeError if `data_sparsifier` is not a sparsifier, ValueError for a last_epoch below -1.
        """
        if not isinstance(data_sparsifier, _SPARSIFIERS):
            raise TypeError(
                f"{type(data_sparsifier).__name__} is not an instance of "
                f"{BaseDataSparsifier.__module__}.{BaseDataSparsifier.__qualname__}"
            )
        _check_epoch(last_epoch)
        self.data_sparsifier = data_sparsifier
        self.schedule_param = schedule_param
        self.base_param = self._current_param()
        self._warn_of_another()
        self.last_epoch = last_epoch
        self.verbose = verbose
        self._step_count = 0
        self._get_sp_called_within_step = False
        _count_steps(data_sparsifier)
        self._sparsifier_steps_at_start: int = data_sparsifier._step_count
        self.step()
        data_sparsifier.__dict__.setdefault("_scheduled_params", set()).add(schedule_param)

    def get_schedule_param(self) -> Mapping[str, Any]:
        """name -> its value at `last_epoch`. Names that are left out keep theirs."""
        raise NotImplementedError

    def step(self) -> None:
        """Goes to the next epoch: last_epoch grows by one and the values for it are set.

        The sparsifier's enable_mask_update is turned on, also if it was turned off on purpose.
        The first call after construction warns if the sparsifier has made no step since.

        ValueError naming it if a name is returned that the sparsifier does not have, or a value
        that its configuration refuses: no value is set then, but the epoch has advanced. What
        get_schedule_param raises passes through alike. Names that were there at construction and
        are gone (remove_data) are skipped; one that is added again goes on in the schedule.
        """
        if self._step_count == 1:
            self._warn_of_order()
        self._step_count += 1
        self.last_epoch += 1
        values = self._scheduled_values()
        for name, value in values.items():
            self.data_sparsifier.data_groups[name][self.schedule_param] = value
            self._tell(f"Adjusting {self.schedule_param} for group {name} to {value}")
        self._last_param = self._current_param()
        self.data_sparsifier.enable_mask_update = True

    def get_last_param(self) -> dict[str, Any]:
        """name -> its value as of the last step."""
        return self._last_param

    def _current_param(self) -> dict[str, Any]:
        groups = self.data_sparsifier.data_groups
        return {name: group.get(self.schedule_param) for name, group in groups.items()}

    def _scheduled_values(self) -> dict[str, Any]:
        self._get_sp_called_within_step = True
        try:
            values = dict(self.get_schedule_param())
        finally:
            self._get_sp_called_within_step = False
        groups = self.data_sparsifier.data_groups
        # What remove_data took out since the construction.
        values = {n: value for n, value in values.items() if n in groups or n not in self.base_param}
        check = getattr(self.data_sparsifier, "_check_config", None)
        for name, value in values.items():
            if name not in groups:
                raise ValueError(
                    f"{type(self).__name__} schedules the data '{name}', which the sparsifier does "
                    "not have"
                )
            if check is not None and value is not None:
                check({self.schedule_param: value})
        return values

    def _warn_of_another(self) -> None:
        """A sparsifier remembers which of its values had a scheduler, also one that is gone."""
        if self.schedule_param in getattr(self.data_sparsifier, "_scheduled_params", ()):
            warnings.warn(
                f"another scheduler has driven '{self.schedule_param}' of this sparsifier, so that "
                f"the base of this {type(self).__name__} is what that one has left: "
                f"{_some(self.base_param)}. To go on with it, load its state_dict into this one; to "
                f"start anew, set data_groups[name]['{self.schedule_param}'] first",
                stacklevel=3,
            )

    def _warn_of_order(self) -> None:
        if not getattr(self.data_sparsifier.step, "_with_counter", False):
            warnings.warn(
                "`data_sparsifier.step()` has been overridden after the scheduler's "
                "initialization: its calls are not counted.",
                stacklevel=3,
            )
        elif self.data_sparsifier._step_count - self._sparsifier_steps_at_start < 1:
            warnings.warn(
                "Detected call of `scheduler.step()` before `data_sparsifier.step()`. Call the "
                "sparsifier first: otherwise the first value of the schedule is skipped.",
                stacklevel=3,
            )

    def _tell(self, line: str) -> None:
        if callable(self.verbose):
            self.verbose(line)
        elif self.verbose:
            print(line)

    def state_dict(self) -> dict[str, Any]:
        """A copy of every field but the sparsifier; `torch.load(weights_only=True)` reads it."""
        return {
            key: copy.deepcopy(value)
            for key, value in self.__dict__.items()
            if key not in _OWN_FIELDS and not callable(value)
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over such a state, of torch.ao's too; the sparsifier is left as it is.

        Load the sparsifier first, then its scheduler.
        """
        fields = {key: value for key, value in state_dict.items() if key not in _OWN_FIELDS}
        if "last_epoch" in fields:
            _check_epoch(fields["last_epoch"])
        self._check_state(fields)
        self.__dict__.update(copy.deepcopy(fields))

    def _check_state(self, fields: Mapping[str, Any]) -> None:
        """Raises if a state that is to be loaded makes no sense."""

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """For pickles and deep copies, whose sparsifier counts no steps yet."""
        self.__dict__.update(state)
        steps = getattr(self.data_sparsifier, "_step_count", 0)
        _count_steps(self.data_sparsifier)
        self.data_sparsifier._step_count = steps

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__} (\nData Sparsifier {self.data_sparsifier}\n"
            f"    {self.schedule_param}: {self.base_param}\n)"
        )
