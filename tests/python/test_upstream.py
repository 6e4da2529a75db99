"""The tool against torch.ao's DataNormSparsifier on random matrices without ties.

Ties are the one thing upstream leaves open (its sort is not stable), so the values of a matrix are
distinct and those of its blocks' scores are checked to be; everything else must agree bit for bit.
"""
import os
import random
import warnings

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch.ao.pruning._experimental.data_sparsifier import DataNormSparsifier

from tool import winnow

torch.set_num_threads(1)

RUNS = int(os.environ.get("WINNOW_UPSTREAM_RUNS", "500"))
SEED = int(os.environ.get("WINNOW_SEED", "20260101"))
FILES = 20  # runs are spread over so many tests, each with its own seed


def random_case(rng):
    block = (rng.choice([1, 1, 1, 2, 3, 4, 8, 16]), rng.choice([1, 1, 2, 4, 4, 8, 5]))
    size = block[0] * block[1]
    return {"shape": (rng.randint(2, 70), rng.randint(2, 90)), "block": block,
            "level": rng.choice([0.1, 0.25, 0.5, 0.8, 0.9, 0.97, 1.0]),
            "zeros": size if rng.random() < 0.5 else rng.randint(0, size),
            "norm": rng.choice(["L1", "L2"]), "dtype": rng.choice([np.float32, np.float64])}


def scores_are_distinct(values, case):
    """True where no two blocks have one score, nor two values of a matrix one magnitude."""
    scores = np.abs(values) if case["norm"] == "L1" else values * values
    starts = [np.arange(0, side, step) for side, step in zip(values.shape, case["block"])]
    sums = scores.astype(np.float64)
    sizes = np.ones_like(sums)
    for axis, start in enumerate(starts):
        sums = np.add.reduceat(sums, start, axis)
        sizes = np.add.reduceat(sizes, start, axis)
    means = (sums / sizes).astype(values.dtype)
    gaps = np.diff(np.sort(means, axis=None).astype(np.float64))
    # The order of additions moves a mean by a few units in the last place.
    margin = np.finfo(values.dtype).eps * 64 * np.max(means)
    return gaps.size == 0 or (gaps.min() > margin and np.unique(scores).size == scores.size)


def distinct_values(case, generator):
    for _ in range(100):
        values = generator.standard_normal(case["shape"]).astype(case["dtype"])
        if scores_are_distinct(values, case):
            return values
    return None


def upstream_mask(values, case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparsifier = DataNormSparsifier(
            data_list=[("x", torch.from_numpy(values))], sparsity_level=case["level"],
            sparse_block_shape=case["block"], zeros_per_block=case["zeros"], norm=case["norm"])
        sparsifier.step()
    return sparsifier.get_mask("x").numpy().reshape(values.shape)


@pytest.mark.parametrize("part", range(FILES))
def test_masks_equal_upstreams_where_there_are_no_ties(part, tmp_path):
    seed = SEED + part
    print(f"seed {seed}")
    rng, generator = random.Random(seed), np.random.default_rng(seed)
    compared = 0
    while compared < RUNS // FILES:
        case = random_case(rng)
        values = distinct_values(case, generator)
        if values is None:
            continue  # too many blocks for that type to keep apart
        source, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
        save_file({"x": values}, source)
        block = f"{case['block'][0]}x{case['block'][1]}"
        done = winnow("prune", source, "-o", out, "-s", case["level"], "--block", block,
                      "--zeros-per-block", case["zeros"], "--norm", case["norm"].lower(),
                      "--overwrite", "-q")
        assert done.returncode == 0, done.stderr
        expected = np.where(upstream_mask(values, case) == 0, 0, values)
        got = load_file(out)["x"]
        assert np.array_equal(got, expected), f"seed {seed}, run {compared}: {case}"
        compared += 1
