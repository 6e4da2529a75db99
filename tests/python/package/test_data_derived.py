"""Embeddings whose weight is not, or no longer, the tensor that a mask would be of."""

import copy
import gc

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from sparsifiers import FirstRow
from torchwinnow.data_sparsifier import DataNormSparsifier, FakeSparsity
from torchwinnow.data_sparsifier.quantization_utils import post_training_sparse_quantize


def ties(module):
    module.origin = nn.Parameter(module.weight.detach() * 2)
    del module.weight
    module.register_forward_pre_hook(lambda m, _: setattr(m, "weight", m.origin / 2))
    module.weight = module.origin / 2


COMPUTED = {
    "prune": (lambda e: prune.l1_unstructured(e, "weight", 0.3), "prune.remove"),
    "weight_norm": (nn.utils.weight_norm, "remove_weight_norm"),
    "spectral_norm": (nn.utils.spectral_norm, "remove_spectral_norm"),
    "a parametrization": (
        lambda e: parametrize.register_parametrization(e, "weight", FakeSparsity(torch.ones(16, 8))),
        "remove_parametrizations.*parametrizations.weight.original",
    ),
    "parametrizations.weight_norm": (parametrizations.weight_norm, "remove_parametrizations"),
    "a hook of one's own": (ties, "add the Parameter that it is computed from"),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize("wrap, remedy", COMPUTED.values(), ids=COMPUTED)
@pytest.mark.parametrize("make", [nn.Embedding, nn.EmbeddingBag])
def test_embeddings_with_a_computed_weight_are_refused_with_the_remedy(make, wrap, remedy):
    table = make(16, 8)
    wrap(table)
    sparsifier = DataNormSparsifier()
    with pytest.raises(AssertionError, match=f"specified data type .* not supported.*{remedy}"):
        sparsifier.add_data("table", table)
    assert not sparsifier.state and sparsifier._extract_weight(table) is None


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize("wrap, remedy", list(COMPUTED.values())[:3], ids=list(COMPUTED)[:3])
def test_quantization_refuses_them_before_it_touches_the_model(wrap, remedy):
    model = nn.Sequential(nn.Embedding(4, 4), nn.Embedding(16, 8))
    wrap(model[1])
    with pytest.raises(ValueError, match=f"'1' has a weight that is computed.*{remedy}"):
        post_training_sparse_quantize(model, DataNormSparsifier)
    assert type(model[0]) is nn.Embedding


def test_what_the_remedies_leave_is_accepted():
    table, frozen = nn.Embedding(16, 8), nn.Embedding(16, 8)
    prune.l1_unstructured(table, "weight", 0.3)
    prune.remove(table, "weight")
    weight = frozen.weight.detach()
    del frozen.weight
    frozen.register_buffer("weight", weight)
    sparsifier = DataNormSparsifier([("table", table), ("frozen", frozen)])
    sparsifier.step()
    sparsifier.squash_mask()
    for module, name in ((table, "table"), (frozen, "frozen")):
        dropped = sparsifier.get_mask(name).eq(0)
        assert dropped.sum() == 64 and module(torch.arange(16))[dropped].eq(0).all()


def assigned(module):
    module.load_state_dict({"weight": torch.ones(16, 8)}, assign=True)


def set_anew(module):
    module.weight = nn.Parameter(torch.ones(16, 8))


def moved(module):
    module.to_empty(device="meta").to_empty(device="cpu")


@pytest.mark.parametrize("replace", [assigned, set_anew, moved])
def test_a_weight_that_was_replaced_is_noticed_and_nothing_is_changed(replace):
    table, other = nn.Embedding(16, 8), nn.Embedding(16, 8)
    sparsifier = FirstRow([("other", other), ("table", table)])
    sparsifier.step()
    old, mask = sparsifier.get_data("table"), sparsifier.get_mask("table")
    replace(table)
    for call in (sparsifier.step, sparsifier.squash_mask):
        with pytest.raises(ValueError, match="the Embedding of 'table' has another weight"):
            call()
    assert sparsifier.state["other"]["step_count"] == 1 and other.weight[0].ne(0).any()
    with pytest.warns(UserWarning, match="Replacing"):
        sparsifier.add_data("table", table)
    assert sparsifier.get_data("table") is table.weight and sparsifier.get_mask("table") is mask
    assert old[0].ne(0).any()
    sparsifier.step()
    sparsifier.squash_mask()


def test_a_weight_that_was_replaced_can_be_let_go():
    tables = [nn.Embedding(16, 8) for _ in range(3)]
    sparsifier = FirstRow([(f"t{i}", table) for i, table in enumerate(tables)])
    for table in tables:
        assigned(table)
    sparsifier.squash_mask(names="t0", leave_parametrized=False)
    sparsifier.remove_data("t1")
    with pytest.warns(UserWarning, match="Replacing"):
        sparsifier.add_data("t2", torch.ones(16, 8))
    sparsifier.remove_data("t0")
    sparsifier.step()


def test_weights_that_are_still_in_use_go_on():
    tables = [nn.Embedding(16, 8) for _ in range(5)]
    sparsifier = FirstRow([(f"t{i}", table) for i, table in enumerate(tables)])
    prune.identity(tables[0], "weight")
    parametrize.register_parametrization(tables[1], "weight", FakeSparsity(torch.ones(16, 8)))
    tables[2].double().load_state_dict({"weight": torch.ones(16, 8)})
    tables[3].weight = nn.Parameter(tables[3].weight.data)
    copied = copy.deepcopy(sparsifier)
    assigned(tables[4])
    copied.step()  # a copy has tables of its own
    tables.pop()
    gc.collect()  # nobody has the last module any more
    sparsifier.step()
    sparsifier.squash_mask()
    assert tables[3].weight[0].eq(0).all()
    sparsifier.load_state_dict(sparsifier.state_dict())
    FirstRow([("new", tables[0].weight_orig)]).step()


def test_a_loaded_state_is_tied_to_no_module():
    table, kept = nn.Embedding(16, 8), nn.Embedding(16, 8)
    sparsifier = FirstRow([("table", table)])
    state = sparsifier.state_dict()
    sparsifier.load_state_dict(state)
    assigned(table)
    sparsifier.step()
    other = FirstRow([("kept", kept)])
    other.load_state_dict(state, strict=False)
    other.step()
    assigned(kept)
    with pytest.raises(ValueError, match="'kept' has another weight"):
        other.step()
