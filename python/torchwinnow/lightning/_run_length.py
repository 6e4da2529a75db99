"""PRIVATE. Warns if a run is too short for its schedule, or a schedule starts below the model's zeros."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..data_scheduler import FormulaDataScheduler
from .._warn import warn

# A share of the scheduled value. A cubic schedule ends so flat that missing its last step is harmless.
_TOLERANCE = 0.01
# A share of a parameter's values. If its zeros exceed the schedule's first level by more, they are
# surely the result of pruning.
_ZEROS = 0.1


def _number(trainer: Any, name: str) -> float:
    """Returns a limit of the trainer, or infinity if it has none."""
    value = getattr(trainer, name, None)
    return math.inf if value is None or value == -1 else value


def _batches_left(trainer: Any, length: float) -> float:
    """Returns the batches until max_steps, or infinity.

    It counts only for a single optimizer. The last batch of an epoch always steps the optimizer.
    """
    limit = _number(trainer, "max_steps")
    if math.isinf(limit) or len(getattr(trainer, "optimizers", ())) != 1:
        return math.inf
    steps = max(limit - getattr(trainer, "global_step", 0), 0)
    accumulated = getattr(trainer, "accumulate_grad_batches", 1)
    if math.isinf(length):
        return steps * accumulated
    epochs, rest = divmod(steps, math.ceil(length / accumulated))
    return epochs * length + min(rest * accumulated, length)


def steps_left(trainer: Any, interval: str, frequency: int, batches: int) -> float:
    """Returns how often masks advance until the trainer ends; infinity if it has no end.

    Args:
        batches: the number of batches seen before
    """
    if getattr(trainer, "fast_dev_run", False):
        return math.inf  # such a run only tests the code
    epochs = _number(trainer, "max_epochs") - getattr(trainer, "current_epoch", 0)
    length = _number(trainer, "num_training_batches")
    left = _batches_left(trainer, length)
    if interval == "epoch":
        by_steps = math.inf if math.isinf(left) or math.isinf(length) else math.ceil(left / length)
        return min(epochs, by_steps)
    if not math.isinf(epochs):
        left = min(left, epochs * length)
    return left if math.isinf(left) else (batches + left) // frequency - batches // frequency


@dataclass
class Short:
    """A scheduled value that does not reach the schedule's last level."""

    name: str
    reached: float
    wanted: float


def short_of(scheduler: Any, last: int) -> Short | None:
    """Returns a value that is still short at the schedule's step `last`, or None if there is none."""
    end = getattr(scheduler, "end_step", None)
    if not isinstance(scheduler, FormulaDataScheduler) or end is None or last >= end:
        return None
    for name, base in scheduler.base_param.items():
        reached, wanted = (scheduler.value_at(max(epoch, 0), name, base) for epoch in (last, end))
        if abs(reached - wanted) > _TOLERANCE * abs(wanted):
            return Short(name, reached, wanted)
    return None


def warn_of_short_run(scheduler: Any, steps: float) -> bool:
    """Warns if the run's last masks do not have the schedule's last level. Returns True if it warned."""
    if math.isinf(steps) or steps < 1:
        return False
    last = scheduler.last_epoch + int(steps) - 1  # masks are computed before the schedule's step
    short = short_of(scheduler, last)
    if short is not None:
        warn(
            f"the run is shorter than its schedule: it ends at the schedule's step {last}, the "
            f"schedule at {scheduler.end_step}. The {scheduler.schedule_param} of '{short.name}' will "
            f"be only {short.reached:.4g}, not {short.wanted:.4g}"
        )
    return short is not None


def warn_of_zeros(scheduler: Any, names: Mapping[str, str], weights: Mapping[str, Tensor]) -> None:
    """Warns if weights have more zeros than the schedule's first level: the zeros would grow back.

    Weights that are all zero count as new, and not as pruned.

    Args:
        names: the names of the parameters, by the names of the data
    """
    if getattr(scheduler, "schedule_param", None) != "sparsity_level":
        return
    for name, level in scheduler.get_last_param().items():
        weight = weights[names[name]]
        if not isinstance(level, (int, float)) or not weight.numel():
            continue
        zeros = weight.detach().eq(0).sum().item() / weight.numel()
        if max(level, 0) + _ZEROS < zeros < 1:
            warn(
                f"'{names[name]}' is pruned already ({zeros:.0%} zeros), and its schedule starts at "
                f"{level:.4g}: its zeros will grow back. Go on from a checkpoint of the run that pruned "
                "it (ckpt_path), or with the same callback, or start the schedule where that ended"
            )
            return
