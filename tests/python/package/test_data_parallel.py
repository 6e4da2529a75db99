"""Sparsified parameters keep what hangs at them: DDP's hooks, optimizers in the backward pass."""

import copy
import os
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from sparsifiers import Doubled, FirstRow
from torchwinnow.data_sparsifier import DataNormSparsifier

REPLACING = "ignore:Replacing existing data"
MODES = {
    "plain": {},
    "find_unused_parameters": {"find_unused_parameters": True},
    "static_graph": {"static_graph": True},
    "gradient_as_bucket_view": {"gradient_as_bucket_view": True},
    "a comm hook of bf16": {},
    "a hook after accumulation": {},
    "ZeroRedundancyOptimizer": {},
}


def compressed(state, bucket):
    """torch's hook under another name: DDP refuses that one where there is no GPU."""
    return default_hooks.bf16_compress_hook(state, bucket)


def optimizer_of(mode, ddp):
    if mode == "ZeroRedundancyOptimizer":
        from torch.distributed.optim import ZeroRedundancyOptimizer  # two seconds, and warnings

        return ZeroRedundancyOptimizer(ddp.parameters(), torch.optim.SGD, lr=0.05, momentum=0.9)
    return torch.optim.SGD(ddp.parameters(), 0.05, momentum=0.9)


class Training:
    """A model under DDP, whose ranks see different batches."""

    def __init__(self, mode, rank):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Embedding(16, 8), nn.Linear(8, 1))
        self.ddp = DistributedDataParallel(self.model, **MODES[mode])
        if mode == "a comm hook of bf16":
            self.ddp.register_comm_hook(None, compressed)
        self.accumulated = []
        if mode == "a hook after accumulation":
            for parameter in self.model.parameters():
                parameter.register_post_accumulate_grad_hook(self.accumulated.append)
        self.optimizer = optimizer_of(mode, self.ddp)
        self.generator = torch.Generator().manual_seed(rank)

    def train(self, batches):
        for _ in range(batches):
            self.optimizer.zero_grad()
            batch = torch.randint(16, (8,), generator=self.generator)
            self.ddp(batch).square().mean().backward()
            self.optimizer.step()


def sparsify(training):
    """All that is done to parameters, with batches between; returns the masks."""
    model, sparsifier = training.model, DataNormSparsifier(sparsity_level=0.5)
    sparsifier.add_data("table", model[0])
    sparsifier.add_data("head", model[1].weight)
    training.train(2)
    sparsifier.step()
    sparsifier.add_data("table", model[0])
    training.train(2)
    sparsifier.load_state_dict(sparsifier.state_dict())
    training.train(1)
    sparsifier.add_data("table", model[0])
    sparsifier.add_data("head", model[1].weight)
    sparsifier.add_data("bias", model[1].bias)
    sparsifier.step()
    masks = [sparsifier.get_mask(name).clone() for name in sparsifier.state]
    sparsifier.remove_data("bias")
    training.train(1)
    sparsifier.squash_mask(names="table")
    sparsifier.squash_mask(names="head", leave_parametrized=False)
    training.train(2)
    return masks


def run_modes(rank, folder):
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    for mode in MODES:
        training = Training(mode, rank)
        before = [each.detach().clone() for each in training.model.parameters()]
        masks = sparsify(training)
        after = [each.detach() for each in training.model.parameters()]
        assert not any(torch.equal(*pair) for pair in zip(before, after)), f"{mode}: no training"
        for tensor in (*masks, *after):
            both = [torch.empty_like(tensor) for _ in range(2)]
            dist.all_gather(both, tensor.contiguous())
            assert torch.equal(*both), f"{mode}: replicas differ"
        assert mode != "a hook after accumulation" or len(training.accumulated) == 8 * 3
    dist.barrier()
    dist.destroy_process_group()


