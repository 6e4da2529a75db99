"""Checkpoints of Lightning, second fits and several callbacks in one trainer."""

import importlib
import os
import subprocess
import sys

import pytest
import torch

from lightning_runs import callbacks, fit, held, make_module, once, pl, zeros  # noqa: F401
from sparsifiers import FirstRow
from torchwinnow.data_scheduler import CubicDataScheduler, StepDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier

pytestmark = pytest.mark.filterwarnings("ignore")


def stop_at(pl, path, step, hook):
    """A callback that saves and interrupts in a hook, after the callback under test."""

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if hook == "batch":
                self.stop(trainer)

        def on_train_epoch_end(self, trainer, pl_module):
            if hook == "epoch":
                self.stop(trainer)

        def stop(self, trainer):
            if trainer.global_step == step:
                trainer.save_checkpoint(path)
                raise KeyboardInterrupt

    return Stop()


@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("batch, hook", [(11, "batch"), (16, "batch"), (16, "epoch"), (40, "batch")])
def test_an_interrupted_run_ends_as_if_it_had_not_been(pl, tmp_path, interval, batch, hook):
    def callback():
        return held(model="net", interval=interval, frequency=5)

    whole = make_module(pl)
    uninterrupted = callback()
    fit(pl, whole, uninterrupted, 5, tmp_path)
    path = tmp_path / "stopped.ckpt"
    try:
        fit(pl, make_module(pl), callback(), 5, tmp_path, more=[stop_at(pl, path, batch, hook)])
    except (KeyboardInterrupt, SystemExit):
        pass
    resumed, again = make_module(pl), callback()
    fit(pl, resumed, again, 5, tmp_path, ckpt_path=path)
    assert zeros(resumed.net.table.weight) == 0.75
    for one, other in zip(whole.parameters(), resumed.parameters()):
        assert torch.equal(one, other)
    assert again.data_scheduler.last_epoch == uninterrupted.data_scheduler.last_epoch
    for name in again.data_sparsifier.data_groups:
        assert torch.equal(again.data_sparsifier.get_mask(name), uninterrupted.data_sparsifier.get_mask(name))


def test_a_masked_copy_resumes_too(pl, tmp_path):
    def callback():
        return callbacks.TrainingAwareDataSparsity(
            FirstRow, {"rate": 8.0}, StepDataScheduler, {"schedule_param": "rate", "gamma": 0.5})

    whole, stopped, resumed = callback(), callback(), callback()
    fit(pl, make_module(pl, "model"), whole, 4, tmp_path)
    trainer = fit(pl, make_module(pl, "model"), stopped, 2, tmp_path)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    fit(pl, make_module(pl, "model"), resumed, 4, tmp_path, ckpt_path=tmp_path / "two.ckpt")
    assert resumed.data_scheduler.last_epoch == 4
    assert resumed.data_sparsifier.data_groups == whole.data_sparsifier.data_groups
    for one, other in zip(whole.sparsified.parameters(), resumed.sparsified.parameters()):
        assert torch.equal(one, other)


def test_another_configuration_is_refused(pl, tmp_path):
    callback = held(model="net")
    fit(pl, make_module(pl), callback, 1, tmp_path)
    state = callback.state_dict()
    with pytest.raises(RuntimeError, match="interval was 'epoch' and is 'step' now"):
        held(interval="step").load_state_dict(state)
    with pytest.raises(RuntimeError, match="no 'batches'"):
        held().load_state_dict({key: value for key, value in state.items() if key != "batches"})
    other = held(model="net", filter=lambda name, parameter: "table" in name)
    other.load_state_dict(state)
    with pytest.raises(RuntimeError, match="Error loading masks"):
        other.on_train_start(None, make_module(pl))
    assert other.state_dict() == state


def again(pl, module, callback, tmp_path, trainer=None, epochs=2, **options):
    """Some more epochs: in the trainer that is given, or in a new one."""
    if trainer is None:
        return fit(pl, module, callback, epochs, tmp_path, **options)
    trainer.fit_loop.max_epochs = trainer.current_epoch + epochs
    trainer.fit(module)
    return trainer


