"""What is said of a schedule that the run does not reach the end of."""

import types

import pytest
import torch

from lightning_runs import callbacks, fit, held, make_module, once, pl  # noqa: F401
from torchwinnow.data_scheduler import CubicDataScheduler, LinearDataScheduler, StepDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier

pytestmark = pytest.mark.filterwarnings("ignore", "always:the run is shorter", "always:.*is pruned already")


def said(recwarn):
    found = [str(each.message) for each in recwarn if "the run is shorter" in str(each.message)]
    recwarn.clear()
    return found


def linear(end, **options):
    options.setdefault("apply_to_model", True)
    return callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.8}, LinearDataScheduler, {"end_step": end}, model="net", **options)


def test_a_run_that_ends_before_its_schedule_is_named(pl, tmp_path, recwarn):
    fit(pl, make_module(pl), linear(20), 5, tmp_path)
    (text,) = said(recwarn)
    assert "ends at the schedule's step 4, the schedule at 20" in text
    assert "sparsity_level of 'table_weight' will be only 0.16, not 0.8" in text
    fit(pl, make_module(pl), linear(5, apply_to_model=False), 5, tmp_path)
    assert len(said(recwarn)) == 1  # the last mask is made before the schedule's last step
    fit(pl, make_module(pl), linear(4), 5, tmp_path)
    assert not said(recwarn)


@once
def test_what_is_told_comes_true(pl, tmp_path, recwarn):
    """The level in the text is the one that the run ends with; 8 batches an epoch."""
    for options, run in [({}, {"epochs": 3}), ({"interval": "step", "frequency": 3}, {"epochs": 3}),
                         ({}, {"epochs": -1, "max_steps": 20}), ({}, {"epochs": 9, "max_steps": 20}),
                         ({"interval": "step", "frequency": 4}, {"epochs": -1, "max_steps": 21}),
                         ({"interval": "step", "frequency": 2},
                          {"epochs": -1, "max_steps": 6, "accumulate_grad_batches": 3})]:
        callback = linear(20, **options)
        fit(pl, make_module(pl), callback, tmp_path=tmp_path, **run)
        (text,) = said(recwarn)
        level = 0.8 * (callback.data_scheduler.last_epoch - 1) / 20
        assert f"only {level:.4g}, not 0.8" in text, (options, run)


@once
def test_a_resumed_run_counts_what_is_left(pl, tmp_path, recwarn):
    callback = linear(4)
    trainer = fit(pl, make_module(pl), callback, 3, tmp_path)
    trainer.save_checkpoint(tmp_path / "three.ckpt")
    assert len(said(recwarn)) == 1
    fit(pl, make_module(pl), linear(4), 5, tmp_path, ckpt_path=tmp_path / "three.ckpt")
    assert not said(recwarn)


def test_no_end_is_no_warning(recwarn):
    for trainer in (None, types.SimpleNamespace(max_epochs=-1, max_steps=-1),
                    types.SimpleNamespace(max_epochs=None, max_steps=-1)):
        callback = linear(20)
        callback.on_train_start(trainer, make_module(pytest.importorskip("lightning.pytorch")))
        assert not said(recwarn)


@once
def test_a_flat_end_and_schedules_without_an_end_are_no_warning(pl, tmp_path, recwarn):
    fit(pl, make_module(pl), held(model="net"), 4, tmp_path)
    cubic = callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.8}, CubicDataScheduler, {"end_step": 5}, model="net")
    fit(pl, make_module(pl), cubic, 5, tmp_path)  # 0.8 * (1 - 0.2 ** 3)
    stairs = callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.8}, StepDataScheduler, {"gamma": 0.5}, model="net")
    fit(pl, make_module(pl), stairs, 2, tmp_path)
    fit(pl, make_module(pl), linear(20), 2, tmp_path, fast_dev_run=True)
    assert not said(recwarn)


@once
def test_a_schedule_that_starts_below_what_is_pruned_is_named(pl, tmp_path):
    """A new process that trains a pruned model some more, without the checkpoint."""
    module = make_module(pl)
    fit(pl, module, held(model="net"), 5, tmp_path)
    with pytest.warns(UserWarning, match="'table.weight' is pruned already .75% zeros., and its schedule starts at 0"):
        fit(pl, module, held(model="net"), 5, tmp_path)


@once
def test_zeros_of_new_weights_and_of_a_schedule_that_goes_on_are_no_warning(pl, tmp_path, recwarn):
    module = make_module(pl)
    with torch.no_grad():
        module.net.hidden.bias.zero_()  # a first value
    fit(pl, module, held(model="net"), 5, tmp_path)
    callback = callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.75}, CubicDataScheduler, {"initial_value": 0.75, "end_step": 1},
        apply_to_model=True, model="net", filter="default")
    fit(pl, module, callback, 1, tmp_path)
    assert not [each for each in recwarn if "pruned already" in str(each.message)]
