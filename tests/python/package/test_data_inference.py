"""Sparsifiers in inference mode, and weights that were made in it."""

import copy
import io

import pytest
import torch
from torch import nn

from sparsifiers import Doubled, FirstRow
from torchwinnow.data_sparsifier import DataNormSparsifier
from torchwinnow.data_sparsifier.quantization_utils import post_training_sparse_quantize

MODES = [(make, use) for make in (False, True) for use in (False, True)]
CLASSES = [DataNormSparsifier, FirstRow]


def make_data():
    return {"tensor": torch.randn(4, 4), "parameter": nn.Parameter(torch.randn(4, 4)),
            "module": nn.Embedding(4, 4)}


@pytest.mark.filterwarnings("ignore:Replacing existing data")
@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("made, added", MODES)
def test_every_call_works_whatever_the_mode(cls, made, added):
    with torch.inference_mode(made):
        data = make_data()
        given = torch.ones(4, 4)
    sparsifier = cls()
    with torch.inference_mode(added):
        for name, each in data.items():
            sparsifier.add_data(name, each)
        sparsifier.add_data("masked", torch.randn(4, 4), mask=given)
        sparsifier.add_data("own", torch.randn(4, 4), parametrization=Doubled)
    for mode in (added, not added):
        with torch.inference_mode(mode):
            sparsifier.step()
            sparsifier.add_data("tensor", data["tensor"])
            state = sparsifier.state_dict()
            loaded = cls()
            loaded.load_state_dict(state)
            loaded.step()
            copied = copy.deepcopy(sparsifier)
            copied.step()
    for other in (loaded, copied):
        assert all(torch.equal(other.get_mask(n), sparsifier.get_mask(n)) for n in sparsifier.state)
    with torch.inference_mode(not added):
        sparsifier.squash_mask(names=["tensor", "masked", "own"])
        sparsifier.remove_data("tensor")
    with torch.inference_mode(added):
        sparsifier.squash_mask(names=["parameter", "module"])
    for each in data.values():
        weight = each.weight if isinstance(each, nn.Module) else each
        assert weight.count_nonzero() == (12 if cls is FirstRow else 8)


@pytest.mark.parametrize("cls", CLASSES)
def test_what_was_added_and_loaded_in_inference_mode_is_trained_outside(cls):
    weight = nn.Parameter(torch.randn(4, 4))
    sparsifier = cls()
    with torch.inference_mode():
        sparsifier.add_data("w", weight)
        sparsifier.get_mask("w")
    sparsifier.step()
    with torch.inference_mode():
        sparsifier.step()
        loaded = cls()
        loaded.load_state_dict(sparsifier.state_dict())
        assert not copy.deepcopy(sparsifier).get_mask("w").is_inference()
    for each in (sparsifier, loaded):
        assert not each.get_mask("w").is_inference() and not each.get_data("w").is_inference()
        each.get_data("w").requires_grad_()
        each.get_data("w", return_original=False).sum().backward()
        assert torch.equal(each.get_data("w").grad, each.get_mask("w").float())
        each.step()
        each.squash_mask()


def test_a_state_of_inference_mode_is_saved_and_loaded_outside():
    file = io.BytesIO()
    with torch.inference_mode():
        sparsifier = DataNormSparsifier([("w", torch.randn(4, 4))])
        sparsifier.step()
        state = sparsifier.state_dict()
    assert not any(each.is_inference() for each in state["_container"].values())
    assert not state["state"]["w"]["mask"].is_inference()
    torch.save(state, file)
    file.seek(0)
    loaded = DataNormSparsifier()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    loaded.load_state_dict(state)
    loaded.step()
    assert not loaded.get_mask("w").is_inference() and not loaded.get_data("w").is_inference()


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("sparsify_first", [True, False])
@pytest.mark.parametrize("made, used", MODES)
def test_quantization_works_whatever_the_mode(made, used, sparsify_first):
    torch.manual_seed(0)
    with torch.inference_mode(made):
        model = nn.Sequential(nn.Embedding(16, 8), nn.EmbeddingBag(16, 8, mode="mean"))
    expected = copy.deepcopy(model)
    post_training_sparse_quantize(expected, DataNormSparsifier, sparsify_first)
    with torch.inference_mode(used):
        post_training_sparse_quantize(model, DataNormSparsifier, sparsify_first)
    rows = torch.arange(16)
    assert torch.equal(model[0](rows), expected[0](rows))
    assert torch.equal(model[1](rows, torch.arange(0, 16, 4)), expected[1](rows, torch.arange(0, 16, 4)))
    assert not model[0](rows).is_inference()