@pytest.mark.parametrize("same_trainer", [True, False])
@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_a_second_fit_goes_on(pl, tmp_path, same_trainer, interval):
    module, callback = make_module(pl), held(model="net", interval=interval, frequency=3)
    module.validation_step = lambda *_: None
    trainer = fit(pl, module, callback, 2, tmp_path)
    level, steps = zeros(module.net.table.weight), callback.data_scheduler.last_epoch
    mask = callback.get_mask("table.weight").clone()
    assert 0 < level
    trainer.validate(module, torch.utils.data.DataLoader(range(1)), verbose=False)
    again(pl, module, callback, tmp_path, trainer if same_trainer else None)
    assert callback.data_scheduler.last_epoch == steps + (2 if interval == "epoch" else 5)
    assert zeros(module.net.table.weight) == 0.75
    if interval == "epoch":  # within an epoch a weight may come back between two holds
        assert (callback.get_mask("table.weight") <= mask).all()


@once
def test_two_fits_are_one_long_one(pl, tmp_path):
    """As far as the optimizer, which Lightning makes anew, has no memory."""
    def plain(parameters, **_):
        return torch.optim.SGD(parameters, 0.05)

    whole, halves = (make_module(pl, optimizer=plain) for _ in range(2))
    callback = held(model="net")
    fit(pl, whole, held(model="net"), 5, tmp_path)
    trainer = fit(pl, halves, callback, 2, tmp_path)
    again(pl, halves, callback, tmp_path, trainer, epochs=3)
    for one, other in zip(whole.parameters(), halves.parameters()):
        assert torch.equal(one, other)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("same_trainer", [True, False])
def test_a_fit_after_an_interrupted_one_goes_on(pl, tmp_path, error, same_trainer):
    class Stop(pl.Callback):
        stopped = False

        def on_train_batch_end(self, trainer, *_):
            """After the optimizer's step and before masks are held."""
            if trainer.global_step == 20 and not self.stopped:
                self.stopped = True
                raise error

    module, callback = make_module(pl), held(model="net")
    trainer = pl.Trainer(max_epochs=6, callbacks=[Stop(), callback], accelerator="cpu", logger=False,
                         enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    with pytest.raises((error, SystemExit)):
        trainer.fit(module)
    mask, steps = callback.get_mask("table.weight").clone(), callback.data_scheduler.last_epoch
    assert steps == 2 and mask.eq(0).any()
    seen = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            seen.append(zeros(pl_module.net.table.weight))

    if same_trainer:
        trainer.callbacks.append(Watch())
        trainer.fit(module)
    else:
        fit(pl, module, callback, 4, tmp_path, more=[Watch()])
    assert seen[0] >= mask.eq(0).float().mean() and zeros(module.net.table.weight) == 0.75
    assert callback.data_scheduler.last_epoch == 6


@once
def test_another_model_starts_anew(pl, tmp_path):
    callback = held(model="net")
    fit(pl, make_module(pl), callback, 5, tmp_path)
    other = make_module(pl)
    fit(pl, other, callback, 2, tmp_path)
    assert callback.data_scheduler.last_epoch == 2 and 0 < zeros(other.net.table.weight) < 0.75
    first = held(model="net")  # whose only mask, of level 0, drops nothing
    fit(pl, make_module(pl), first, 1, tmp_path)
    fit(pl, make_module(pl), first, 1, tmp_path)
    assert first.data_scheduler.last_epoch == 1
    smaller = make_module(pl)
    smaller.net.hidden = torch.nn.Linear(8, 8, bias=False)
    fit(pl, smaller, callback, 2, tmp_path)
    assert callback.data_scheduler.last_epoch == 2


@once
def test_a_copy_of_the_pruned_model_goes_on(pl, tmp_path):
    module, callback, loaded = make_module(pl), held(model="net"), make_module(pl)
    fit(pl, module, callback, 5, tmp_path)
    loaded.load_state_dict(module.state_dict())
    fit(pl, loaded, callback, 1, tmp_path)
    assert callback.data_scheduler.last_epoch == 6 and zeros(loaded.net.table.weight) == 0.75


@once
def test_a_model_that_was_made_dense_again_starts_anew_with_a_warning(pl, tmp_path):
    module, callback = make_module(pl), held(model="net")
    first = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fit(pl, module, callback, 5, tmp_path)
    module.load_state_dict(first)
    with pytest.warns(UserWarning, match="start anew, not where the last fit ended: its weights do not have"):
        fit(pl, module, callback, 2, tmp_path)
    assert callback.data_scheduler.last_epoch == 2


@once
def test_a_second_fit_of_a_masked_copy_goes_on(pl, tmp_path):
    module, other = make_module(pl, "model"), make_module(pl, "model")
    callback = callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.75, "sparse_block_shape": (1, 1)}, CubicDataScheduler, {"end_step": 3})
    fit(pl, module, callback, 4, tmp_path)
    fit(pl, module, callback, 1, tmp_path)
    assert callback.data_scheduler.last_epoch == 5 and zeros(callback.sparsified.table.weight) == 0.75
    fit(pl, other, callback, 1, tmp_path)
    assert callback.data_scheduler.last_epoch == 1 and zeros(callback.sparsified.table.weight) == 0


