"""hold_masks: zeros that last while an optimizer trains, in a loop of one's own."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

import torchwinnow
from torchwinnow import DataNormSparsifier, hold_masks


def make(optimizer=torch.optim.AdamW, **options):
    """A model, its optimizer and a sparsifier that drops 90 % of the table."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(64, 16), nn.Linear(16, 1))
    sparsifier = DataNormSparsifier(sparsity_level=0.9, sparse_block_shape=(1, 1))
    sparsifier.add_data("table", model[0])
    return model, optimizer(model.parameters(), 0.01, **options), sparsifier


def train(model, optimizer, steps=5, seen=None):
    for _ in range(steps):
        if seen is not None:
            seen.append(zeros(model[0].weight))
        loss = (model(torch.arange(64)) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def zeros(tensor):
    return round(tensor.eq(0).float().mean().item(), 2)


@pytest.mark.parametrize("squash_first", [True, False])
def test_zeros_last_through_every_step_and_momenta_have_them_too(squash_first):
    model, optimizer, sparsifier = make()
    train(model, optimizer)
    sparsifier.step()
    if squash_first:
        sparsifier.squash_mask()
    seen = []
    with hold_masks(sparsifier, optimizer):
        assert zeros(model[0].weight) == zeros(optimizer.state[model[0].weight]["exp_avg"]) == 0.9
        train(model, optimizer, seen=seen)
    assert seen == [0.9] * 5 and zeros(model[0].weight) == 0.9
    assert zeros(optimizer.state[model[0].weight]["exp_avg"]) == 0.9
    assert zeros(optimizer.state[model[0].weight]["exp_avg_sq"]) < 0.9
    train(model, optimizer, 1)
    assert zeros(model[0].weight) < 0.9  # the hook is gone


def test_kept_values_train_as_they_would_in_a_loop_that_masks_by_hand():
    (model, optimizer, sparsifier), (twin, plain, other) = make(torch.optim.SGD, momentum=0.9), make(torch.optim.SGD, momentum=0.9)
    sparsifier.step(), other.step()
    with hold_masks(sparsifier, [optimizer]):
        train(model, optimizer)
    mask = other.get_mask("table")
    torchwinnow.apply_mask_(twin[0].weight, mask)
    for _ in range(5):
        train(twin, plain, 1)
        torchwinnow.apply_mask_(twin[0].weight, mask)
        torchwinnow.apply_mask_(plain.state[twin[0].weight]["momentum_buffer"], mask)
    for one, two in zip(model.parameters(), twin.parameters()):
        assert torch.equal(one, two)


def test_masks_that_are_made_later_hold_from_the_next_step_on():
    model, optimizer, sparsifier = make()
    hold = hold_masks(sparsifier, optimizer)
    train(model, optimizer, 2)
    assert zeros(model[0].weight) == 0 and 0 in sparsifier.state["table"]["mask"].stride()  # nobody made it
    for level in (0.5, 0.75):
        sparsifier.data_groups["table"]["sparsity_level"] = level
        sparsifier.step()
        train(model, optimizer, 1)
        assert zeros(model[0].weight) == level
    sparsifier.data_groups["table"]["sparsity_level"] = 1.0
    sparsifier.step()
    hold.apply()
    assert zeros(model[0].weight) == 1


def test_names_may_come_and_go():
    model, optimizer, sparsifier = make()
    with hold_masks(sparsifier, optimizer):
        sparsifier.add_data("out", model[1].weight)
        sparsifier.step()
        sparsifier.remove_data("table")
        train(model, optimizer)
        assert zeros(model[1].weight) == 0.88 and zeros(model[0].weight) == 0


def test_each_of_several_optimizers_masks_what_it_steps():
    model, _, sparsifier = make()
    sparsifier.add_data("out", model[1].weight)
    sparsifier.step()
    first, second = (torch.optim.SGD(part.parameters(), 0.1) for part in model)
    with hold_masks(sparsifier, (first, second)):
        model(torch.arange(64)).sum().backward()
        model[1].weight.data.fill_(1)
        first.step()
        assert zeros(model[0].weight) == 0.9 and zeros(model[1].weight) == 0  # not its own
        second.step()
        assert zeros(model[1].weight) == 0.88


class Accelerated(torch.optim.Optimizer):
    """As accelerate's: it wraps an optimizer, and does not call the base class's __init__."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    state = property(lambda self: self.optimizer.state)
    param_groups = property(lambda self: self.optimizer.param_groups)

    def step(self, closure=None):
        self.optimizer.step(closure)

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none)


class HoldMasks:
    """Of the guide: a TrainerCallback of transformers."""

    def __init__(self, sparsifier):
        self.sparsifier = sparsifier

    def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
        self.hold = hold_masks(self.sparsifier, optimizer)

    def on_train_end(self, args, state, control, **kwargs):
        self.hold.remove()


def test_a_callback_of_another_trainer_holds_masks():
    model, optimizer, sparsifier = make()
    sparsifier.step()
    callback, wrapped, seen = HoldMasks(sparsifier), Accelerated(optimizer), []
    callback.on_train_begin(None, None, None, model=model, optimizer=wrapped, lr_scheduler=None)
    train(model, wrapped, seen=seen)
    callback.on_train_end(None, None, None, model=model, optimizer=wrapped)
    assert seen == [0.9] * 5 and not optimizer._optimizer_step_post_hooks
    assert zeros(optimizer.state[model[0].weight]["exp_avg"]) == 0.9


class Lookahead(torch.optim.Optimizer):
    """It mixes slow weights in after the inner optimizer's step."""

    def __init__(self, inner):
        super().__init__([p for group in inner.param_groups for p in group["params"]], {})
        self.inner = inner
        self.slow = {p: p.detach().clone() for group in inner.param_groups for p in group["params"]}

    @torch.no_grad()
    def step(self, closure=None):
        self.inner.step(closure)
        for parameter, slow in self.slow.items():
            parameter.copy_(slow.lerp_(parameter, 0.5))


def test_what_an_outer_optimizer_does_after_the_inner_one_is_masked_too():
    model, optimizer, sparsifier = make()
    outer = Lookahead(optimizer)
    sparsifier.step()
    with hold_masks(sparsifier, outer):
        train(model, outer)
        assert zeros(model[0].weight) == 0.9


def test_hooks_are_not_copied_or_saved_with_an_optimizer():
    model, optimizer, sparsifier = make()
    sparsifier.step()
    hold = hold_masks(sparsifier, optimizer)
    assert not copy.deepcopy(optimizer)._optimizer_step_post_hooks
    hold.remove()
    hold.remove()
    assert not optimizer._optimizer_step_post_hooks


def test_what_cannot_be_held_is_refused_and_leaves_no_hook():
    model, optimizer, sparsifier = make()
    sparsifier.step()
    stranger = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1)
    with pytest.raises(ValueError, match=r"train none of the sparsifier's data \['table'\]"):
        hold_masks(sparsifier, stranger)
    with pytest.raises(TypeError, match="expected optimizers of torch.optim, found Sequential"):
        hold_masks(sparsifier, [optimizer, model])
    with pytest.raises(TypeError, match="expected a BaseDataSparsifier of torchwinnow, found dict"):
        hold_masks({}, optimizer)

    class Bare:
        param_groups = optimizer.param_groups

    with pytest.raises(TypeError, match=r"\['Bare'\] have no hooks for their steps"):
        hold_masks(sparsifier, Bare())
    assert not optimizer._optimizer_step_post_hooks and zeros(model[0].weight) == 0


