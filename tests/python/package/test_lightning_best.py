"""What is said at the end of training of checkpoints and models that are less sparse than was meant."""

import pytest
import torch

from lightning_runs import callbacks, fit, make_module, once, pl, zeros  # noqa: F401
from torchwinnow.data_scheduler import LinearDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier

pytestmark = pytest.mark.filterwarnings("ignore", "always:the best checkpoint", "always:training was stopped")


def linear(end=4, **options):
    options = {"apply_to_model": True, **options}
    return callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.8, "sparse_block_shape": (1, 1)}, LinearDataScheduler,
        {"end_step": end}, model="net", filter="default", **options)


def said(recwarn, what):
    found = [str(each.message) for each in recwarn if str(each.message).startswith(what)]
    recwarn.clear()
    return found


def measured(pl, value_of):
    """A module that logs "val" of an epoch."""
    module = make_module(pl)
    module.validation_step = lambda *_: module.log("val", float(value_of(module.current_epoch)))
    module.val_dataloader = lambda: torch.utils.data.DataLoader(range(1))
    return module


def saving(pl, tmp_path, **options):
    options = {"monitor": "val", **options}
    return pl.callbacks.ModelCheckpoint(tmp_path / "saved", **options)


def test_a_best_checkpoint_from_before_the_level_was_reached_is_named(pl, tmp_path, recwarn):
    save = saving(pl, tmp_path)
    fit(pl, measured(pl, lambda epoch: abs(epoch - 3)), linear(), 7, tmp_path, more=[save], checkpoints=True)
    (text,) = said(recwarn, "the best checkpoint")
    saved = torch.load(save.best_model_path, weights_only=False)["state_dict"]["net.table.weight"]
    assert saved.eq(0).float().mean().item() == pytest.approx(0.6, abs=0.01)
    assert "ModelCheckpoint by 'val', " in text and save.best_model_path in text
    assert "its masks drop 59.9%, those of the trained model 79.9%" in text and "infinite before" in text


@once
@pytest.mark.parametrize("options, text", [({}, "its masks drop 59.9%"), ({"interval": "step", "frequency": 8}, "its masks drop 59.9%")])
def test_a_file_that_is_written_again_counts_as_it_is_last(pl, tmp_path, recwarn, options, text):
    save = saving(pl, tmp_path, filename="best", enable_version_counter=False)
    module = measured(pl, lambda epoch: -min(epoch, 3))
    fit(pl, module, linear(**options), 7, tmp_path, more=[save], checkpoints=True)
    (found,) = said(recwarn, "the best checkpoint")
    assert text in found


@once
def test_a_best_checkpoint_of_the_last_level_and_others_are_no_warning(pl, tmp_path, recwarn):
    for value_of, options, saves in [
        (lambda epoch: -epoch, {}, {}),  # the last one is the best
        (lambda epoch: epoch if epoch > 4 else float("inf"), {}, {}),  # the remedy
        (lambda epoch: epoch, {}, {"monitor": None, "save_top_k": -1}),
        (lambda epoch: epoch, {"apply_to_model": False}, {}),  # the model is dense throughout
    ]:
        save = saving(pl, tmp_path, **saves)
        fit(pl, measured(pl, value_of), linear(**options), 7, tmp_path, more=[save], checkpoints=True)
        assert not said(recwarn, "the best checkpoint"), (options, saves)


@once
def test_a_best_checkpoint_of_the_run_that_was_resumed_is_named(pl, tmp_path, recwarn):
    def value_of(epoch):
        return epoch if epoch > 1 else -9

    first = fit(pl, measured(pl, value_of), linear(), 3, tmp_path, more=[saving(pl, tmp_path)], checkpoints=True)
    first.save_checkpoint(tmp_path / "three.ckpt")
    recwarn.clear()
    fit(pl, measured(pl, value_of), linear(), 7, tmp_path, more=[saving(pl, tmp_path)], checkpoints=True,
        ckpt_path=tmp_path / "three.ckpt")
    assert len(said(recwarn, "the best checkpoint")) == 1


@pytest.mark.parametrize("apply_to_model", [True, False])
def test_a_run_that_was_stopped_before_its_schedule_is_named(pl, tmp_path, recwarn, apply_to_model):
    def stop():
        return pl.callbacks.EarlyStopping("val", patience=1)

    callback = linear(10, apply_to_model=apply_to_model)
    fit(pl, measured(pl, lambda epoch: epoch), callback, 12, tmp_path, more=[stop()])
    (text,) = said(recwarn, "training was stopped")
    sparse = callback.sparsified or callback._trained()
    level = zeros(sparse.table.weight)
    assert "at step 1 of 10: the sparsity_level of 'table_weight' is only 0.08, not 0.8" in text and "min_epochs" in text
    assert level == pytest.approx(0.08, abs=0.01)
    fit(pl, measured(pl, lambda epoch: epoch), linear(10), 12, tmp_path, more=[stop()], min_epochs=11)
    assert not said(recwarn, "training was stopped")


@once
def test_a_run_that_was_known_to_be_short_is_not_named_again(pl, tmp_path, recwarn):
    with pytest.warns(UserWarning, match="the run is shorter than its schedule"):
        fit(pl, make_module(pl), linear(10), 3, tmp_path)
    fit(pl, make_module(pl), linear(10), 3, tmp_path, fast_dev_run=True)
    assert not said(recwarn, "training was stopped")
