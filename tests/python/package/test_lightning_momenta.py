"""What optimizers keep of the weights: momenta of all kinds, and copies of the weights."""

from collections import defaultdict

import pytest
import torch
from torch import nn

from lightning_runs import callbacks, fit, once, pl  # noqa: F401
from torchwinnow.data_scheduler import LinearDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier

pytestmark = [pytest.mark.filterwarnings("ignore", "always:.* in \\w+ (cannot be|is not) masked"), once]


def bag_module(pl, make_optimizer, sparse=False):
    """A bag of embeddings and a linear layer, under an optimizer of any kind."""

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.model = nn.Sequential(nn.EmbeddingBag(32, 8, sparse=sparse), nn.Linear(8, 1))

        def training_step(self, batch, batch_idx):
            generator = torch.Generator().manual_seed(100 * self.current_epoch + batch_idx)
            x = torch.randint(0, 32, (16, 3), generator=generator)
            return nn.functional.mse_loss(self.model(x).squeeze(1), torch.sin(x.sum(1).float()))

        def configure_optimizers(self):
            return make_optimizer(self.parameters())

        def train_dataloader(self):
            return torch.utils.data.DataLoader(range(6))

    return Module()


def train(pl, tmp_path, make_optimizer, sparse=False, epochs=4, **options):
    """The trained table, its mask, and the optimizer."""
    module = bag_module(pl, make_optimizer, sparse)
    callback = callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.75, "sparse_block_shape": (1, 1)}, LinearDataScheduler,
        {"end_step": 2}, filter=lambda name, _: name == "0.weight", apply_to_model=True, **options)
    trainer = fit(pl, module, callback, epochs, tmp_path)
    return module.model[0].weight, callback.get_mask("0.weight"), trainer.optimizers[0]


def said(recwarn):
    return [str(each.message) for each in recwarn if "masked" in str(each.message)]


def test_a_momentum_of_sparse_gradients_is_masked_entry_by_entry(pl, tmp_path, recwarn):
    weight, mask, optimizer = train(
        pl, tmp_path, lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9), sparse=True)
    momentum = optimizer.state[weight]["momentum_buffer"]
    assert momentum.layout is torch.sparse_coo
    assert weight[mask == 0].eq(0).all() and mask.eq(0).float().mean() == 0.75
    assert momentum.to_dense()[mask == 0].eq(0).all() and momentum.to_dense()[mask == 1].ne(0).any()
    assert not said(recwarn)


class Odd(torch.Tensor):
    """A class of an optimizer's own, as 8-bit ones have."""


class Keeper(torch.optim.SGD):
    """SGD that keeps something under a key."""

    def __init__(self, parameters, key, make):
        super().__init__(parameters, 0.1)
        self.key, self.make = key, make

    def step(self, closure=None):
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter].setdefault(self.key, self.make(parameter))
        return loss


@pytest.mark.parametrize("make, reason", [
    (lambda parameter: parameter.detach().clone().as_subclass(Odd), "a Odd"),
    (lambda parameter: torch.ones(parameter.shape[0]), "of shape (32,)"),
    (lambda parameter: torch.ones(parameter.shape, dtype=torch.uint8), "uint8"),
    (lambda parameter: torch.ones(1).expand(parameter.shape), "a place of its own")])
def test_a_momentum_that_cannot_be_masked_is_named_once(pl, tmp_path, recwarn, make, reason):
    weight, mask, optimizer = train(pl, tmp_path, lambda parameters: Keeper(parameters, "exp_avg", make))
    texts = said(recwarn)
    assert len(texts) == 1
    assert "'exp_avg' of '0.weight' in Keeper cannot be masked" in texts[0] and reason in texts[0]
    assert "momentum_keys" in texts[0]
    assert weight[mask == 0].eq(0).all()
    recwarn.clear()
    train(pl, tmp_path, lambda parameters: Keeper(parameters, "exp_avg", make), momentum_keys=("m",), epochs=2)
    assert not [text for text in said(recwarn) if "cannot" in text]