def test_no_lightning_is_imported_for_it():
    code = "import sys; from torchwinnow import hold_masks; sys.exit('lightning' in sys.modules or 'pytorch_lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("squash", [True, False])
def test_pruning_keeps_the_order_of_parameters_which_averages_and_states_pair_by(squash):
    """torch.nn.utils.prune moves a parameter behind its neighbours."""
    def gru():
        torch.manual_seed(0)
        return nn.GRU(8, 8, bias=False)

    model = gru()
    optimizer = torch.optim.AdamW(model.named_parameters(), 0.01)
    average = torch.optim.swa_utils.AveragedModel(model)
    names, objects = list(dict(model.named_parameters())), list(model.parameters())
    sparsifier = DataNormSparsifier(sparsity_level=0.5, sparse_block_shape=(1, 1))
    for name in names[:1]:
        sparsifier.add_data(name, model.get_parameter(name))
    sparsifier.step()
    with hold_masks(sparsifier, optimizer):
        model(torch.randn(4, 2, 8))[0].square().mean().backward()
        optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    if squash:
        sparsifier.squash_mask()
    else:
        sparsifier.remove_data(names[0])
    assert list(dict(model.named_parameters())) == names == list(model.state_dict())
    assert all(one is other for one, other in zip(model.parameters(), objects))
    average.update_parameters(model)  # the first update copies
    for one, other in zip(average.module.parameters(), model.parameters()):
        assert torch.equal(one, other)
    new = gru()
    new.load_state_dict(model.state_dict())
    again = torch.optim.AdamW(new.named_parameters(), 0.01)
    again.load_state_dict(saved)
    for name in names:
        one, other = (each.state[owner.get_parameter(name)]["exp_avg"] for each, owner in ((optimizer, model), (again, new)))
        assert torch.equal(one, other)


def test_data_that_no_optimizer_trains_are_named():
    _, optimizer, sparsifier = make()
    sparsifier.add_data("other", torch.randn(4, 4))
    with pytest.warns(UserWarning, match=r"train none of \['other'\]"):
        hold_masks(sparsifier, optimizer).remove()
