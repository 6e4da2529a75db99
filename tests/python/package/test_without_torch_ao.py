"""The package where torch has no torch.ao.pruning, and how the two are related where it has."""

import subprocess
import sys
import warnings

import pytest

from sparsifiers import FirstRow, counting
from torchwinnow.data_sparsifier import DataNormSparsifier

BLOCKED = """
import importlib.abc, sys, warnings
import torch

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("torch.ao.pruning", "torch.ao.sparsity")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in [name for name in sys.modules if name.startswith(("torch.ao.pruning", "torch.ao.sparsity"))]:
    del sys.modules[name]
sys.meta_path.insert(0, Blocker())

from torch import nn
from torchwinnow.data_scheduler import CubicDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier
from torchwinnow.data_sparsifier.quantization_utils import post_training_sparse_quantize

model = nn.Sequential(nn.Embedding(8, 8), nn.EmbeddingBag(8, 8))
sparsifier = DataNormSparsifier([("a", model[0])], sparsity_level=0.5)
scheduler = CubicDataScheduler(sparsifier, end_step=1)
for _ in range(2):
    sparsifier.step()
    scheduler.step()
other = DataNormSparsifier()
other.load_state_dict(sparsifier.state_dict())
sparsifier.squash_mask()
assert model[0].weight.eq(0).sum() == 32
warnings.simplefilter("ignore")
post_training_sparse_quantize(model, DataNormSparsifier, sparsity_level=0.5)
assert not any(name.startswith("torch.ao.pruning") for name in sys.modules)
print("done")
"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_everything_works_without_it():
    done = run(BLOCKED)
    assert done.stdout == "done\n", done.stderr


def test_isinstance_holds_where_torch_has_it():
    upstream = pytest.importorskip("torch.ao.pruning._experimental.data_sparsifier")
    base = pytest.importorskip("torch.ao.pruning").BaseSparsifier
    for sparsifier in (DataNormSparsifier(), FirstRow([("x", counting(2, 2))])):
        assert isinstance(sparsifier, upstream.BaseDataSparsifier) and isinstance(sparsifier, base)
        assert not hasattr(sparsifier, "make_config_from_model")
    assert not isinstance(DataNormSparsifier(), upstream.DataNormSparsifier)


def test_an_import_leaves_the_warning_filters_alone():
    code = ("import warnings, torch; before = list(warnings.filters); import torchwinnow.data_sparsifier;"
            "print(warnings.filters == before)")
    done = run(code)
    assert done.stdout == "True\n", done.stderr
    assert isinstance(warnings.filters, list)