def test_a_key_that_nobody_knows_is_named_and_can_be_given(pl, tmp_path, recwarn):
    def make(parameters):
        return Keeper(parameters, "memory", torch.ones_like)

    _, mask, optimizer = train(pl, tmp_path, make)
    texts = said(recwarn)
    assert len(texts) == 1 and "'memory' of '0.weight' in Keeper is not masked" in texts[0]
    assert "add 'memory' to momentum_keys" in texts[0]
    recwarn.clear()
    weight, mask, optimizer = train(pl, tmp_path, make, momentum_keys=("memory",))
    assert not said(recwarn) and optimizer.state[weight]["memory"][mask == 0].eq(0).all()


@pytest.mark.parametrize("name", ["Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam",
                                  "RAdam", "RMSprop", "Rprop"])
def test_all_optimizers_of_torch_are_known(pl, tmp_path, recwarn, name):
    options = {"RMSprop": {"momentum": 0.9, "centered": True}, "Adam": {"amsgrad": True},
               "ASGD": {"t0": 0}}.get(name, {})
    weight, mask, _ = train(
        pl, tmp_path, lambda parameters: getattr(torch.optim, name)(parameters, lr=0.01, **options), epochs=2)
    assert not said(recwarn) and mask.eq(0).any() and weight[mask == 0].eq(0).all()


class ScheduleFree(torch.optim.Optimizer):
    """The averaging of schedule-free optimizers: the model is between the average and z."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                z = self.state[parameter].setdefault("z", parameter.detach().clone())
                parameter.lerp_(z, 0.1)
                z.sub_(parameter.grad, alpha=group["lr"])
        return loss

    @torch.no_grad()
    def eval(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.lerp_(self.state[parameter]["z"], -0.1)


def test_schedule_free_weights_are_sparse_in_both_modes(pl, tmp_path, recwarn):
    weight, mask, optimizer = train(pl, tmp_path, ScheduleFree)
    assert weight[mask == 0].eq(0).all()
    optimizer.eval()
    assert weight.eq(0).float().mean() == 0.75 and not said(recwarn)


class Lookahead:
    """Of the kind that wraps an optimizer and has its slow weights in lists or in a state."""

    def __init__(self, inner, listed):
        self.optimizer, self.param_groups, self.state = inner, inner.param_groups, defaultdict(dict)
        self.listed = listed
        self.slow_weights = [[each.detach().clone() for each in group["params"]] for group in self.param_groups]
        if not listed:
            del self.slow_weights
        self.defaults, self.steps = inner.defaults, 0

    def zero_grad(self, *arguments, **options):
        self.optimizer.zero_grad(*arguments, **options)

    def state_dict(self):
        return self.optimizer.state_dict()

    @torch.no_grad()
    def step(self, closure=None):
        loss = self.optimizer.step(closure)
        self.steps += 1
        for g, group in enumerate(self.param_groups):
            for p, parameter in enumerate(group["params"]):
                slow = self.slow_weights[g][p] if self.listed else self.state[parameter].setdefault(
                    "slow_buffer", parameter.detach().clone())
                if self.steps % 4 == 0:
                    slow.lerp_(parameter, 0.5)
                    parameter.copy_(slow)
        return loss


class LookaheadOptimizer(Lookahead, torch.optim.Optimizer):
    """Lightning asks for an Optimizer."""


@pytest.mark.parametrize("listed", [True, False])
def test_lookahead_brings_nothing_back(pl, tmp_path, recwarn, listed):
    weight, mask, optimizer = train(
        pl, tmp_path, lambda parameters: LookaheadOptimizer(torch.optim.Adam(parameters, 0.01), listed))
    slow = optimizer.slow_weights[0][0] if listed else optimizer.state[weight]["slow_buffer"]
    assert slow[mask == 0].eq(0).all() and slow[mask == 1].ne(0).any() and not said(recwarn)
    assert optimizer.optimizer.state[weight]["exp_avg"][mask == 0].eq(0).all()
