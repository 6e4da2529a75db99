"""The C++ post_training_sparse_quantize, under upstream's policy for zeros, against torch.ao's.

Scales, zero points, codes and lookups must be equal bit for bit, in both orders. Tables in whose
pruning upstream meets a tie are left out, because its sort leaves their order open; where values are
quantized first they often do, so there are many small ones.
"""
import json
import os
import random
import subprocess
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.ao.pruning._experimental.data_sparsifier import DataNormSparsifier
from torch.ao.pruning._experimental.data_sparsifier.quantization_utils import (
    post_training_sparse_quantize)

from test_torch_sparsifier import has_ties
from tool import BUILD

PROGRAM = BUILD / "tests" / "torch" / "quantization_script"
CASES = int(os.environ.get("WINNOW_QUANTIZATIONS", "120"))
SEED = int(os.environ.get("WINNOW_SEED", "20260203"))


def random_table(rng, rows, cols):
    """Distinct magnitudes; rows around 0, above it, below it or with few distinct values."""
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    count = rows * cols
    table = (torch.randperm(8 * count, generator=generator)[:count] + 1).to(torch.float32) / 64
    signs = torch.randint(0, 2, (rows, cols), generator=generator) * 2 - 1
    one_sided = torch.randint(0, 3, (rows, 1), generator=generator)
    signs = torch.where(one_sided == 0, signs, torch.where(one_sided == 1, 1, -1))
    scales = 2.0 ** torch.randint(-3, 4, (rows, 1), generator=generator)
    return table.reshape(rows, cols) * signs * scales * (1 + torch.rand((), generator=generator))


def random_case(rng, index):
    first = rng.random() < 0.5
    if first:
        rows, cols = rng.randint(2, 40), rng.randint(2, 40)
    else:
        rows, cols = rng.randint(2, 5), rng.randint(2, 5)
    block = (rng.choice([1, 1, 2]), rng.choice([1, 1, 2, 4]))
    case = {"name": str(index), "kind": rng.choice(["embedding", "bag"]), "block": block,
            "level": rng.choice([0.0, 0.25, 0.5, 0.8, 1.0]), "sparsify_first": first}
    return case, random_table(rng, rows, cols)


def edge_cases():
    """Without pruning, so that ties do not matter: what rows can be."""
    nan, inf = float("nan"), float("inf")
    rows = [[1, 2, 3, 4], [-1, -2, -3, -4], [0, 0, 0, 0], [2, 2, 2, 2], [0.5, 1.5, 2.5, 254.5],
            [1e-8, 2e-8, 0, 0], [1e-40, 3e-40, 0, 1], [3e38, -3e38, 0, 1], [nan, 1, 2, 3],
            [inf, 1, 2, 3], [-inf, 1, 2, 3], [-0.0, 0.0, 1, 2], [1e30, 1, 1e-30, -1e30]]
    for i, first in enumerate([True, False]):
        yield ({"name": f"edge{i}", "kind": "embedding", "block": (1, 1), "level": 0.0,
                "sparsify_first": first}, torch.tensor(rows))


class WatchingSparsifier(DataNormSparsifier):
    """Notes whether a tie decided a mask."""
    tied = False

    def update_mask(self, name, data, sparsity_level, **group):
        if 0 < sparsity_level < 1:
            WatchingSparsifier.tied |= has_ties(data.detach(), group, self.norm)
        super().update_mask(name, data, sparsity_level=sparsity_level, **group)


def upstream(case, table):
    """The quantized module, or none where a tie decided."""
    module = (nn.Embedding.from_pretrained(table.clone()) if case["kind"] == "embedding"
              else nn.EmbeddingBag.from_pretrained(table.clone(), mode="sum"))
    model = nn.Sequential(module)
    WatchingSparsifier.tied = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        post_training_sparse_quantize(
            model, WatchingSparsifier, sparsify_first=case["sparsify_first"],
            sparsity_level=case["level"], sparse_block_shape=tuple(case["block"]),
            zeros_per_block=case["block"][0] * case["block"][1])
    return None if WatchingSparsifier.tied else model[0]


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(
        a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def equal(a, b):
    return torch.equal(torch.nan_to_num(a, nan=7.0), torch.nan_to_num(b, nan=7.0))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    cases = [random_case(rng, i) for i in range(CASES)] + list(edge_cases())
    folder = tmp_path_factory.mktemp("tables")
    (folder / "cases.json").write_text(json.dumps([case for case, _ in cases]))
    save_file({case["name"]: table for case, table in cases}, folder / "tables.safetensors")
    out = folder / "out.safetensors"
    done = subprocess.run([PROGRAM, folder / "cases.json", folder / "tables.safetensors", out],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a warning reached the user"
    return cases, load_file(out)


def test_quantized_tables_are_upstreams(results):
    cases, got = results
    compared = {True: 0, False: 0}
    for case, table in cases:
        module = upstream(case, table)
        if module is None:
            continue
        name = case["name"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weight = module.weight()
            indices = torch.arange(len(table))
            rows = module(indices) if case["kind"] == "embedding" else module(indices, indices)
        assert torch.equal(got[f"{name}/codes"], weight.int_repr()), case
        scales = weight.q_per_channel_scales().to(torch.float32)
        zero_points = weight.q_per_channel_zero_points().to(torch.float32)
        assert same_bits(got[f"{name}/scales"], scales), case
        assert equal(got[f"{name}/zero_points"], zero_points), case
        assert equal(got[f"{name}/rows"], rows), case
        compared[case["sparsify_first"]] += 1
    print(f"{compared} of {len(cases)} compared")
    assert min(compared.values()) > CASES / 8, "too many tables have ties"
