"""The callbacks in real trainers, of `lightning.pytorch` and of `pytorch_lightning`."""

import csv
import importlib
import logging
import math

import pytest
import torch
from torch import nn

from lightning_runs import callbacks, fit, held, make_module, pl, zeros  # noqa: F401
from sparsifiers import Doubling
from torchwinnow.data_scheduler import CubicDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier

pytestmark = pytest.mark.filterwarnings("ignore")


def test_post_training_sparsifies_a_copy(pl, tmp_path, caplog):
    module = make_module(pl)
    callback = callbacks.PostTrainingDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.5}, model="net",
        config={"table_weight": {"sparsity_level": 0.75}},
        filter=lambda name, parameter: not name.startswith("out"))
    assert isinstance(callback, pl.Callback)
    with caplog.at_level(logging.INFO, "torchwinnow.lightning"):
        fit(pl, module, callback, 1, tmp_path)
    assert list(callback.data_sparsifier.data_groups) == ["table_weight", "hidden_weight", "hidden_bias"]
    assert "Sparsity in layer table.weight = 75.00%" in caplog.messages
    assert "Sparsity in layer hidden.bias = 50.00%" in caplog.messages
    sparse, dense = callback.sparsified, module.net
    assert zeros(sparse.table.weight) == 0.75 and zeros(dense.table.weight) == 0
    for one, other in zip(sparse.parameters(), dense.parameters()):
        assert torch.equal(one[one != 0], other[one != 0])
    assert not sparse.training and torch.equal(sparse.out.weight, dense.out.weight)


@pytest.mark.parametrize("attribute, names", [("model", ["table_weight"]), ("net", ["net_table_weight"]),
                                              ("", ["first_weight"])])
def test_the_model_is_found_under_any_name(pl, tmp_path, attribute, names):
    callback = callbacks.PostTrainingDataSparsity(DataNormSparsifier)
    fit(pl, make_module(pl, attribute), callback, 1, tmp_path)
    assert list(callback.data_sparsifier.data_groups)[:1] == names
    given = callbacks.PostTrainingDataSparsity(DataNormSparsifier, model=lambda module: module)
    given.on_fit_end(None, make_module(pl, attribute))
    with pytest.raises(TypeError, match="no torch.nn.Module"):
        callbacks.PostTrainingDataSparsity(DataNormSparsifier, model="trainer").on_fit_end(
            None, type("Holder", (nn.Module,), {"trainer": 1})())


def test_a_copy_is_masked_at_every_epoch(pl, tmp_path):
    module = make_module(pl, "model")
    callback = callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.1}, Doubling, {"gamma": 2})
    seen = []

    class Watch(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            scheduler, sparsifier = callback.data_scheduler, callback.data_sparsifier
            for name, level in scheduler.get_last_param().items():
                assert math.isclose(level, scheduler.base_param[name] * 2**scheduler.last_epoch)
            seen.append(zeros(callback.sparsified.table.weight + 0) or sparsifier.get_mask(
                "table_weight").eq(0).float().mean().item())

    fit(pl, module, callback, 3, tmp_path, more=[Watch()])
    assert seen == pytest.approx([0.1, 0.2, 0.4])
    assert zeros(callback.sparsified.table.weight) == pytest.approx(0.4)
    assert zeros(module.model.table.weight) == 0
    assert not hasattr(callback.data_sparsifier._container, "parametrizations")


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD, torch.optim.AdamW])
def test_masks_are_held_in_the_model_itself(pl, tmp_path, optimizer):
    module, callback = make_module(pl, optimizer=optimizer), held(model="net")
    dropped = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.current_epoch < 1:
                return
            weight = pl_module.net.table.weight
            mask = callback.data_sparsifier.get_mask("table_weight")
            assert weight[mask == 0].eq(0).all()
            state = trainer.optimizers[0].state[weight]
            momentum = state.get("exp_avg", state.get("momentum_buffer"))
            assert momentum[mask == 0].eq(0).all() and momentum[mask == 1].ne(0).any()

        def on_train_epoch_end(self, trainer, pl_module):
            dropped.append(pl_module.net.table.weight.eq(0))

    fit(pl, module, callback, 5, tmp_path, more=[Watch()])
    levels = [round(0.75 * (1 - (1 - t / 3) ** 3) * 320) for t in range(3)] + [240, 240]
    assert [int(each.sum()) for each in dropped] == levels
    assert all((later | ~earlier).all() for earlier, later in zip(dropped, dropped[1:]))
    assert zeros(module.net.table.weight) == 0.75 and callback.sparsified is None
    assert not hasattr(module.net.table, "parametrizations")


