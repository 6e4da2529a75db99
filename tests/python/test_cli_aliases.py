"""Tied weights: what save_model of safetensors writes once, under every one of its names."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_model, save_model

import files
from tool import fails, report, run, winnow


class Tied(torch.nn.Module):
    """A head that is tied to the table, and a buffer that shows a part of a weight."""

    def __init__(self):
        super().__init__()
        self.emb = torch.nn.Embedding(16, 8)
        self.fc = torch.nn.Linear(8, 8, bias=False)
        self.lm_head = torch.nn.Linear(8, 16, bias=False)
        self.lm_head.weight = self.emb.weight
        self.fused = torch.nn.Parameter(torch.randn(24, 8))
        self.register_buffer("query", self.fused.data[:8])


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    save_model(Tied(), str(tmp_path / "tied.safetensors"))
    return tmp_path / "tied.safetensors"


def pruned(path, *flags):
    """The levels of the tensors that are pruned."""
    tensors = report("prune", path, "--dry-run", *flags)["tensors"]
    return {t["name"]: t["sparsity_level"] for t in tensors if t["pruned"]}


def test_the_file_is_as_these_tests_take_it(path):
    header, _ = files.parse(path.read_bytes())
    assert header.pop("__metadata__") == {"lm_head.weight": "emb.weight", "query": "fused"}
    assert set(header) == {"emb.weight", "fc.weight", "fused"}


def test_every_flag_with_patterns_takes_either_name(path):
    others = {"fc.weight": 0.5, "fused": 0.5}
    assert pruned(path, "--exclude", "*lm_head*") == others
    assert pruned(path, "--exclude", "emb*") == others
    assert pruned(path, "--exclude", "re:lm_head\\..*") == others
    assert pruned(path, "--include", "lm_head.weight") == {"emb.weight": 0.5}
    assert pruned(path, "--include", "query") == {"fused": 0.5}
    assert pruned(path, "--include", "emb.weight", "--include", "query",
                  "--exclude", "lm_head*") == {"fused": 0.5}
    assert pruned(path, "--level", "lm_head.weight=0.25") == {"emb.weight": 0.25, **others}
    assert pruned(path, "--include", "fc*", "--force", "lm_head.weight") == {
        "emb.weight": 0.5, "fc.weight": 0.5}


def test_an_excluded_head_keeps_its_values_and_the_model_loads(path, tmp_path):
    out = tmp_path / "out"
    run("prune", path, "-o", out, "--exclude", "lm_head*")
    before, after = Tied(), Tied()
    load_model(before, str(path))
    load_model(after, str(out))
    assert torch.equal(before.lm_head.weight, after.lm_head.weight)
    assert after.lm_head.weight is after.emb.weight
    assert (after.fc.weight == 0).sum() == 32
    totals = report("verify", out, "--against", path)["totals"]
    assert (totals["tensors"], totals["pruned_tensors"]) == (3, 2)
    run("verify", out, "--against", path, "--exclude", "lm_head*")
    assert "'emb.weight'" in fails(1, "verify", out, "--against", path, "-s", "0.5")


def test_reports_name_the_aliases(path):
    lines = run("prune", path, "--dry-run", "-v").stdout
    assert ("aliases  lm_head.weight is stored as emb.weight\n"
            "         query is stored as fused\n") in lines
    assert "stored as" not in run("prune", path, "--dry-run").stdout
    lines = run("inspect", path).stdout
    assert "alias     lm_head.weight is stored as emb.weight\n" in lines
    assert "metadata" not in lines
    for command in [("prune", path, "--dry-run"), ("inspect", path)]:
        names = {t["name"]: t.get("aliases") for t in report(*command)["tensors"]}
        assert names == {"emb.weight": ["lm_head.weight"], "fc.weight": None, "fused": ["query"]}


def test_a_pattern_that_matches_nothing_is_told_of_aliases(path):
    message = fails(2, "prune", path, "--dry-run", "--exclude", "lm_haed.weight")
    assert "among 3 tensors and 2 aliases, found none; nearest: 'lm_head.weight'" in message


def test_a_weight_that_is_also_a_known_buffer_is_left_alone(tmp_path):
    model = Tied()
    model.register_buffer("inv_freq", model.fc.weight.data)
    save_model(model, str(tmp_path / "in"))
    tensors = {t["name"]: t.get("reason") for t in report("prune", tmp_path / "in", "--dry-run")["tensors"]}
    assert tensors == {"emb.weight": None, "fc.weight": "positions", "fused": None}
    message = fails(2, "prune", tmp_path / "in", "--dry-run", "--include", "fc*")
    assert "('inv_freq', stored as 'fc.weight': a table of positions" in message


def test_a_hundred_thousand_hostile_entries_take_no_time(tmp_path):
    chain = {f"a{i}": f"a{i + 1}" for i in range(50_000)}  # all of them but the last are no aliases
    chain["a49999"] = "w"
    fan = {f"\x1b[31m{i}": "w" for i in range(50_000)}
    path = tmp_path / "in"
    path.write_bytes(files.image({"w": np.ones((4, 4), np.float32)}, chain | fan))
    names = report("prune", path, "--dry-run")["tensors"][0]["aliases"]
    assert len(names) == 50_001
    assert "\x1b" not in run("prune", path, "--dry-run", "-v").stdout
    assert "\x1b" not in run("inspect", path).stdout
    assert winnow("prune", path, "--dry-run", "--include", "a0").returncode != 0
    assert pruned(path, "--include", "a49999") == {"w": 0.5}
