"""Sparsifies a model while it trains, at a level that a schedule raises."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from ._attach import Filter, ModelOf, attach, layer_metrics, model_of
from ._callback import Callback
from ._held_masks import MOMENTUM_KEYS, hold_masks
from ._training_state import check_state, class_name, load_masks, masks_of


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

    Checkpoints: Lightning saves and loads this callback's state. With apply_to_model the rest of a
    run that is resumed is bit-identical to one that was not stopped, as far as the model's own
    training is.

    The log gets "sparsity" (in the progress bar too) and "sparsity/LAYER" whenever masks advance.

    Differs from torch.ao: as PostTrainingDataSparsity; `sparsified` is sparse after on_train_end;
    it resumes.
    """

    def __init__(
        self,
        data_sparsifier_class: type,
        data_sparsifier_args: Mapping[str, Any] | None = None,
        data_scheduler_class: type | None = None,
        data_scheduler_args: Mapping[str, Any] | None = None,
        *,
        model: ModelOf = None,
        config: Mapping[str, Mapping[str, Any]] | None = None,
        filter: Filter | None = None,
        apply_to_model: bool = False,
        interval: Literal["epoch", "step"] = "epoch",
        frequency: int = 50,
        momentum_keys: tuple[str, ...] = MOMENTUM_KEYS,
        prog_bar: bool = True,
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
            momentum_keys: what is masked of an optimizer's state, with apply_to_model
            prog_bar: show the share of dropped values in the progress bar

        ValueError for options that are missing, out of range or contradict each other.
        """
        super().__init__()
        if data_scheduler_class is None:
            raise ValueError("data_scheduler_class is missing")
        if interval not in ("epoch", "step"):
            raise ValueError(f"interval: expected 'epoch' or 'step', got {interval!r}")
        if interval == "step" and not apply_to_model:
            raise ValueError(
                "interval: 'step' needs apply_to_model, since a copy is made at the end of an "
                "epoch only"
            )
        if frequency < 1:
            raise ValueError(f"frequency: expected at least 1 batch, got {frequency}")
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
        self._model, self._config, self._filter = model, config, filter
        self._momentum_keys, self._prog_bar = tuple(momentum_keys), prog_bar
        self._resumed: Mapping[str, Any] | None = None  # until on_train_start
        self._batches = 0
        self._next_epoch = 0  # whose end is the next to come
        self._holding = False  # whether a mask can drop anything yet

    # ---- hooks

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Makes sparsifier and scheduler and attaches the model (apply_to_model) or a copy."""
        model = model_of(pl_module, self._model)
        sparsified = None if self.apply_to_model else copy.deepcopy(model)
        sparsifier = self.data_sparsifier_class(**copy.deepcopy(self.data_sparsifier_args))
        attach(model if sparsified is None else sparsified, sparsifier, self._config, self._filter)
        scheduler = self.data_scheduler_class(
            **copy.deepcopy(self.data_scheduler_args), data_sparsifier=sparsifier
        )
        self._batches, self.data_sparsifier_state_dict = 0, None
        self._next_epoch = epoch = getattr(trainer, "current_epoch", 0)
        self._holding = any("mask" in group for group in sparsifier.data_groups.values())
        if self._resumed is not None:
            self._restore(self._resumed, sparsifier, scheduler)
        self._resumed = None
        self.data_sparsifier, self.data_scheduler = sparsifier, scheduler
        self.sparsified = sparsified
        # Lightning leaves out the epoch's end where a checkpoint was written after its last batch.
        if self._next_epoch < epoch:
            self.on_train_epoch_end(trainer, pl_module)
            self._next_epoch = epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Without apply_to_model, puts the sparsifier back to the last epoch's end."""
        self._require_started("on_train_epoch_start")
        if self.data_sparsifier_state_dict is not None:
            self.data_sparsifier.load_state_dict(self.data_sparsifier_state_dict)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """With apply_to_model: masks the model; with "step" it first steps where it is time to."""
        self._require_started("on_train_batch_end")
        self._batches += 1
        if not self.apply_to_model:
            return
        if self.interval == "step" and self._batches % self.frequency == 0:
            self._advance(trainer, pl_module)
        elif self._holding:
            self._hold(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Steps the sparsifier, then the scheduler; without apply_to_model on a fresh copy."""
        self._require_started("on_train_epoch_end")
        self._next_epoch = getattr(trainer, "current_epoch", 0) + 1
        if self.interval == "step":
            return
        if self.apply_to_model:
            self._advance(trainer, pl_module)
        else:
            self._step_copy(pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Squashes: the model, or `sparsified`, is sparse and has no masks any more."""
        self._require_started("on_train_end")
        if self.apply_to_model:
            if self._holding:
                self._hold(trainer)
            # The weights hold their zeros already.
            self.data_sparsifier.squash_mask(leave_parametrized=False)
            return
        # A state that was loaded at the start of an epoch has tensors of its own, which nobody sees.
        attach(self.sparsified, self.data_sparsifier, filter=self._filter)
        self.data_sparsifier.squash_mask()

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """Masks, configurations, the scheduler's counters, batches seen: plain dicts and tensors."""
        if self.data_sparsifier is None:
            return dict(self._resumed or {})
        saved = self.data_sparsifier_state_dict
        return {
            **self._options(),
            "batches": self._batches,
            "next_epoch": self._next_epoch,
            "holding": self._holding,
            "sparsifier": masks_of(self.data_sparsifier) if self.apply_to_model else saved,
            "scheduler": self.data_scheduler.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """For before on_train_start. RuntimeError naming what is missing or was another one."""
        if state_dict:
            check_state(state_dict, self._options())
        self._resumed = dict(state_dict) or None

    def _options(self) -> dict[str, Any]:
        return {
            "apply_to_model": self.apply_to_model,
            "interval": self.interval,
            "frequency": self.frequency,
            "sparsifier_class": class_name(self.data_sparsifier_class),
            "scheduler_class": class_name(self.data_scheduler_class),
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

    # ---- steps

    def _require_started(self, hook: str) -> None:
        if self.data_sparsifier is None:
            raise RuntimeError(
                f"{hook} was called before on_train_start, which makes the sparsifier"
            )

    def _hold(self, trainer: Any) -> None:
        optimizers = getattr(trainer, "optimizers", ())
        hold_masks(self.data_sparsifier, optimizers, self._momentum_keys)

    def _advance(self, trainer: Any, pl_module: Any) -> None:
        self.data_sparsifier.step()
        self._hold(trainer)
        self._holding = True
        self._log(pl_module, model_of(pl_module, self._model))
        self.data_scheduler.step()

    def _step_copy(self, pl_module: Any) -> None:
        sparsified = copy.deepcopy(model_of(pl_module, self._model))
        # The configurations carry over: the schedule has changed what `config` said at first.
        attach(sparsified, self.data_sparsifier, filter=self._filter)
        self.sparsified = sparsified
        self.data_sparsifier.step()
        self._log(pl_module, sparsified)
        self.data_scheduler.step()
        self.data_sparsifier_state_dict = self.data_sparsifier.state_dict()

    def _log(self, pl_module: Any, model: nn.Module) -> None:
        metrics = layer_metrics(model, self.data_sparsifier)
        if getattr(pl_module, "_trainer", None) is None:
            return
        total = metrics.pop("sparsity")
        pl_module.log("sparsity", total, prog_bar=self._prog_bar, batch_size=1)
        pl_module.log_dict(metrics, batch_size=1)