def test_replicas_stay_equal_in_every_mode_of_ddp(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP's hint on find_unused_parameters
    mp.spawn(run_modes, (os.fspath(tmp_path),), nprocs=2)


def accumulator(weight):
    return weight.view_as(weight).grad_fn.next_functions[0][0]


@pytest.mark.filterwarnings(REPLACING)
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("config", [{}, {"parametrization": Doubled}], ids=["mask", "own"])
def test_parameters_keep_identity_storage_and_hooks(config, swap, monkeypatch):
    monkeypatch.setattr(torch.__future__, "_swap_module_params_on_conversion", swap)
    weight = nn.Parameter(torch.randn(4, 4))
    calls, node, place = [], accumulator(weight), weight.data_ptr()
    node.register_prehook(lambda _: calls.append("accumulator"))
    weight.register_hook(lambda _: calls.append("tensor"))
    weight.register_post_accumulate_grad_hook(lambda _: calls.append("accumulated"))

    def check():
        calls.clear()
        (weight * 2).sum().backward()
        assert calls == ["tensor", "accumulator", "accumulated"]
        assert accumulator(weight) is node and weight.data_ptr() == place

    sparsifier = FirstRow()
    for call in (
        lambda: sparsifier.add_data("x", weight, **config),
        sparsifier.step,
        lambda: sparsifier.add_data("x", weight),
        lambda: sparsifier.add_data("x", weight, reuse_mask=False, mask=torch.ones(4, 4)),
        lambda: sparsifier.squash_mask(leave_parametrized=False),
        lambda: sparsifier.add_data("x", weight),
        lambda: sparsifier.remove_data("x"),
        lambda: sparsifier.add_data("x", weight, **config),
        sparsifier.state_dict,
        lambda: copy.deepcopy(sparsifier),
        sparsifier.squash_mask,
        lambda: sparsifier.load_state_dict(sparsifier.state_dict()),
        lambda: sparsifier.add_data("x", torch.ones(4, 4)),
    ):
        call()
        check()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_optimizer_in_the_backward_pass_goes_on():
    from torch.distributed.optim import _apply_optimizer_in_backward

    weights = []
    for in_backward in (True, False):
        torch.manual_seed(0)
        table = nn.Embedding(8, 4)
        optimizer = None if in_backward else torch.optim.SGD(table.parameters(), 0.1)
        if in_backward:
            _apply_optimizer_in_backward(torch.optim.SGD, table.parameters(), {"lr": 0.1})
        sparsifier = DataNormSparsifier([("table", table)])
        for call in (sparsifier.step, sparsifier.squash_mask, lambda: None):
            table(torch.arange(8)).square().sum().backward()
            if optimizer is not None:
                optimizer.step()
                optimizer.zero_grad()
            call()
        weights.append(table.weight.detach())
    assert torch.equal(*weights) and weights[0].eq(0).sum() == 16


class Signed(nn.Module):
    """A parametrization with an inverse, which parametrize applies to the data at first."""

    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        return -x * self.mask

    def right_inverse(self, x):
        return -x


def test_an_inverse_is_written_into_the_data_once():
    weight = nn.Parameter(torch.ones(2, 2))
    node, place = accumulator(weight), weight.data_ptr()
    sparsifier = FirstRow()
    read = sparsifier.add_data("x", weight, parametrization=Signed)
    assert weight.eq(-1).all() and read.eq(1).all()
    loaded = FirstRow()
    loaded.load_state_dict(sparsifier.state_dict())
    assert loaded.get_data("x").eq(-1).all() and copy.deepcopy(loaded).get_data("x").eq(-1).all()
    sparsifier.step()
    sparsifier.squash_mask()
    assert weight.tolist() == [[0, 0], [1, 1]]
    assert accumulator(weight) is node and weight.data_ptr() == place


@pytest.mark.filterwarnings(REPLACING)
def test_an_inverse_that_cannot_be_written_leaves_the_old_data():
    weight, sparsifier = torch.ones(2, 2), FirstRow()
    sparsifier.add_data("x", weight, parametrization=Signed)
    with pytest.raises(RuntimeError, match="single memory location"):
        sparsifier.add_data("x", torch.ones(1, 2).expand(2, 2))
    assert sparsifier.get_data("x") is weight and weight.eq(-1).all()


class InTwo(Signed):
    def forward(self, x, y):
        return x + y

    def right_inverse(self, x):
        return x, x


class Longer(Signed):
    def forward(self, x):
        return x[:-1]

    def right_inverse(self, x):
        return torch.cat([x, x[:1]])


@pytest.mark.parametrize("make", [InTwo, Longer])
def test_an_inverse_that_cannot_be_written_into_the_data_is_refused(make):
    weight, sparsifier = torch.ones(2, 2), FirstRow()
    with pytest.raises(ValueError, match=f"right_inverse of {make.__name__} has to give one tensor"):
        sparsifier.add_data("x", weight, parametrization=make)
    assert not sparsifier.state and weight.eq(1).all()
