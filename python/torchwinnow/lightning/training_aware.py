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

    As in torch.ao the model trains dense, and at every epoch's end a copy of it is masked. With
    `apply_to_model` masks are held in the model itself: what falls stays zero, under momentum and
    weight decay too, and the trained model is the sparse one. No copy is made.

    Attributes:
        data_sparsifier, data_scheduler: None before on_train_start
        data_sparsifier_state_dict: the sparsifier's state as of the last epoch's end, without
            apply_to_model; None before
        sparsified: the sparse copy; None with apply_to_model

    Averages of the weights that other callbacks keep (StochasticWeightAveraging, WeightAveraging,
    AveragedModel) are masked with apply_to_model, whichever comes first; so are checkpoints.

    Checkpoints: Lightning saves and loads this callback's state; other settings than those it was saved
    with are a RuntimeError. With apply_to_model the rest of a run that is resumed is bit-identical to
    one that was not stopped, as far as the model's own training is. A trainer may have several of these
    callbacks; `name` tells them apart where their settings do not.

    A second fit goes on with masks and schedule, in another trainer too, where the model is the one
    that was trained. With another model, or where its weights do not have the masks' zeros any more,
    it starts anew; a checkpoint that is given decides alone.

    The log gets "sparsity" (in the progress bar too) and "sparsity/LAYER" whenever masks advance;
    "sparsity_NAME" of a callback with a name, "sparsity_2" of a trainer's second one.

    Differs from torch.ao: as PostTrainingDataSparsity; `sparsified` is sparse after on_train_end;
    it resumes, and a second fit goes on.
    """

    _held: HeldMasks  # these four from on_train_start on
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
            data_sparsifier_class, data_scheduler_class: made with their args, the scheduler with
                `data_sparsifier` besides
            model, config, filter: as in PostTrainingDataSparsity
            apply_to_model: mask the model itself
            interval: "epoch": masks and schedule advance at every epoch's end. "step": every
                `frequency` batches, which are the schedule's epochs then; with apply_to_model only
            frequency: at least 1
            momentum_keys: what is masked of an optimizer's state, with apply_to_model: momenta, and
                copies of the weights as those of schedule-free optimizers and Lookahead
            prog_bar: show the share of dropped values in the progress bar
            name: of the state in checkpoints, for a second callback of equal settings

        ValueError for options that are missing, out of range or contradict each other.
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
        self._weights: dict[str, Tensor] = {}  # by name in the model, those that masks are held in
        self._paths: dict[str, str] = {}  # by the same, where the model has them
        self._name_of: dict[str, str] = {}  # of the data, by each name in the model
        self._batches = 0
        self._next_epoch = 0  # whose end is the next to come
        self._level = 0.0  # the share that the masks drop
        self._is_short = False  # whether a warning said that the run is
        self._holding = False  # whether a mask can drop anything yet
        self._is_training = False  # from on_train_start to on_train_end
        self._is_updating_statistics = False
        self._metric = "sparsity"
        # Lightning asks for it at every hook.
        self._state_key = state_key(type(self).__qualname__, name, self._settings())

    # ---- hooks

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Makes sparsifier and scheduler and attaches the model (apply_to_model) or a copy."""
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
        # Lightning leaves out the epoch's end where a checkpoint was written after its last batch.
        if self._next_epoch < epoch:
            self.on_train_epoch_end(trainer, pl_module)
            self._next_epoch = epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Without apply_to_model, puts the sparsifier back to the last epoch's end."""
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
        """Hooks into optimizers that the trainer has got meanwhile."""
        self._attach_hooks(trainer)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """With apply_to_model: masks the model; with "step" it first steps where it is time to."""
        self._require_started("on_train_batch_end")
        # An epoch of StochasticWeightAveraging that computes batch norm's statistics trains nothing;
        # they are those of the weights as they are.
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
            # Masks hold since the optimizer's step, unless it has no hooks or somebody wrote since.
            has_hooks = self._hooks is not None and self._hooks.is_complete
            self._held.apply(getattr(trainer, "optimizers", ()), written=has_hooks)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Steps the sparsifier, then the scheduler; without apply_to_model on a fresh copy."""
        self._require_started("on_train_epoch_end")
        self._next_epoch = getattr(trainer, "current_epoch", 0) + 1
        if not self.apply_to_model:
            self._step_copy(pl_module)
        elif self.interval == "epoch" and not self._is_updating_statistics:
            self._advance(trainer, pl_module)
        self._mask_averages(trainer, pl_module)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Masks the averages, which WeightAveraging now swaps into the model."""
        if self._is_training:
            self._mask_averages(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Squashes: the model, or `sparsified`, is sparse and has no masks any more."""
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
            # The weights hold their zeros already.
            self.data_sparsifier.squash_mask(leave_parametrized=False)
            return
        # A state that was loaded at the start of an epoch has tensors of its own, which nobody sees.
        attach(self.sparsified, self.data_sparsifier, filter=self._filter, again=True)
        self.data_sparsifier.squash_mask()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Masks once more, after callbacks that put an average into the model in on_train_end."""
        if self.apply_to_model and self._holding and self.data_sparsifier is not None:
            self._held.apply(())

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Takes the hooks away from the optimizers."""
        self._remove_hooks()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Likewise."""
        self._remove_hooks()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Masks what is saved of the model and of averages of it."""
        if self.apply_to_model and self._holding and self.data_sparsifier is not None:
            self._mask_averages(trainer, pl_module)
            self._averages.mask_checkpoint(checkpoint, self._held.masks())

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Finds a state that was saved under other settings, or before settings had a key."""
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
        """The live mask of a parameter, by its name in the model or that of its data; 1 = kept.

        RuntimeError before on_train_start, ValueError for a parameter that is not attached.
        """
        self._require_started("get_mask")
        name = self._name_of.get(fqn, fqn)
        if name not in self._name_of.values():
            raise ValueError(f"'{fqn}' is not sparsified; attached are {few([*self._weights], 20)}")
        return self.data_sparsifier.get_mask(name)

    def mask_copy_(self, copy: nn.Module | Mapping[str, Tensor]) -> None:
        """Sets what the masks drop to +0 in a copy of the model: an average of your own.

        Args:
            copy: of the model or of the LightningModule, or a state dict of one of them

        RuntimeError before on_train_start, ValueError where it lacks a parameter; nothing was written.
        """
        self._require_started("mask_copy_")
        tensors = tensors_of(copy) if isinstance(copy, nn.Module) else copy
        self._averages.mask_mapping_(tensors, self._held.masks())

    # ---- state

    @property
    def state_key(self) -> str:
        """Of its own for each callback whose settings or `name` differ, and alike in every run."""
        return self._state_key

    def state_dict(self) -> dict[str, Any]:
        """Masks, configurations, the scheduler's counters, batches seen: plain dicts and tensors."""
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
        """For before on_train_start. RuntimeError naming what is missing or was another one."""
        if state_dict:
            self._check_state(state_dict)
        self._resumed = dict(state_dict) or None

    def __getstate__(self) -> dict[str, Any]:
        # No weak reference can be copied, and a copy has no hooks in optimizers.
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
        """What tells this callback from others; other options are checked when a state is loaded."""
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
        """The state that an earlier fit left, where it is that of this model."""
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
        """What the trainer has beside this callback, and what to warn of."""
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
        # The configurations carry over: the schedule has changed what `config` said at first.
        attach(sparsified, self.data_sparsifier, filter=self._filter, again=True)
        self.sparsified = sparsified
        self.data_sparsifier.step()
        self._log(pl_module, sparsified)
        self.data_scheduler.step()
        self.data_sparsifier_state_dict = self.data_sparsifier.state_dict()

    def _log(self, pl_module: Any, model: nn.Module) -> float:
        """The share of dropped values."""
        metrics = layer_metrics(model, self.data_sparsifier)
        total = metrics.pop("sparsity")
        if getattr(pl_module, "_trainer", None) is None:
            return total
        pl_module.log(self._metric, total, prog_bar=self._prog_bar, batch_size=1)
        layers = {key.replace("sparsity", self._metric, 1): each for key, each in metrics.items()}
        pl_module.log_dict(layers, batch_size=1)
        return total
