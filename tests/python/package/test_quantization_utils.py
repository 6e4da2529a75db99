"""post_training_sparse_quantize: what torch.ao's own tests check, zero policies, all or nothing."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.ao.nn import quantized

from torchwinnow.data_sparsifier import BaseDataSparsifier, DataNormSparsifier
from torchwinnow.data_sparsifier.quantization_utils import post_training_sparse_quantize

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:TypedStorage")
SINGLE = {"sparsity_level": 0.8, "sparse_block_shape": (1, 1)}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(100, 3)
        self.bag = nn.EmbeddingBag(200, 32)
        self.seq = nn.Sequential(nn.Embedding(150, 3), nn.EmbeddingBag(100, 3))
        self.linear = nn.Linear(32, 32)


def share_below(module, threshold):
    return module.weight().dequantize().abs().lt(threshold).float().mean().item()


def test_selected_embeddings_alone_are_pruned_and_quantized():
    model = Model()
    post_training_sparse_quantize(model, DataNormSparsifier, select_embeddings=[model.bag, model.emb], **SINGLE)
    assert type(model.emb) is quantized.Embedding and type(model.bag) is quantized.EmbeddingBag
    assert type(model.seq[0]) is nn.Embedding and type(model.seq[1]) is nn.EmbeddingBag
    assert type(model.linear) is nn.Linear
    assert share_below(model.emb, 1e-2) == pytest.approx(0.8, abs=0.05)
    assert share_below(model.bag, 1e-2) == pytest.approx(0.8, abs=0.05)


def test_quantized_first_all_embeddings_are_pruned():
    model = Model()
    post_training_sparse_quantize(model, DataNormSparsifier, sparsify_first=False, **SINGLE)
    for module in (model.emb, model.bag, *model.seq):
        assert type(module) in (quantized.Embedding, quantized.EmbeddingBag)
        assert share_below(module, 1) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("sparsify_first", [True, False])
def test_what_is_pruned_is_exactly_zero_in_tables_and_lookups(sparsify_first):
    model = nn.Sequential(nn.Embedding(300, 16), nn.EmbeddingBag(200, 16, mode="sum"))
    with torch.no_grad():
        model[0].weight += 3  # rows whose range does not hold 0
        model[1].weight -= torch.linspace(-2, 2, 200)[:, None]
    seen = []

    class Recording(DataNormSparsifier):
        def step(self):
            super().step()
            seen.extend(self.get_mask(name) for name in self.data_groups)

    post_training_sparse_quantize(model, Recording, sparsify_first=sparsify_first, **SINGLE)
    for module, mask in zip(model, seen):
        dropped = mask.eq(0)
        assert dropped.float().mean() == pytest.approx(0.8, abs=0.001)
        rows = torch.arange(len(mask))
        looked_up = module(rows) if isinstance(module, nn.Embedding) else None
        table = module.weight().dequantize()
        assert table[dropped].eq(0).all()
        if type(module) is quantized.EmbeddingBag:
            looked_up = module(rows, rows)  # one row a bag
        else:
            looked_up = module(rows)
        assert looked_up[dropped].eq(0).all()


def test_kept_values_lie_within_half_a_step():
    model = nn.Sequential(nn.Embedding(50, 8))
    weight = model[0].weight.detach().clone()
    post_training_sparse_quantize(model, DataNormSparsifier, sparsity_level=0.0)
    table = model[0].weight()
    half = table.q_per_channel_scales()[:, None].float() * (0.5 + 2**-14)
    assert ((table.dequantize() - weight).abs() <= half).all()


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [None, 1])
@pytest.mark.parametrize("last", [False, True])
def test_bags_pool_as_the_float_bag_does(mode, padding_idx, last):
    bag = nn.EmbeddingBag(6, 4, mode=mode, padding_idx=padding_idx, include_last_offset=last)
    with torch.no_grad():  # exact in bytes
        bag.weight.copy_(torch.randint(-100, 100, (6, 4)))
        bag.weight[:, 0], bag.weight[:, 1] = -127, 128
    model = nn.Sequential(bag)
    post_training_sparse_quantize(model, DataNormSparsifier, sparsity_level=0.0)
    indices = torch.tensor([0, 1, 1, 5, 3, 1])
    offsets = torch.tensor([0, 3, 3, 5, 6] if last else [0, 3, 3, 5])  # an empty bag, one of padding
    torch.testing.assert_close(model[0](indices, offsets), bag(indices, offsets))
    torch.testing.assert_close(model[0](indices, offsets=offsets), bag(indices, offsets=offsets))
    torch.testing.assert_close(model[0](indices.view(2, 3)), bag(indices.view(2, 3)))
    weights = torch.rand(6)
    if mode == "sum":
        torch.testing.assert_close(model[0](indices, offsets, weights), bag(indices, offsets, weights))
    else:
        with pytest.raises(NotImplementedError, match="mode='sum' only"):
            model[0](indices, offsets, per_sample_weights=weights)


def note_dtype(module, args, output):
    module.seen = output.dtype


DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sparsify_first", [True, False])
def test_lookups_keep_the_dtype_and_the_next_layer_works(dtype, sparsify_first):
    model = nn.Sequential(nn.Embedding(16, 8), nn.Linear(8, 4)).to(dtype)
    bags = nn.ModuleList(nn.EmbeddingBag(16, 8, mode=mode) for mode in ("sum", "mean", "max")).to(dtype)
    model[0].register_forward_hook(note_dtype)
    rows, offsets, weights = torch.arange(8), torch.arange(0, 8, 2), torch.rand(8).to(dtype)
    for each in (model, bags):
        post_training_sparse_quantize(each, DataNormSparsifier, sparsify_first, sparsity_level=0.5)
    assert type(model[0]) is quantized.Embedding and type(bags[0]) is quantized.EmbeddingBag
    copied, file = copy.deepcopy((model, bags)), io.BytesIO()
    torch.save((model, bags), file)
    file.seek(0)
    for one, some in ((model, bags), copied, torch.load(file, weights_only=False)):
        table = one[0].weight().dequantize()
        assert torch.equal(one[0](rows), table[:8].to(dtype)) and one(rows).dtype == dtype
        for bag in some:
            assert bag(rows, offsets).dtype == bag(rows.view(2, 4)).dtype == dtype
        weighted = some[0](rows, offsets, weights)
        assert torch.equal(weighted, some[0](rows, offsets=offsets, per_sample_weights=weights))
        assert weighted.dtype == one[0].seen == dtype
        expected = (some[0].weight().dequantize()[:8] * weights[:, None].float()).view(4, 2, 8).sum(1)
        torch.testing.assert_close(weighted.float(), expected, rtol=0.02, atol=0.02)


def test_states_of_another_dtype_round_trip():
    models = [nn.Sequential(nn.Embedding(16, 8)).bfloat16() for _ in range(2)]
    for model in models:
        post_training_sparse_quantize(model, DataNormSparsifier)
    models[1].load_state_dict(models[0].state_dict())
    rows = torch.arange(16)
    assert torch.equal(models[0](rows), models[1](rows)) and models[1](rows).dtype == torch.bfloat16


def test_copies_and_files_of_a_pooling_bag():
    model = nn.Sequential(nn.EmbeddingBag(10, 4))
    post_training_sparse_quantize(model, DataNormSparsifier)
    indices, offsets = torch.tensor([1, 2, 3]), torch.tensor([0, 1])
    expected = model[0](indices, offsets)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(other[0](indices, offsets), expected)


def test_flags_and_hooks_come_along_and_float_weights_stay():
    model = nn.Sequential(nn.Embedding(4, 4), nn.EmbeddingBag(4, 4)).eval()
    embedding, dense = model[0], model[0].weight.detach().clone()
    calls = []
    for module in model:
        module.register_forward_pre_hook(lambda *_: calls.append("before"))
        module.register_forward_hook(lambda *_, **kwargs: calls.append("after"), with_kwargs=True)
    post_training_sparse_quantize(model, DataNormSparsifier)
    assert not model[0].training and torch.equal(embedding.weight, dense)
    model[0](torch.tensor([1]))
    model[1](torch.tensor([1]), torch.tensor([0]))
    assert calls == ["before", "after"] * 2


def test_a_shared_embedding_stays_shared():
    model = nn.Module()
    model.a, model.b = nn.Sequential(nn.Embedding(4, 4)), nn.Sequential()
    model.b.append(model.a[0])
    post_training_sparse_quantize(model, DataNormSparsifier)
    assert type(model.a[0]) is quantized.Embedding and model.a[0] is model.b[0]


def test_names_that_meet_get_a_suffix():
    model = nn.Module()
    model.a, model.a_0 = nn.Sequential(nn.Embedding(4, 4)), nn.Embedding(5, 5)
    names = []

    class Naming(DataNormSparsifier):
        def add_data(self, name, data, **config):
            names.append(name)
            return super().add_data(name, data, **config)

    post_training_sparse_quantize(model, Naming)
    assert sorted(names) == ["a_0", "a_0_1"]


class Failing(BaseDataSparsifier):
    def update_mask(self, name, data, **config):
        raise OSError("of the user")


@pytest.mark.parametrize("options, error, message", [
    ({"data_sparsifier_class": Failing}, OSError, "of the user"),
    ({"sparsity_level": float("nan")}, ValueError, "sparsity_level"),
    ({"unknown": 1}, TypeError, "unknown"),
    ({"zero_policy": "other"}, ValueError, "zero_policy"),
    ({"select_embeddings": ()}, AssertionError, "must be a list"),
    ({"select_embeddings": [nn.Linear(1, 1)]}, AssertionError, "must be an embedding or embedding bags"),
    ({"select_embeddings": [nn.Embedding(2, 2)]}, AssertionError, "must be part of input model"),
])
@pytest.mark.parametrize("sparsify_first", [True, False])
def test_a_call_that_fails_changes_nothing(options, error, message, sparsify_first):
    model = Model()
    modules, before = list(model.modules()), copy.deepcopy(model.state_dict())
    options = {"data_sparsifier_class": DataNormSparsifier, **options}
    with pytest.raises(error, match=message):
        post_training_sparse_quantize(model, sparsify_first=sparsify_first, **options)
    assert list(model.modules()) == modules
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_cannot_be_converted_is_named():
    model = nn.Sequential(nn.Embedding(4, 4), nn.Embedding(4, 4, max_norm=1.0))
    with pytest.raises(ValueError, match="'1' has a max_norm"):
        post_training_sparse_quantize(model, DataNormSparsifier)
    assert type(model[0]) is nn.Embedding
    with pytest.raises(KeyError, match="no name"):
        post_training_sparse_quantize(nn.Embedding(4, 4), DataNormSparsifier)
    weight = torch.full((4, 4), float("nan"))
    model = nn.Sequential(nn.Embedding(4, 4, _weight=nn.Parameter(weight)))
    with pytest.raises(ValueError):
        post_training_sparse_quantize(model, DataNormSparsifier, sparsity_level=0.0)


def test_none_selected_and_derived_classes():
    class Table(nn.Embedding):
        pass

    model = nn.Sequential(nn.Embedding(4, 4), Table(4, 4))
    post_training_sparse_quantize(model, DataNormSparsifier, select_embeddings=[])
    assert type(model[0]) is nn.Embedding
    post_training_sparse_quantize(model, DataNormSparsifier)
    assert type(model[0]) is quantized.Embedding and type(model[1]) is Table


def test_a_sparsifier_of_torch_ao_may_prune():
    upstream = pytest.importorskip("torch.ao.pruning._experimental.data_sparsifier")
    model = nn.Sequential(nn.Embedding(40, 8))
    post_training_sparse_quantize(model, upstream.DataNormSparsifier, **SINGLE)
    assert model[0].weight().dequantize().eq(0).float().mean() == pytest.approx(0.8, abs=0.02)