def test_a_checkpoint_that_is_given_to_a_second_fit_decides(pl, tmp_path):
    module, callback = make_module(pl), held(model="net")
    trainer = fit(pl, module, callback, 2, tmp_path)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    again(pl, module, callback, tmp_path, trainer, epochs=3)
    fit(pl, module, callback, 3, tmp_path, ckpt_path=tmp_path / "two.ckpt")
    assert callback.data_scheduler.last_epoch == 3
    level = 0.75 * (1 - (1 - 2 / 3) ** 3)
    assert zeros(module.net.table.weight) == pytest.approx(level, abs=0.01)


# ---- several callbacks


def levels(*values, **options):
    """Callbacks that part the model, of a level each."""
    parts = [lambda name, _: name.startswith("table"), lambda name, _: name.startswith("hidden")]
    return [callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": value, "sparse_block_shape": (1, 1)}, CubicDataScheduler,
        {"end_step": 2}, model="net", apply_to_model=True, filter=part, **options)
        for value, part in zip(values, parts)]


def test_two_callbacks_work_and_resume(pl, tmp_path):
    whole, resumed = make_module(pl), make_module(pl)
    one, other = levels(0.5, 0.75)
    fit(pl, whole, one, 5, tmp_path, more=[other])
    first = levels(0.5, 0.75)
    trainer = fit(pl, make_module(pl), first[0], 2, tmp_path, more=first[1:])
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    second = levels(0.5, 0.75)[::-1]  # in another order
    trainer = fit(pl, resumed, second[0], 5, tmp_path, more=second[1:], ckpt_path=tmp_path / "two.ckpt")
    assert zeros(resumed.net.table.weight) == 0.5 and zeros(resumed.net.hidden.weight) == 0.75
    for one, other in zip(whole.parameters(), resumed.parameters()):
        assert torch.equal(one, other)
    assert trainer.callback_metrics["sparsity/hidden.weight"] == 0.75
    assert trainer.callback_metrics["sparsity_2/table.weight"] == 0.5


