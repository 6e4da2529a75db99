"""Sparsifies a model while it trains, at a level that a schedule raises."""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from .._held_masks import MOMENTUM_KEYS, HeldMasks
from .._step_hooks import StepHooks
from .._warn import warn
from ._attach import (
    FilterOrDefault,
    ModelOf,
    attach,
    check_filter,
    copy_of,
    few,
    layer_metrics,
    model_of,
    share_dropped,
)
from ._averages import Averages
from ._callback import Callback
from ._copies import Copies, tensors_of
from ._dense_ends import BestCheckpoints, warn_of_early_end
from ._options import check_options
from ._run_length import steps_left, warn_of_short_run, warn_of_zeros
from ._second_fit import why_anew
from ._state_key import state_in_checkpoint, state_key
from ._training_state import (
    check_state,
    class_name,
    defaults_of,
    load_masks,
    masks_of,
    plain,
)
from ._twins import metric_of, twins_in, warn_of_shared

_log = logging.getLogger("torchwinnow.lightning")


class TrainingAwareDataSparsity(Callback):
    """Sparsifies a model while it trains. The masks of epoch e have the level scheduled for it.

    As in torch.ao, the model trains dense, and a copy of it is masked at the end of every epoch. With
    `apply_to_model`, the masks are held in the model itself: dropped values stay zero despite momentum
    and weight decay, and the trained model is sparse. No copy is made.

    Attributes:
        data_sparsifier, data_scheduler: None before on_train_start
        data_sparsifier_state_dict: the sparsifier's state at the end of the last epoch, without
            apply_to_model; None before
        sparsified: the sparse copy; None with apply_to_model

    With apply_to_model, averages of the weights that other callbacks keep (StochasticWeightAveraging,
    WeightAveraging, AveragedModel) are masked too, whatever the order of callbacks; so are checkpoints.

    Checkpoints: Lightning saves and loads this callback's state. Loading raises RuntimeError if the
    settings differ from those that were saved. With apply_to_model, the rest of a resumed run is
    bit-identical to one that was not stopped, as far as the model's own training is. A trainer may have
    several of these callbacks; `name` distinguishes callbacks with equal settings.

    A second fit of the same model continues with masks and schedule, also in another trainer. It starts
    from the beginning with another model, or if the weights no longer have the masks' zeros. A
    checkpoint, if given, takes precedence.

    Whenever masks advance, "sparsity" (also in the progress bar) and "sparsity/LAYER" are logged. The
    name is "sparsity_NAME" for a callback with a name, and "sparsity_2" for a trainer's second one.

    Differs from torch.ao: as PostTrainingDataSparsity; also, `sparsified` is sparse after on_train_end,
    runs can be resumed, and a second fit continues.
    """

    _held: HeldMasks  # this and the next three are set in on_train_start
    _averages: Averages
    _started_with: dict[str, Any]
    _best: BestCheckpoints
    _hooks: StepHooks | None = None

    def __init__(
        self,
        data_sparsifier_class: type,
        data_sparsifier_args: Mapping[str, Any] | None = None,
        data_scheduler_class: type | None = None,
        data_scheduler_args: Mapping[str, Any] | None = None,
        *,
        model: ModelOf = None,
        config: Mapping[str, Mapping[str, Any]] | None = None,
        filter: FilterOrDefault = None,
        apply_to_model: bool = False,
        interval: Literal["epoch", "step"] = "epoch",
        frequency: int = 50,
        momentum_keys: tuple[str, ...] = MOMENTUM_KEYS,
        prog_bar: bool = True,
        name: str | None = None,
    ) -> None:
        """
        Args:
            data_sparsifier_class, data_scheduler_class: called with their args, the scheduler also
                with `data_sparsifier`
            model, config, filter: as in PostTrainingDataSparsity
            apply_to_model: mask the model itself
            interval: with "epoch", masks and schedule advance at the end of every epoch. With "step",
                they advance every `frequency` batches, which count as the schedule's epochs; this
                needs apply_to_model
            frequency: at least 1
            momentum_keys: the keys of an optimizer's state that are masked, with apply_to_model:
                momenta, and copies of the weights as in schedule-free optimizers and Lookahead
            prog_bar: show the share of dropped values in the progress bar
            name: the name of the state in checkpoints, for a second callback with equal settings

        Raises:
            ValueError: for options that are missing, out of range or contradict each other.
        """
        super().__init__()
        check_filter(filter)
        check_options(data_scheduler_class, apply_to_model, interval, frequency)
        self.data_sparsifier_class = data_sparsifier_class
        self.data_sparsifier_args = dict(data_sparsifier_args or {})
        self.data_scheduler_class = data_scheduler_class
        self.data_scheduler_args = dict(data_scheduler_args or {})
        self.data_sparsifier: Any = None
        self.data_scheduler: Any = None
        self.data_sparsifier_state_dict: dict[str, Any] | None = None
        self.sparsified: nn.Module | None = None
        self.apply_to_model = apply_to_model
        self.interval = interval
        self.frequency = frequency
        self.name = name
        self._model, self._config, self._filter = model, config, filter
        self._momentum_keys, self._prog_bar = tuple(momentum_keys), prog_bar
        self._resumed: Mapping[str, Any] | None = None  # until on_train_start
        self._trained: weakref.ref[nn.Module] | None = None
        self._weights: dict[str, Tensor] = {}  # the masked parameters, by name in the model
        self._paths: dict[str, str] = {}  # their paths in the model, by the same names
        self._name_of: dict[str, str] = {}  # the names of the data, by each name in the model
        self._batches = 0
        self._next_epoch = 0  # the epoch that ends next
        self._level = 0.0  # the share that the masks drop
        self._is_short = False  # whether there was a warning that the run is too short
        self._holding = False  # whether a mask can drop anything yet
        self._is_training = False  # from on_train_start to on_train_end
        self._is_updating_statistics = False
        self._metric = "sparsity"
        # Computed once: Lightning asks for it at every hook.
        self._state_key = state_key(type(self).__qualname__, name, self._settings())

    # ---- hooks

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Makes sparsifier and scheduler, and attaches the model (apply_to_model) or a copy."""
        model = model_of(pl_module, self._model)
        sparsified = None if self.apply_to_model else copy_of(model)
        sparsifier = self.data_sparsifier_class(**copy.deepcopy(self.data_sparsifier_args))
        sparsifier.mask_format = "dense"  # a state is made at each epoch's end: less memory than COO
        target = model if sparsified is None else sparsified
        attached = attach(target, sparsifier, self._config, self._filter)
        names = {name: each.names[0] for name, each in attached.items()}
        weights = {each.names[0]: each.parameter for each in attached.values()}
        paths = {each.names[0]: each.path for each in attached.values()}
        scheduler = self.data_scheduler_class(
            **copy.deepcopy(self.data_scheduler_args), data_sparsifier=sparsifier
        )
        resumed = self._resumed
        if resumed is None and self.data_sparsifier is not None:
            resumed = self._earlier_fit(model, weights)
        if resumed is not None:
            self._check_state(resumed)  # settings may have been changed since
        self._started_with = self._options()
        self._batches, self.data_sparsifier_state_dict = 0, None
        self._next_epoch = epoch = getattr(trainer, "current_epoch", 0)
        self._holding = any("mask" in group for group in sparsifier.data_groups.values())
        if resumed is not None:
            self._restore(resumed, sparsifier, scheduler)
        self._resumed = None
        self.data_sparsifier, self.data_scheduler = sparsifier, scheduler
        self.sparsified, self._weights = sparsified, weights
        self._trained, self._is_training = weakref.ref(model), True
        self._name_of = {fqn: name for name, each in attached.items() for fqn in each.names}
        self._paths = paths
        self._held = HeldMasks(sparsifier, names, weights, self._momentum_keys)
        self._averages = Averages(Copies(pl_module, model, weights, paths))
        self._hooks = StepHooks(self._after_step)
        self._attach_hooks(trainer)
        self._look_around(trainer)
        if resumed is None and self.apply_to_model:
            warn_of_zeros(scheduler, names, weights)
        # Lightning skips the end of an epoch if the checkpoint was written after its last batch.
        if self._next_epoch < epoch:
            self.on_train_epoch_end(trainer, pl_module)
            self._next_epoch = epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Without apply_to_model, resets the sparsifier to its state at the end of the last epoch."""
        self._require_started("on_train_epoch_start")
        if self.data_sparsifier_state_dict is not None:
            self.data_sparsifier.load_state_dict(self.data_sparsifier_state_dict)
        self._is_updating_statistics = False
        if self.apply_to_model:
            self._held.check(model_of(pl_module, self._model), self._paths)
        if self._holding:
            self._hold(trainer)  # StochasticWeightAveraging may have put its average into the model

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds hooks to optimizers that the trainer got since the last batch."""
        self._attach_hooks(trainer)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """With apply_to_model, masks the model; with "step", first steps every `frequency` batches."""
        self._require_started("on_train_batch_end")
        # StochasticWeightAveraging runs an epoch that only updates the statistics of batch norm. It
        # trains nothing, and the statistics must belong to unchanged weights.
        fit_loop = getattr(trainer, "fit_loop", None)
        self._is_updating_statistics = bool(getattr(fit_loop, "_skip_backward", False))
        if self._is_updating_statistics:
            return
        self._batches += 1
        if not self.apply_to_model:
            return
        if self.interval == "step" and self._batches % self.frequency == 0:
            self._advance(trainer, pl_module)
        elif self._holding:
            # Hooks have masked after the optimizer's step. Mask again if an optimizer has no hooks, or
            # if weights were written since.
            has_hooks = self._hooks is not None and self._hooks.is_complete
            self._held.apply(getattr(trainer, "optimizers", ()), written=has_hooks)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Steps the sparsifier, then the scheduler; without apply_to_model, on a new copy."""
        self._require_started("on_train_epoch_end")
        self._next_epoch = getattr(trainer, "current_epoch", 0) + 1
        if not self.apply_to_model:
            self._step_copy(pl_module)
        elif self.interval == "epoch" and not self._is_updating_statistics:
            self._advance(trainer, pl_module)
        self._mask_averages(trainer, pl_module)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Masks the averages before WeightAveraging swaps them into the model."""
        if self._is_training:
            self._mask_averages(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Squashes the masks: the model, or `sparsified`, is then sparse without parametrizations."""
        self._require_started("on_train_end")
        self._is_training = False
        self._remove_hooks()
        if not self._is_short:
            warn_of_early_end(trainer, self.data_scheduler)
        if self.apply_to_model:
            self._best.warn(trainer, self._level)
            if self._holding:
                self._hold(trainer)
            self._mask_averages(trainer, pl_module)
            # The weights already have their zeros.
            self.data_sparsifier.squash_mask(leave_parametrized=False)
            return
        # The state loaded at the start of an epoch has its own tensors, which are not the copy's.
        attach(self.sparsified, self.data_sparsifier, filter=self._filter, again=True)
        self.data_sparsifier.squash_mask()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Masks again, after callbacks that put an average into the model in on_train_end."""
        if self.apply_to_model and self._holding and self.data_sparsifier is not None:
            self._held.apply(())

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Removes the hooks from the optimizers."""
        self._remove_hooks()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Removes the hooks from the optimizers."""
        self._remove_hooks()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Masks the model and its averages in the checkpoint."""
        if self.apply_to_model and self._holding and self.data_sparsifier is not None:
            self._mask_averages(trainer, pl_module)
            self._averages.mask_checkpoint(checkpoint, self._held.masks())

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Finds a state that was saved with other settings, or by a version without them in the key."""
        states = checkpoint.get("callbacks") or {}
        if self.state_key in states:
            return  # Lightning loads it
        twins = twins_in(trainer, TrainingAwareDataSparsity)
        others = {each.state_key for each in twins if each is not self}
        state = state_in_checkpoint(states, self.state_key, type(self).__qualname__, others)
        if state is not None:
            self.load_state_dict(copy.deepcopy(state))

    # ---- for users

    def get_mask(self, fqn: str) -> Tensor:
        """Returns the live mask of a parameter; 1 = kept.

        Args:
            fqn: the parameter's name in the model, or the name of its data

        Raises:
            RuntimeError: before on_train_start.
            ValueError: for a parameter that is not attached.
        """
        self._require_started("get_mask")
        name = self._name_of.get(fqn, fqn)
        if name not in self._name_of.values():
            raise ValueError(f"'{fqn}' is not sparsified; attached are {few([*self._weights], 20)}")
        return self.data_sparsifier.get_mask(name)

    def mask_copy_(self, copy: nn.Module | Mapping[str, Tensor]) -> None:
        """Sets the dropped values to +0 in a copy of the model, for example your own average.

        Args:
            copy: a copy of the model or of the LightningModule, or a state dict of one of them

        Raises:
            RuntimeError: before on_train_start.
            ValueError: if it lacks a parameter; nothing is written then.
        """
        self._require_started("mask_copy_")
        tensors = tensors_of(copy) if isinstance(copy, nn.Module) else copy
        self._averages.mask_mapping_(tensors, self._held.masks())

    # ---- state

    @property
    def state_key(self) -> str:
        """The key of the state: different for other settings or another `name`, equal in every run."""
        return self._state_key

    def state_dict(self) -> dict[str, Any]:
        """Returns masks, configurations, counters and batches seen, as plain dicts and tensors."""
        if self.data_sparsifier is None or self._resumed is not None:
            return dict(self._resumed or {})
        saved = self.data_sparsifier_state_dict
        return {
            **self._started_with,
            "batches": self._batches,
            "next_epoch": self._next_epoch,
            "holding": self._holding,
            "sparsifier": masks_of(self.data_sparsifier) if self.apply_to_model else saved,
            "scheduler": self.data_scheduler.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Loads what state_dict returned; call it before on_train_start.

        Raises:
            RuntimeError: if something is missing or differs from the settings.
        """
        if state_dict:
            self._check_state(state_dict)
        self._resumed = dict(state_dict) or None

    def __getstate__(self) -> dict[str, Any]:
        # Weak references cannot be copied, and a copy has no hooks in optimizers.
        return {**self.__dict__, "_trained": None, "_hooks": None}

    def _check_state(self, state: Mapping[str, Any]) -> None:
        defaults = {
            "data_sparsifier_args": defaults_of(self.data_sparsifier_class),
            "data_scheduler_args": defaults_of(self.data_scheduler_class),
        }
        check_state(state, self._options(), defaults)

    def _options(self) -> dict[str, Any]:
        return {
            "apply_to_model": self.apply_to_model,
            "interval": self.interval,
            "frequency": self.frequency,
            "sparsifier_class": class_name(self.data_sparsifier_class),
            "scheduler_class": class_name(self.data_scheduler_class),
            "settings": {
                "data_sparsifier_args": plain(self.data_sparsifier_args),
                "data_scheduler_args": plain(self.data_scheduler_args),
                "config": plain(self._config or {}),
                "momentum_keys": sorted(map(str, self._momentum_keys)),
            },
        }

    def _settings(self) -> dict[str, Any]:
        """Returns what distinguishes this callback; the other options are checked on loading."""
        return {
            "sparsifier": [self.data_sparsifier_class, self.data_sparsifier_args],
            "scheduler": [self.data_scheduler_class, self.data_scheduler_args],
            "model": self._model,
            "config": self._config,
            "filter": self._filter,
        }

    def _restore(self, state: Mapping[str, Any], sparsifier: Any, scheduler: Any) -> None:
        if self.apply_to_model:
            load_masks(sparsifier, state["sparsifier"])
        elif state["sparsifier"] is not None:
            sparsifier.load_state_dict(state["sparsifier"])
            self.data_sparsifier_state_dict = state["sparsifier"]
        scheduler.load_state_dict(state["scheduler"])
        self._batches, self._holding = state["batches"], state["holding"]
        self._next_epoch = state["next_epoch"]

    def _earlier_fit(self, model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Returns the state of an earlier fit if it belongs to this model, otherwise None."""
        is_same = self._trained is not None and self._trained() is model
        if self.apply_to_model:
            masks, has_ended = self._held.masks(), not self._is_training
            reason = why_anew(masks, weights, is_same=is_same, has_ended=has_ended)
        else:
            reason = None if is_same else "it is another model"
        if reason is None:
            return self.state_dict()
        message = f"Masks and schedule start anew, not where the last fit ended: {reason}"
        (warn if is_same else _log.info)(message)
        return None

    # ---- steps

    def _require_started(self, hook: str) -> None:
        if self.data_sparsifier is None:
            raise RuntimeError(f"{hook} was called before on_train_start makes the sparsifier")

    def _look_around(self, trainer: Any) -> None:
        """Looks at the trainer's other callbacks and its length, and warns of problems."""
        twins = twins_in(trainer, TrainingAwareDataSparsity)
        self._metric = metric_of(self, twins)
        warn_of_shared(self, twins)
        steps = steps_left(trainer, self.interval, self.frequency, self._batches)
        self._is_short = warn_of_short_run(self.data_scheduler, steps)
        self._best, self._level = BestCheckpoints(), 0.0
        if self._holding and self.apply_to_model:
            self._level = share_dropped(self._held.masks().values())

    def _attach_hooks(self, trainer: Any) -> None:
        if self.apply_to_model and self._hooks is not None:
            self._hooks.attach(getattr(trainer, "optimizers", ()))

    def _remove_hooks(self) -> None:
        if self._hooks is not None:
            self._hooks.remove()

    def _after_step(self, optimizer: Any) -> None:
        if self._holding:
            self._held.apply_after_step(optimizer)

    def _hold(self, trainer: Any) -> None:
        if self.apply_to_model:
            self._held.apply(getattr(trainer, "optimizers", ()))

    def _mask_averages(self, trainer: Any, pl_module: Any) -> None:
        if self.apply_to_model and self._holding:
            model = model_of(pl_module, self._model)
            self._averages.mask(trainer, pl_module, model, self._held.masks())

    def _advance(self, trainer: Any, pl_module: Any) -> None:
        model = model_of(pl_module, self._model)
        self._held.check(model, self._paths)
        self._best.look(trainer, self._level)
        self.data_sparsifier.step()
        self._holding = True
        self._hold(trainer)
        self._level = self._log(pl_module, model)
        self.data_scheduler.step()

    def _step_copy(self, pl_module: Any) -> None:
        sparsified = copy_of(model_of(pl_module, self._model))
        # Without `config`, because the schedule has changed its values: they carry over.
        attach(sparsified, self.data_sparsifier, filter=self._filter, again=True)
        self.sparsified = sparsified
        self.data_sparsifier.step()
        self._log(pl_module, sparsified)
        self.data_scheduler.step()
        self.data_sparsifier_state_dict = self.data_sparsifier.state_dict()

    def _log(self, pl_module: Any, model: nn.Module) -> float:
        """Logs the shares of dropped values and returns that of all parameters."""
        metrics = layer_metrics(model, self.data_sparsifier)
        total = metrics.pop("sparsity")
        if getattr(pl_module, "_trainer", None) is None:
            return total
        pl_module.log(self._metric, total, prog_bar=self._prog_bar, batch_size=1)
        layers = {key.replace("sparsity", self._metric, 1): each for key, each in metrics.items()}
        pl_module.log_dict(layers, batch_size=1)
        return total