def test_masks_advance_every_few_batches(pl, tmp_path):
    module, callback = make_module(pl), held(model="net", interval="step", frequency=3)
    fit(pl, module, callback, 2, tmp_path)  # 16 batches: 5 steps
    assert callback.data_scheduler.last_epoch == 5 and zeros(module.net.table.weight) == 0.75


def logged(logger, metric):
    """The last value in the logger's file."""
    logger.save()
    with open(logger.experiment.metrics_file_path, newline="") as file:
        return float([row[metric] for row in csv.DictReader(file) if row[metric]][-1])


def test_sparsity_is_logged_for_each_layer(pl, tmp_path):
    loggers = importlib.import_module(f"{pl.__name__}.loggers")
    logger = loggers.CSVLogger(tmp_path)
    trainer = fit(pl, make_module(pl), held(model="net"), 4, tmp_path, logger=logger)
    assert trainer.callback_metrics["sparsity/table.weight"] == 0.75
    assert trainer.progress_bar_metrics["sparsity"] == pytest.approx(0.75, abs=0.01)
    assert logged(logger, "sparsity/out.bias") == 1.0  # round(0.75 * 1) of one value
    post = callbacks.PostTrainingDataSparsity(DataNormSparsifier, {"sparsity_level": 0.5})
    logger = loggers.CSVLogger(tmp_path, name="post")
    fit(pl, make_module(pl), post, 1, tmp_path, logger=logger)
    assert logged(logger, "sparsity/net.table.weight") == 0.5


@pytest.mark.parametrize("options, message", [
    ({"interval": "batch"}, "interval"), ({"interval": "step"}, "needs apply_to_model"),
    ({"frequency": 0, "apply_to_model": True}, "frequency")])
def test_options_out_of_range_are_named(pl, options, message):
    with pytest.raises(ValueError, match=message):
        callbacks.TrainingAwareDataSparsity(DataNormSparsifier, {}, CubicDataScheduler, **options)
    with pytest.raises(ValueError, match="data_scheduler_class is missing"):
        callbacks.TrainingAwareDataSparsity(DataNormSparsifier)


def test_hooks_before_the_start_say_so(pl):
    callback = held()
    for call in (lambda: callback.on_train_epoch_start(None, None), lambda: callback.on_train_end(None, None),
                 lambda: callback.on_train_epoch_end(None, None),
                 lambda: callback.on_train_batch_end(None, None, None, None, 0)):
        with pytest.raises(RuntimeError, match="before on_train_start"):
            call()
    assert callback.state_dict() == {}


def test_a_mask_is_found_by_the_parameters_name(pl, tmp_path):
    callback = held(model="net")
    with pytest.raises(RuntimeError, match="get_mask was called before on_train_start"):
        callback.get_mask("table.weight")
    fit(pl, make_module(pl), callback, 2, tmp_path)
    mask = callback.data_sparsifier.get_mask("table_weight")
    assert callback.get_mask("table.weight") is mask
    assert callback.get_mask("table_weight") is mask
    with pytest.raises(ValueError, match="'table' is not sparsified; attached are table.weight, "):
        callback.get_mask("table")


@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_train_batch_end"])
def test_a_parameter_that_was_replaced_is_an_error(pl, tmp_path, hook):
    class Replace(pl.Callback):
        def assign(self, trainer, pl_module, *_):
            if trainer.current_epoch == 1:
                state = {name: tensor.clone() for name, tensor in pl_module.net.state_dict().items()}
                pl_module.net.load_state_dict(state, assign=True)

    setattr(Replace, hook, Replace.assign)
    with pytest.raises(RuntimeError, match="'table.weight' was replaced after on_train_start"):
        fit(pl, make_module(pl), held(model="net"), 3, tmp_path, more=[Replace()])
