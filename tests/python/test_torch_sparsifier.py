"""The C++ DataNormSparsifier against torch.ao's on random sequences of calls.

Masks, reads, the order of names and the text form must be equal. Values are distinct multiples of a
power of two, so that block means are exact in any order of additions and ties are rare; a script in
which upstream meets a tie is taken out, because its sort leaves their order open.
"""
import json
import os
import random
import subprocess
import warnings

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.ao.pruning._experimental.data_scheduler import BaseDataScheduler
from torch.ao.pruning._experimental.data_sparsifier import DataNormSparsifier

from tool import BUILD

PROGRAM = BUILD / "tests" / "torch" / "sparsifier_script"
SCRIPTS = int(os.environ.get("WINNOW_SCRIPTS", "300"))
SEED = int(os.environ.get("WINNOW_SEED", "20260102"))


class StepSchedule(BaseDataScheduler):
    """base * gamma ** epoch, as our StepDataScheduler with a step size of 1."""

    def __init__(self, sparsifier, gamma):
        self.gamma = gamma
        super().__init__(sparsifier, "sparsity_level")

    def get_schedule_param(self):
        return {name: base * self.gamma ** self.last_epoch for name, base in self.base_param.items()}


def random_block(rng):
    block = (rng.choice([1, 1, 2, 3, 4]), rng.choice([1, 2, 4, 4, 5]))
    return block, rng.choice([block[0] * block[1], rng.randint(0, block[0] * block[1])])


def random_config(rng):
    config = {}
    if rng.random() < 0.5:
        config["sparsity_level"] = rng.choice([0.1, 0.3, 0.6, 0.75, 1.0, 1.5])
    if rng.random() < 0.3:
        config["sparse_block_shape"], config["zeros_per_block"] = random_block(rng)
    return config


class Writer:
    """Makes one script; `shapes` are those of the names that are masked or squashed now."""

    def __init__(self, rng, index, tensors):
        self.rng, self.index, self.tensors = rng, index, tensors
        self.shapes, self.squashed, self.scheduled, self.calls = {}, set(), False, []

    def tensor(self, shape):
        generator = torch.Generator().manual_seed(self.rng.getrandbits(32))
        count = shape[0] * shape[1]
        magnitudes = torch.randperm(8 * count, generator=generator)[:count] + 1
        signs = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
        key = f"{self.index}.{len(self.tensors)}"
        self.tensors[key] = (magnitudes * signs / 64).to(torch.float32).reshape(shape)
        return key

    def add(self, name):
        reuse = name in self.shapes and self.rng.random() < 0.6
        shape = self.shapes[name] if reuse else (self.rng.randint(1, 24), self.rng.randint(2, 24))
        if shape[0] == 1:
            shape = (2, shape[1])  # upstream cannot read masks of squeezed shapes
        self.shapes[name] = shape
        self.calls.append({"call": "add", "name": name, "tensor": self.tensor(shape),
                           "config": random_config(self.rng), "reuse_mask": reuse,
                           "parameter": self.rng.random() < 0.4})

    def write(self):
        block, zeros = random_block(self.rng)
        options = {"sparsity_level": self.rng.choice([0.25, 0.5, 0.8]), "block": block,
                   "zeros_per_block": zeros, "norm": self.rng.choice(["L1", "L2"])}
        self.add("first")
        for _ in range(self.rng.randint(2, 9)):
            self.one_call()
        return {"options": options, "calls": self.calls}

    def one_call(self):
        kind = self.rng.choice(["add", "add", "step", "step", "squash", "reload", "schedule"])
        if kind == "add":
            name = self.rng.choice(["first", "second", "x_3", "0"])
            if name not in self.squashed:  # upstream cannot replace these
                self.add(name)
        elif kind == "step" and not self.squashed:
            self.calls.append({"call": "step"})
            if self.scheduled:
                self.calls.append({"call": "schedule_step"})
        elif kind == "squash" and self.rng.random() < 0.4:
            names = [n for n in self.shapes if n not in self.squashed and self.rng.random() < 0.6]
            self.squashed |= set(names)
            self.calls.append({"call": "squash", "names": names, "leave": self.rng.random() < 0.7})
        elif kind == "reload":
            self.calls.append({"call": "reload"})
            self.scheduled = False
        elif kind == "schedule" and not self.scheduled:
            self.calls.append({"call": "schedule", "gamma": self.rng.choice([0.5, 0.9, 1.2])})
            self.scheduled = True


