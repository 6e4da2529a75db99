"""Masks held in the model, beside callbacks and modules that keep averages of its weights."""

import copy
import importlib

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from lightning_runs import fit, held, make_module, once, pl, zeros  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore", "always:.*has tensors of the sparsified")


def averaging(pl, kind):
    module = importlib.import_module(f"{pl.__name__}.callbacks")
    if kind == "SWA":
        return module.StochasticWeightAveraging(0.01, swa_epoch_start=2, annealing_epochs=1)
    return module.EMAWeightAveraging(decay=0.9)


def average_of(callback):
    """The table in an averaging callback's copy."""
    model = callback._average_model
    return (model.module if isinstance(model, AveragedModel) else model).net.table.weight


def saving(pl, folder):
    module = importlib.import_module(f"{pl.__name__}.callbacks")
    return module.ModelCheckpoint(folder, save_last=True, every_n_train_steps=5)


def with_validation(module):
    """It validates at every epoch's end, and remembers the zeros that it sees then."""
    module.seen = []

    def validation_step(batch, batch_idx):
        module.seen.append(zeros(module.net.table.weight))

    module.validation_step = validation_step
    module.val_dataloader = lambda: torch.utils.data.DataLoader(range(1))
    return module


def run(pl, tmp_path, others, first, epochs=6, module=None, **options):
    """Trains with our callback before or behind others; the module, our callback and last.ckpt."""
    module = module or make_module(pl)
    sparsity = held(model="net", **options)
    more = [*others, saving(pl, tmp_path)]
    callbacks = [sparsity, *more] if first else [*others, sparsity, more[-1]]
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=callbacks, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0)
    trainer.fit(module)
    return module, sparsity, torch.load(tmp_path / "last.ckpt", weights_only=False)


@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("kind", ["SWA", "EMA"])
def test_averages_are_sparse_in_any_order(pl, tmp_path, kind, interval, first):
    average = averaging(pl, kind)
    module, sparsity, saved = run(
        pl, tmp_path, [average], first, module=with_validation(make_module(pl)), interval=interval, frequency=4)
    assert zeros(module.net.table.weight) == 0.75
    assert module.net.table.weight[sparsity.get_mask("table.weight") == 0].eq(0).all()
    assert module.seen[-1] == 0.75  # of EMA: while its average is in the model's place
    if interval == "step":  # the masks of batch 8 came just before
        assert module.seen[0] >= 0.75 * (1 - (2 / 3) ** 3) - 0.01
    assert zeros(saved["state_dict"]["net.table.weight"]) == 0.75
    if kind == "EMA":
        assert zeros(saved["current_model_state"]["net.table.weight"]) == 0.75
        assert not torch.equal(saved["current_model_state"]["net.table.weight"],
                               saved["state_dict"]["net.table.weight"])
    else:
        state = next(state for key, state in saved["callbacks"].items() if key.startswith("Stochastic"))
        assert zeros(state["average_model_state"]["net.table.weight"]) == 0.75
    assert torch.equal(average_of(average), module.net.table.weight)


@once
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_kept_values_are_the_averages(pl, tmp_path, first):
    """Masks that drop nothing new after the averaging began leave it as it would be without them."""
    weights = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            if trainer.current_epoch >= 4:
                weights.append(pl_module.net.table.weight.detach().clone())

    callbacks = importlib.import_module(f"{pl.__name__}.callbacks")
    average = callbacks.WeightAveraging(avg_fn=get_ema_avg_fn(0.5))
    average.should_update = lambda step_idx=None, epoch_idx=None: step_idx is not None and step_idx >= 32
    others = [Watch(), average] if first else [average, Watch()]
    module, sparsity, _ = run(pl, tmp_path, others, first)
    kept = sparsity.get_mask("table.weight") == 1
    expected = weights[0]
    for weight in weights[1:]:
        expected = expected.lerp(weight, 0.5)
    torch.testing.assert_close(module.net.table.weight[kept], expected[kept])


@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_the_epoch_of_batch_norms_statistics_changes_no_mask(pl, tmp_path, first, interval):
    module = make_module(pl)
    module.net.hidden = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
    module, sparsity, _ = run(pl, tmp_path, [averaging(pl, "SWA")], first, module=module, interval=interval,
                              frequency=4)
    assert zeros(module.net.table.weight) == 0.75
    assert sparsity.data_scheduler.last_epoch == (6 if interval == "epoch" else 12)


@once
def test_an_average_in_the_module_is_sparse(pl, tmp_path):
    module = make_module(pl)
    module.smooth = AveragedModel(module.net, multi_avg_fn=None, avg_fn=get_ema_avg_fn(0.9))
    module.on_train_batch_end = lambda *_: module.smooth.update_parameters(module.net)
    module, _, saved = run(pl, tmp_path, [], True, module=module)
    assert zeros(saved["state_dict"]["smooth.module.table.weight"]) == 0.75
    assert zeros(module.smooth.module.table.weight) == 0.75


