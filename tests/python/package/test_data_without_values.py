"""Tensors of the meta device, as offloaded and unloaded models have them: a form without values."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import torchwinnow
from sparsifiers import FirstRow
from torchwinnow import DataNormSparsifier, _ops
from torchwinnow.data_sparsifier.quantization_utils import post_training_sparse_quantize

ON_META = "meta device: load or materialize it first"


def on_meta(*shape):
    return torch.empty(*shape, device="meta")


@pytest.mark.parametrize("call", [
    lambda: torchwinnow.prune_(on_meta(4, 4)),
    lambda: torchwinnow.prune_(nn.Parameter(on_meta(4, 4))),
    lambda: torchwinnow.apply_mask_(on_meta(4, 4), on_meta(4, 4).to(torch.int8)),
    lambda: _ops.quantize_rows(on_meta(4, 4)),
    lambda: _ops.requantize_rows(on_meta(4, 4), on_meta(4), on_meta(4)),
], ids=["prune_", "Parameter", "apply_mask_", "quantize_rows", "requantize_rows"])
def test_nothing_is_done_in_form_only(call):
    with pytest.raises(ValueError, match=ON_META):
        call()


@pytest.mark.parametrize("sparsify_first", [True, False])
def test_embeddings_without_values_are_not_quantized(sparsify_first):
    model = nn.Sequential(nn.Embedding(4, 8), nn.Embedding(4, 8, device="meta"))
    before = list(model)
    with pytest.raises(ValueError, match=f"'1': no values, on the {ON_META}"):
        post_training_sparse_quantize(model, DataNormSparsifier, sparsify_first)
    assert list(model) == before


@pytest.mark.parametrize("cls", [FirstRow, DataNormSparsifier])
def test_steps_and_squashes_name_the_data_and_change_nothing(cls):
    good, bad = torch.randn(4, 4), nn.Embedding(4, 4, device="meta")
    sparsifier = cls([("good", good), ("bad", bad)])
    for call in (sparsifier.step, sparsifier.squash_mask):
        with pytest.raises(ValueError, match=f"the data 'bad': no values, on the {ON_META}"):
            call()
    assert sparsifier.get_mask("good").all() and good.all()
    sparsifier.squash_mask(names="bad", leave_parametrized=False)
    sparsifier.remove_data("bad")
    sparsifier.step()
    sparsifier.squash_mask()
    assert good.eq(0).any()


def emptied(module):
    module.to_empty(device="cpu")
    nn.init.normal_(module.weight)


def assigned(module):
    module.load_state_dict({"weight": torch.randn(8, 4)}, assign=True)


@pytest.mark.parametrize("cls", [FirstRow, DataNormSparsifier])
@pytest.mark.parametrize("materialize", [emptied, assigned])
def test_modules_that_got_their_values_later_are_noticed_and_added_again(cls, materialize):
    table = nn.Embedding(8, 4, device="meta")
    sparsifier = cls()
    sparsifier.add_data("table", table, sparsity_level=0.25)
    materialize(table)
    with pytest.raises(ValueError, match="the Embedding of 'table' has another weight"):
        sparsifier.step()
    with pytest.warns(UserWarning, match="Replacing"):
        read = sparsifier.add_data("table", table)
    assert torch.equal(read, table.weight) and sparsifier.data_groups["table"]["sparsity_level"] == 0.25
    sparsifier.step()
    sparsifier.squash_mask()
    assert torch.equal(table.weight.eq(0), sparsifier.get_mask("table").eq(0))
    assert table.weight.eq(0).any()


def test_the_forms_that_torch_traces_with_go_on():
    with FakeTensorMode() as mode:
        for data in (mode.from_tensor(torch.randn(4, 4)), mode.from_tensor(on_meta(4, 4))):
            torchwinnow.prune_(data)
            torchwinnow.apply_mask_(data, torchwinnow.compute_mask(data))
    assert torchwinnow.compute_mask(on_meta(4, 4)).is_meta
