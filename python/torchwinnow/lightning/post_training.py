"""Sparsifies a model once, after training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from ._attach import (
    FilterOrDefault,
    ModelOf,
    attach,
    check_filter,
    copy_of,
    layer_metrics,
    model_of,
)
from ._callback import Callback


class PostTrainingDataSparsity(Callback):
    """Sparsifies a copy of the model when training has ended. The model itself is not changed.

    Attributes:
        data_sparsifier: the copy's sparsifier, with masks and configurations; None before.
        sparsified: the sparse copy, in eval mode; None before.

    Differs from torch.ao: it works with any model, including its biases, under any attribute, and with
    both Lightning packages; it writes a log line and a metric for each layer; two parameters of the
    same name are an error.
    """

    def __init__(
        self,
        data_sparsifier_class: type,
        data_sparsifier_args: Mapping[str, Any] | None = None,
        *,
        model: ModelOf = None,
        config: Mapping[str, Mapping[str, Any]] | None = None,
        filter: FilterOrDefault = None,
    ) -> None:
        """
        Args:
            data_sparsifier_class: called with data_sparsifier_args
            model: the model to sparsify: the name of an attribute of the LightningModule, or a
                function of it. If None, its `model` if it has one, otherwise the module itself.
            config: overrides of the sparsifier's defaults, by parameter: {"layers_0_weight": ...}
            filter: a function of name and parameter that returns True to include it. "default" is
                torchwinnow.default_filter of the model, which leaves biases, norms, weight_norm and
                the like alone. If None, all parameters are included, and a warning names those that
                the default leaves alone.

        Raises:
            ValueError: for any other filter.
        """
        super().__init__()
        check_filter(filter)
        self.data_sparsifier_class = data_sparsifier_class
        self.data_sparsifier_args = dict(data_sparsifier_args or {})
        self.data_sparsifier: Any = None
        self.sparsified: nn.Module | None = None
        self._model, self._config, self._filter = model, config, filter

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Copies the model, attaches the copy to a new sparsifier, steps and squashes."""
        sparsified = copy_of(model_of(pl_module, self._model)).eval()
        sparsifier = self.data_sparsifier_class(**copy.deepcopy(self.data_sparsifier_args))
        attach(sparsified, sparsifier, self._config, self._filter)
        sparsifier.step()
        sparsifier.squash_mask()
        metrics = layer_metrics(sparsified, sparsifier)
        for logger in getattr(trainer, "loggers", ()):
            logger.log_metrics(metrics, step=trainer.global_step)
        self.sparsified, self.data_sparsifier = sparsified, sparsifier