def own_average(pl, kind, name):
    """An average as programs write it: a dict by name, a list in order, or an object that has one."""

    class Own(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            start = [each.detach().clone() for each in pl_module.net.parameters()]
            names = [f"net.{each}" for each, _ in pl_module.net.named_parameters()]
            value = dict(zip(names, start)) if kind == "dict" else start
            if kind == "object":
                value = type("Keeper", (), {})()
                value.shadow_params = start
            setattr(self, name, value)

        def tensors(self):
            value = getattr(self, name)
            return list(value.values()) if kind == "dict" else getattr(value, "shadow_params", value)

        @torch.no_grad()
        def on_train_batch_end(self, trainer, pl_module, *_):
            for average, weight in zip(self.tensors(), pl_module.net.parameters()):
                average.lerp_(weight, 0.2)

        @torch.no_grad()
        def on_train_end(self, trainer, pl_module):
            for average, weight in zip(self.tensors(), pl_module.net.parameters()):
                weight.copy_(average)

    return Own()


@once
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
@pytest.mark.parametrize("kind", ["dict", "list", "object"])
def test_an_average_of_the_users_own_is_known_by_its_name(pl, tmp_path, recwarn, kind, first):
    shadow = own_average(pl, kind, "ema")
    module, _, _ = run(pl, tmp_path, [shadow], first)
    assert zeros(shadow.tensors()[0]) == zeros(module.net.table.weight) == 0.75
    assert not [each for each in recwarn if "no mask is held there" in str(each.message)]


@once
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_another_copy_is_named_and_left_as_it_is(pl, tmp_path, recwarn, first):
    class Teacher(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            self.model = copy.deepcopy(pl_module.net)
            self.first = copy.deepcopy(self.model.state_dict())

    teacher = Teacher()
    run(pl, tmp_path, [teacher], first)
    assert zeros(teacher.model.table.weight) == 0
    texts = {str(each.message) for each in recwarn if "no mask is held there" in str(each.message)}
    assert {text.partition(" ")[0] for text in texts} == {"Teacher.model", "Teacher.first"}


@once
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_the_model_is_sparse_whatever_was_put_into_it_last(pl, tmp_path, recwarn, first):
    module, sparsity, _ = run(pl, tmp_path, [own_average(pl, "list", "numbers")], first)
    assert zeros(module.net.table.weight) == 0.75
    assert any("Own.numbers" in str(each.message) for each in recwarn)


@once
def test_a_copy_can_be_masked_by_hand(pl, tmp_path):
    module, sparsity = make_module(pl), held(model="net")
    mine = copy.deepcopy(module.net)
    with pytest.raises(RuntimeError, match="before on_train_start"):
        sparsity.mask_copy_(mine)
    whole = copy.deepcopy(module).state_dict()
    fit(pl, module, sparsity, 5, tmp_path)
    sparsity.mask_copy_(mine)
    sparsity.mask_copy_(whole)
    assert zeros(mine.table.weight) == zeros(whole["net.table.weight"]) == 0.75
    del whole["net.out.bias"]
    with pytest.raises(ValueError, match="has not all of the parameters"):
        sparsity.mask_copy_(whole)


@once
def test_a_checkpoint_from_between_two_callbacks_is_sparse(pl, tmp_path):
    """It is saved after somebody wrote to the weights and before masks are held again."""
    path = tmp_path / "between.ckpt"

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 44:
                weight = trainer.lightning_module.net.table.weight
                weight.data.add_(0.01)
                trainer.save_checkpoint(path)
                self.dense = zeros(weight)

    save = Save()
    run(pl, tmp_path, [averaging(pl, "EMA"), save], False)
    saved = torch.load(path, weights_only=False)
    assert save.dense < 0.75  # the save itself leaves the model as it is
    for key in ("state_dict", "current_model_state"):
        assert zeros(saved[key]["net.table.weight"]) == 0.75


@pytest.mark.parametrize("kind", ["SWA", "EMA"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_a_run_with_an_average_resumes(pl, tmp_path, kind, first):
    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 3:
                trainer.save_checkpoint(tmp_path / "three.ckpt")

    def ordered(*more):
        sparsity, average = held(model="net"), averaging(pl, kind)
        return [*([sparsity, average] if first else [average, sparsity]), *more]

    def trained(module, callbacks, **options):
        trainer = pl.Trainer(max_epochs=6, callbacks=callbacks, accelerator="cpu", logger=False,
                             enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
        trainer.fit(module, **options)
        return module

    whole = trained(make_module(pl), ordered(Stop()))
    resumed = trained(make_module(pl), ordered(), ckpt_path=tmp_path / "three.ckpt", weights_only=False)
    assert zeros(resumed.net.table.weight) == 0.75
    for one, other in zip(whole.parameters(), resumed.parameters()):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
