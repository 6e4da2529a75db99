"""Upstream's own results, stored in tests/data/golden_data.json, through the Python package."""

import warnings

import pytest
import torch
from torch import nn

from golden import GOLDEN, data_of, expected_of, large_data, settings_of
from sparsifiers import Doubling, FirstRow, Halving, counting
from torchwinnow.data_sparsifier import DataNormSparsifier
from torchwinnow.data_sparsifier.quantization_utils import (
    _all_embeddings,
    post_training_sparse_quantize,
)

pytestmark = pytest.mark.filterwarnings("ignore:sparsity_level = ", "ignore:all values are equal in")
LEVEL = "sparsity_level"


def tensor_of(values, shape, dtype="float32"):
    numbers = [float(value) for value in values]
    return torch.tensor(numbers, dtype=torch.float64).reshape(shape).to(getattr(torch, dtype))


def sparsifier_of(case, data):
    level, block, zeros, norm = settings_of(case)
    sparsifier = DataNormSparsifier(norm=norm)
    sparsifier.add_data("x", data, sparsity_level=level, sparse_block_shape=block, zeros_per_block=zeros)
    return sparsifier


@pytest.mark.parametrize("case", GOLDEN["mask_cases"], ids=lambda case: case["id"])
def test_masks(case):
    data, expected = data_of(case), expected_of(case)
    if "error" in expected:
        with pytest.raises(ValueError):
            sparsifier_of(case, data).step()
        return
    sparsifier = sparsifier_of(case, data)
    for _ in range(2):
        sparsifier.step()
        mask = sparsifier.get_mask("x")
        assert mask.dtype == torch.int8 and list(mask.shape) == case["shape"]
        assert mask.flatten().tolist() == expected["mask"]
    masked = mask * data
    if "sparsified" in case["upstream"] and "recommended" not in case:
        masked = tensor_of(case["upstream"]["sparsified"], case["shape"], case["dtype"])
    read = sparsifier.get_data("x", return_original=False)
    torch.testing.assert_close(read, masked, rtol=0, atol=0, equal_nan=True)
    sparsifier.squash_mask()
    torch.testing.assert_close(data, masked, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("case", GOLDEN["large_cases"], ids=lambda case: case["id"])
def test_large_masks(case):
    sparsifier = sparsifier_of(case, large_data())
    sparsifier.step()
    assert ["".join(map(str, row)) for row in sparsifier.get_mask("x").tolist()] == case["rows"]


def test_rounding():
    sparsifier = DataNormSparsifier(sparse_block_shape=(1, 1))
    for i, case in enumerate(GOLDEN["rounding"]):
        sparsifier.add_data(f"x{i}", counting(case["num_blocks"], 1), sparsity_level=case["level"])
    sparsifier.step()
    for i, case in enumerate(GOLDEN["rounding"]):
        assert sparsifier.get_mask(f"x{i}").eq(0).sum() == case["zeroed_blocks"], case


def config_case(name):
    (case,) = [case for case in GOLDEN["config_cases"] if case["id"] == name]
    return case


def group(sparsifier, name):
    return {key: list(value) if isinstance(value, tuple) else value
            for key, value in sparsifier.data_groups[name].items()}


@pytest.mark.filterwarnings("ignore:'extra' is no value")
def test_configurations():
    case = config_case("defaults_and_override")
    sparsifier = DataNormSparsifier(sparsity_level=0.7)
    sparsifier.add_data("t", counting(4, 4))
    sparsifier.add_data("u", counting(4, 4), sparsity_level=0.3, extra=5)
    assert {name: group(sparsifier, name) for name in "tu"} == case["groups"]
    case = config_case("ctor_zeros_per_block_none")
    defaults = DataNormSparsifier(sparse_block_shape=tuple(case["sparse_block_shape"])).defaults
    assert {**defaults, "sparse_block_shape": [2, 3]} == case["defaults"]
    case = config_case("first_row_sparsifier_3_steps")
    first = FirstRow([("x", counting(3, 3))], test=3)
    for _ in range(3):
        first.step()
    assert first.get_mask("x").flatten().tolist() == case["mask"]
    assert (first.state["x"]["step_count"], first.data_groups["x"]) == (3, case["group"])


@pytest.mark.filterwarnings("ignore:Replacing existing data", "ignore:'extra' is no value")
def test_replacements():
    case = config_case("replace_keeps_old_config_and_mask")
    sparsifier = DataNormSparsifier(sparsity_level=0.7)
    sparsifier.add_data("u", counting(4, 4), sparsity_level=0.3, extra=5)
    sparsifier.add_data("t", counting(4, 4))
    sparsifier.step()
    mask = sparsifier.get_mask("u")
    new = torch.tensor([[13.0], [9], [5], [1]]) + torch.arange(4.0)
    returned = sparsifier.add_data("u", new, zeros_per_block=2)
    assert list(sparsifier.data_groups) == case["order"] and group(sparsifier, "u") == case["group_u"]
    assert (sparsifier.get_mask("u") is mask) == case["same_mask_object"]
    assert returned.flatten().tolist() == case["returned"] and mask.flatten().tolist() == case["mask"]
    case = config_case("replace_reuse_mask_false")
    sparsifier.add_data("u", counting(2, 2), reuse_mask=False)
    fresh = sparsifier.get_mask("u")
    assert (list(fresh.shape), fresh.dtype) == (case["mask_shape"], torch.float32)
    assert fresh.flatten().tolist() == case["mask"] and group(sparsifier, "u") == case["group_u"]


@pytest.mark.parametrize("leave", [True, False])
def test_squashing(leave):
    case = GOLDEN["squash_case" if leave else "squash_leave_false"]
    weight = counting(4, 4)
    view = weight.view(-1)
    sparsifier = DataNormSparsifier([("x", weight)])
    sparsifier.step()
    sparsifier.squash_mask(leave_parametrized=leave)
    assert list(sparsifier._container.state_dict()) == case["container_keys_after"]
    assert weight.flatten().tolist() == case["tensor_after"]
    assert sparsifier.get_data("x", return_original=False) is weight and "mask" in sparsifier.state["x"]
    # Upstream's view keeps its values where the tensor is masked: it gets memory of its own there.
    assert view.tolist() == case["tensor_after"]


def test_state_dict():
    case = GOLDEN["state_dict_case"]
    sparsifier = DataNormSparsifier()
    sparsifier.add_data("t", counting(4, 4))
    sparsifier.add_data("p", nn.Parameter(counting(4, 4)))
    sparsifier.add_data("z", torch.ones(1, 4), sparsity_level=0.1)
    sparsifier.step()
    sparsifier.squash_mask(names=["z"])
    state = sparsifier.state_dict(mask_format="torch_ao")
    assert list(state) == case["keys"] and list(state["_container"]) == list(case["_container"])
    for name, expected in case["state"].items():
        mask, expected = state["state"][name]["mask"], expected["mask"]
        assert mask.layout == torch.sparse_coo and mask.is_coalesced()
        assert (list(mask.shape), mask._nnz()) == (expected["size"], expected["nnz"])
        assert mask.indices().tolist() == expected["indices"]
        assert mask.values().tolist() == expected["values"] and mask.dtype == torch.int8
    for key, values in case["_container"].items():
        assert state["_container"][key].flatten().tolist() == values
    other = DataNormSparsifier([("o", counting(4, 4))], sparsity_level=0.9)
    other.load_state_dict(state, strict=False)
    expected = case["after_non_strict_load_into_o"]
    assert list(other.state) == expected["state_order"]
    assert list(other.data_groups) == expected["groups_order"]
    assert set(other._container.state_dict()) == set(expected["container_keys"])
    other.load_state_dict(state)
    expected = case["after_strict_load"]
    assert other.get_mask("t").flatten().tolist() == expected["mask_t"]
    assert other.defaults[LEVEL] == expected["defaults_level"]
    assert isinstance(other.get_data("p"), nn.Parameter) == expected["p_is_parameter"]
    assert list(other._container.state_dict()) == expected["container_keys"]


def point(sparsifier, scheduler):
    return {
        "last_epoch": scheduler.last_epoch, "step_count": scheduler._step_count,
        "sparsifier_step_count": sparsifier._step_count,
        "levels": {name: value[LEVEL] for name, value in sparsifier.data_groups.items()},
        "last_param": scheduler.get_last_param(), "base_param": scheduler.base_param,
    }


def test_schedules():
    halving, later = GOLDEN["scheduler_cases"]
    sparsifier = DataNormSparsifier([("x", counting(4, 4))], 0.7)
    sparsifier.add_data("y", counting(4, 4), sparsity_level=0.3)
    scheduler = Halving(sparsifier, LEVEL)
    got = [point(sparsifier, scheduler)]
    for _ in halving["trace"][1:]:
        sparsifier.step()
        scheduler.step()
        got.append(point(sparsifier, scheduler))
    assert got == halving["trace"] and sorted(scheduler.state_dict()) == halving["state_dict_keys"]
    sparsifier = DataNormSparsifier([("x", counting(4, 4))], 0.5)
    assert [point(sparsifier, Halving(sparsifier, LEVEL, last_epoch=4))] == later["trace"]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linears = nn.Sequential(nn.Linear(8, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
        self.linears[0].weight.data = counting(4, 8)
        self.linears[2].weight.data = counting(2, 4)


def holder():
    module = nn.Module()
    module.model = Model()
    return module


def values_of(model):
    return {name: parameter.flatten().tolist() for name, parameter in model.named_parameters()}


def test_post_training_callback():
    lightning = pytest.importorskip("torchwinnow.lightning")
    case = GOLDEN["post_training_case"]
    module = holder()
    callback = lightning.PostTrainingDataSparsity(DataNormSparsifier, {LEVEL: 0.5})
    callback.on_fit_end(None, module)
    assert list(callback.data_sparsifier.data_groups) == case["names"]
    assert values_of(callback.sparsified) == case["sparsified"]
    assert callback.sparsified.training == case["sparsified_training"] and module.model.training
    assert values_of(module.model) == values_of(Model())


def test_training_aware_callback():
    lightning = pytest.importorskip("torchwinnow.lightning")
    start, *epochs, end = GOLDEN["training_aware_case"]["events"]
    module = holder()
    callback = lightning.TrainingAwareDataSparsity(
        DataNormSparsifier, {LEVEL: 0.125}, Doubling, {"gamma": 2})

    def state():
        groups = callback.data_sparsifier.data_groups
        return callback.data_scheduler.last_epoch, {name: value[LEVEL] for name, value in groups.items()}

    callback.on_train_start(None, module)
    assert state() == (start["last_epoch"], start["levels"])
    for event in epochs:
        callback.on_train_epoch_start(None, module)
        with torch.no_grad():
            for parameter in module.model.parameters():
                parameter += 1
        callback.on_train_epoch_end(None, module)
        assert state() == (event["last_epoch"], event["levels"])
        masks = {name: int(callback.data_sparsifier.get_mask(name).eq(0).sum()) for name in event["zeros"]}
        assert masks == event["zeros"]
    callback.on_train_end(None, module)
    assert values_of(callback.sparsified) == end["sparsified"]
    assert values_of(module.model) == end["original"]


def quantized(case, **options):
    bag = case["id"].startswith("bag")
    weight = tensor_of(case["weight"], case["shape"])
    made = nn.EmbeddingBag if bag else nn.Embedding
    model = nn.Sequential(made(*case["shape"], _weight=nn.Parameter(weight)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        post_training_sparse_quantize(
            model, DataNormSparsifier, sparsify_first="sparsify_first" in case["id"],
            sparsity_level=case.get("level", 0.0), sparse_block_shape=tuple(case.get("block", (1, 2))),
            **options)
    return model[0]


@pytest.mark.parametrize("case", GOLDEN["quant_cases"], ids=lambda case: case["id"])
def test_quantization(case):
    module = quantized(case, zero_policy="upstream")
    expected, weight = case["upstream"], module.weight()
    assert expected["type"] == f"{type(module).__module__}.{type(module).__qualname__}"
    assert weight.q_per_channel_scales().tolist() == expected["scales"]
    assert weight.q_per_channel_zero_points().tolist() == expected["zero_points"]
    assert weight.int_repr().flatten().tolist() == expected["int_repr"]
    assert weight.dequantize().flatten().tolist() == expected["dequantized"]
    assert str(weight.qscheme()) == f"torch.{expected['qscheme']}" and weight.q_per_channel_axis() == 0


@pytest.mark.parametrize("case", GOLDEN["quant_bag_forward"], ids=lambda case: case["args"]["mode"])
def test_quantized_bags(case):
    weight = tensor_of(case["weight"], (3, 4))
    model = nn.Sequential(nn.EmbeddingBag(3, 4, _weight=nn.Parameter(weight), **case["args"]))
    post_training_sparse_quantize(model, DataNormSparsifier, sparsity_level=0.0)
    got = model[0](torch.tensor(case["indices"]), torch.tensor(case["offsets"]))
    torch.testing.assert_close(got, torch.tensor(case["recommended_output"]), rtol=0, atol=0.02)


def test_order_of_embeddings():
    model = nn.Module()
    model.emb1, model.embbag1 = nn.Embedding(2, 2), nn.EmbeddingBag(2, 2)
    model.emb_seq = nn.Sequential(nn.Embedding(2, 2), nn.EmbeddingBag(2, 2))
    model.lin = nn.Linear(2, 2)
    model.deep = nn.Sequential(nn.Sequential(nn.Embedding(2, 2)))
    model.z = nn.Module()
    model.z.q = nn.Embedding(2, 2)
    names = {module: name for name, module in model.named_modules()}
    assert [names[module] for module in _all_embeddings(model)] == GOLDEN["fetch_order"]["order"]


def test_text():
    assert repr(DataNormSparsifier()) == GOLDEN["repr"]["empty"]
    assert repr(DataNormSparsifier([("t", counting(4, 4))])) == GOLDEN["repr"]["one"]