def test_callbacks_of_equal_settings_are_told_apart_by_filter_or_name(pl, tmp_path):
    one, other = levels(0.5, 0.5)
    assert one.state_key != other.state_key
    assert one.state_key == levels(0.5)[0].state_key
    by_closure = [[callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {}, CubicDataScheduler,
        filter=(lambda kept: lambda name, _: name == kept)(kept)).state_key for kept in ("a", "b")] for _ in "ab"]
    assert by_closure[0] == by_closure[1] and len(set(by_closure[0])) == 2
    by_default = {callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {}, CubicDataScheduler,
        filter=lambda name, _, kept=kept: name == kept).state_key for kept in ("a", "b")}
    assert len(by_default) == 2
    same = [held(), held()]
    with pytest.raises(RuntimeError, match="more than one stateful callback"):
        pl.Trainer(callbacks=same, accelerator="cpu", logger=False)
    named = [held(name="one"), held(name="two")]
    assert named[0].state_key == "TrainingAwareDataSparsity{'name': 'one'}"
    with pytest.warns(UserWarning, match="hold masks in the same parameters: .*table.weight"):
        fit(pl, make_module(pl), named[0], 4, tmp_path, more=named[1:])
    assert named[1].data_scheduler.last_epoch == 4


def test_a_key_is_the_same_in_every_process(tmp_path, monkeypatch):
    (tmp_path / "keyed.py").write_text(
        "from functools import partial\n"
        "from torchwinnow import DataNormSparsifier, LambdaDataScheduler\n"
        "from torchwinnow.lightning import TrainingAwareDataSparsity\n"
        "def share(epoch, most): return most\n"
        "KEY = TrainingAwareDataSparsity(DataNormSparsifier, {'sparsity_level': 0.5}, LambdaDataScheduler,\n"
        "    {'factor': partial(share, most=0.5)}, filter=lambda name, _: 'table' in name).state_key\n")
    monkeypatch.syspath_prepend(tmp_path)
    key = importlib.import_module("keyed").KEY
    other = subprocess.run([sys.executable, "-c", "print(__import__('keyed').KEY)"], capture_output=True, text=True,
                           check=True, cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": "1"})
    assert key == other.stdout.strip() and "'settings': '" in key


def rename_states(path, *keys):
    """Gives the states of our callbacks in a checkpoint other keys, in order."""
    saved = torch.load(path, weights_only=True)
    ours = [key for key in saved["callbacks"] if key.startswith("TrainingAware")]
    states = [saved["callbacks"].pop(key) for key in ours]
    saved["callbacks"].update(zip(keys, states))
    torch.save(saved, path)


def test_checkpoints_with_the_key_of_old_are_loaded(pl, tmp_path):
    path = tmp_path / "old.ckpt"
    fit(pl, make_module(pl), held(model="net"), 2, tmp_path).save_checkpoint(path)
    rename_states(path, "TrainingAwareDataSparsity")
    module, callback = make_module(pl), held(model="net")
    fit(pl, module, callback, 5, tmp_path, ckpt_path=path)
    assert callback.data_scheduler.last_epoch == 5 and zeros(module.net.table.weight) == 0.75
    two = [held(model="net", name="one"), held(model="net", name="two")]
    with pytest.raises(RuntimeError, match="cannot be told; .* give each a name="):
        fit(pl, make_module(pl), two[0], 5, tmp_path, more=two[1:], ckpt_path=path)


def test_a_state_of_other_settings_is_found_or_refused(pl, tmp_path):
    path = tmp_path / "two.ckpt"
    trainer = fit(pl, make_module(pl), held(model="net"), 2, tmp_path)
    trainer.save_checkpoint(path)
    callback = held(model="net", filter=lambda name, _: True)  # takes in all, as before
    fit(pl, make_module(pl), callback, 5, tmp_path, ckpt_path=path)
    assert callback.data_scheduler.last_epoch == 5
    parts = levels(0.5, 0.75)
    fit(pl, make_module(pl), parts[0], 2, tmp_path, more=parts[1:]).save_checkpoint(path)
    with pytest.raises(RuntimeError, match="cannot be told"):
        fit(pl, make_module(pl), held(model="net"), 5, tmp_path, ckpt_path=path)
    dense = tmp_path / "dense.ckpt"
    fit(pl, make_module(pl), pl.Callback(), 2, tmp_path).save_checkpoint(dense)
    fresh = held(model="net")
    fit(pl, make_module(pl), fresh, 4, tmp_path, ckpt_path=dense)
    assert fresh.data_scheduler.last_epoch == 2