class Upstream:
    def __init__(self, script, tensors):
        self.options, self.tensors = script["options"], tensors
        self.tied = False
        self.fresh()
        for call in script["calls"]:
            getattr(self, call["call"])(call)

    def fresh(self):
        options = self.options
        self.sparsifier = DataNormSparsifier(
            sparsity_level=options["sparsity_level"], sparse_block_shape=tuple(options["block"]),
            zeros_per_block=options["zeros_per_block"], norm=options["norm"])

    def add(self, call):
        tensor = self.tensors[call["tensor"]].clone()
        self.sparsifier.add_data(call["name"], nn.Parameter(tensor) if call["parameter"] else tensor,
                                 reuse_mask=call["reuse_mask"], **call["config"])

    def step(self, _):
        for name, group in self.sparsifier.data_groups.items():
            self.tied |= has_ties(self.sparsifier.get_data(name).detach(), group, self.sparsifier.norm)
        self.sparsifier.step()

    def squash(self, call):
        self.sparsifier.squash_mask(names=call["names"], leave_parametrized=call["leave"])

    def reload(self, _):
        state = self.sparsifier.state_dict()
        self.fresh()
        self.sparsifier.load_state_dict(state)

    def schedule(self, call):
        self.scheduler = StepSchedule(self.sparsifier, call["gamma"])

    def schedule_step(self, _):
        self.scheduler.step()


def has_ties(values, group, norm):
    """Whether two blocks have one mean, or two values of the tensor one magnitude."""
    scores = (values.abs() if norm == "L1" else values * values).to(torch.float64)
    rows, cols = group["sparse_block_shape"]
    means = torch.stack([part.mean() for band in scores.split(rows) for part in band.split(cols, 1)])
    gaps = means.sort().values.diff()
    # Upstream pads and divides in float32, so that two means may meet that differ by some rounding.
    return scores.unique().numel() < scores.numel() or bool((gaps < 1e-5 * means.max()).any())


def normal_text(text):
    """Lists and tuples print alike: what was a tuple comes back from a script as a list."""
    return text.replace("[", "(").replace("]", ")")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    print(f"seed {SEED}")
    rng, tensors = random.Random(SEED), {}
    scripts = [Writer(rng, i, tensors).write() for i in range(SCRIPTS)]
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "scripts.json").write_text(json.dumps(scripts))
    save_file(tensors, folder / "tensors.safetensors")
    out = folder / "out.safetensors"
    done = subprocess.run([PROGRAM, folder / "scripts.json", folder / "tensors.safetensors", out],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with safe_open(out, "pt") as file:
        got = {key: file.get_tensor(key) for key in file.keys()}
        metadata = {key: json.loads(value) for key, value in file.metadata().items()}
    return scripts, tensors, got, metadata


def test_sequences_of_calls_end_as_upstreams(results):
    scripts, tensors, got, metadata = results
    compared = 0
    for i, script in enumerate(scripts):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            upstream = Upstream(script, tensors)
        if upstream.tied:
            continue
        sparsifier = upstream.sparsifier
        assert metadata["names"][i] == list(sparsifier.data_groups), script
        assert normal_text(metadata["texts"][i]) == normal_text(repr(sparsifier)), script
        for name in sparsifier.data_groups:
            mask = sparsifier.get_mask(name)
            # Before its first step a mask of upstream's has the data's dtype, ours one byte a value.
            assert got[f"{i}/mask/{name}"].dtype == torch.int8, (name, script)
            assert mask.dtype == torch.int8 or bool(mask.eq(1).all()), (name, script)
            assert torch.equal(got[f"{i}/mask/{name}"], mask), (name, script)
            read = sparsifier.get_data(name, return_original=False).detach()
            assert torch.equal(got[f"{i}/read/{name}"], read), (name, script)
        compared += 1
    print(f"{compared} of {SCRIPTS} scripts compared")
    assert compared > SCRIPTS / 3, "too many scripts have ties"
