"""The callbacks in real trainers, of `lightning.pytorch` and of `pytorch_lightning`."""

import csv
import importlib
import logging
import math

import pytest
import torch
from torch import nn

from sparsifiers import Doubling, FirstRow
from torchwinnow.data_scheduler import CubicDataScheduler, StepDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier

callbacks = pytest.importorskip("torchwinnow.lightning")
PACKAGES = ["lightning.pytorch", "pytorch_lightning"]
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.parametrize("package", PACKAGES)]


@pytest.fixture
def pl(package):
    return pytest.importorskip(package)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(40, 8)
        self.hidden = nn.Linear(8, 8)  # with a bias
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        return self.out(self.hidden(self.table(x)).relu())


def make_module(pl, attribute="net", optimizer=torch.optim.Adam):
    """A LightningModule whose model hangs under `attribute`; "": it is the model itself."""

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            if attribute:
                setattr(self, attribute, Net())
            else:
                self.first = nn.Linear(1, 4)
                self.last = nn.Linear(4, 1)

        def forward(self, x):
            if attribute:
                return getattr(self, attribute)(x)
            return self.last(self.first(x.float().unsqueeze(1)).relu())

        def training_step(self, batch, batch_idx):
            # Of two numbers only, so that a run can go on in the middle of an epoch.
            generator = torch.Generator().manual_seed(1000 * self.current_epoch + batch_idx)
            x = torch.randint(0, 40, (8,), generator=generator)
            y = torch.sin(x.float())
            return nn.functional.mse_loss(self(x).squeeze(1), y)

        def configure_optimizers(self):
            options = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
            return optimizer(self.parameters(), lr=0.05, weight_decay=0.01, **options)

        def train_dataloader(self):
            return torch.utils.data.DataLoader(range(8), batch_size=1)

    return Module()


def fit(pl, module, callback, epochs, tmp_path, ckpt_path=None, **options):
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=[callback, *options.pop("more", [])], accelerator="cpu",
        default_root_dir=tmp_path, enable_progress_bar=False, enable_model_summary=False,
        logger=options.pop("logger", False), enable_checkpointing=options.pop("checkpoints", False),
        log_every_n_steps=1, **options)
    trainer.fit(module, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def held(**options):
    """A callback that masks the model itself, up to 75 % at epoch 3."""
    return callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.75, "sparse_block_shape": (1, 1)},
        CubicDataScheduler, {"end_step": 3}, apply_to_model=True, **options)


def zeros(tensor):
    return tensor.eq(0).float().mean().item()


def test_a_filter_that_takes_in_nothing_is_an_error(pl, tmp_path):
    callback = callbacks.PostTrainingDataSparsity(
        DataNormSparsifier, model="net", filter=lambda name, parameter: name == "tables.weight")
    with pytest.raises(ValueError, match="takes in none of the parameters .*'table.weight'"):
        fit(pl, make_module(pl), callback, 1, tmp_path)


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


def test_names_that_meet_are_an_error(pl):
    module = nn.Module()
    module.model = nn.Module()
    module.model.a, module.model.a_weight = nn.Linear(2, 2), nn.Parameter(torch.ones(2))
    callback = callbacks.PostTrainingDataSparsity(DataNormSparsifier)
    with pytest.raises(ValueError, match="both become 'a_weight'"):
        callback.on_fit_end(None, module)
    with pytest.raises(ValueError, match="no parameter that is attached is called 'ghost'"):
        callbacks.PostTrainingDataSparsity(DataNormSparsifier, config={"ghost": {}}).on_fit_end(
            None, make_module(pl))


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
