"""Checkpoints of Lightning, second fits and several callbacks in one trainer."""

import pytest
import torch

from lightning_runs import callbacks, fit, held, make_module, pl, zeros  # noqa: F401
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
