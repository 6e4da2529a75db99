"""BaseDataSparsifier: what torch.ao's own tests check, and where ours differs."""

import copy
import gc
import re
import sys
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from sparsifiers import BelowThreshold, Doubled, FirstRow, counting, embeddings, parameters, tensors
from torchwinnow.data_sparsifier import BaseDataSparsifier, DataNormSparsifier, FakeSparsity

KINDS = [tensors, parameters, embeddings]
REPLACING = "ignore:Replacing existing data"


def with_more(make):
    """A sparsifier with the data, one of them under a configuration of its own."""
    data = make()
    sparsifier = FirstRow(data[:-1], test=3)
    sparsifier.add_data(data[-1][0], data[-1][1], test=7)
    return sparsifier, data


@pytest.mark.parametrize("make", KINDS)
def test_groups_are_the_defaults_overlaid_by_the_config(make):
    sparsifier, data = with_more(make)
    assert list(sparsifier.data_groups) == [name for name, _ in data]
    assert [group["test"] for group in sparsifier.data_groups.values()] == [3] * (len(data) - 1) + [7]


@pytest.mark.parametrize("make", KINDS)
def test_steps_mask_reads_and_leave_originals(make):
    sparsifier, data = with_more(make)
    for name, value in data:
        weight = sparsifier._extract_weight(value)
        assert torch.equal(sparsifier.get_data(name, return_original=False), weight)
        assert (sparsifier.get_mask(name)[0] == 1).all()
    for _ in range(3):
        sparsifier.step()
    for name, value in data:
        weight = sparsifier._extract_weight(value)
        assert sparsifier.get_data(name) is weight
        assert (sparsifier.get_data(name, return_original=False)[0] == 0).all()
        assert (sparsifier.get_mask(name)[0] == 0).all()
        assert sparsifier.state[name]["step_count"] == 3


@pytest.mark.parametrize("make", KINDS)
def test_squashing_writes_into_the_callers_tensor(make):
    sparsifier, data = with_more(make)
    weights = [sparsifier._extract_weight(value) for _, value in data]
    expected = [weight.detach().clone() for weight in weights]
    sparsifier.step()
    assert all(is_parametrized(sparsifier._container, name) for name, _ in data)
    sparsifier.squash_mask()
    for (name, _), weight, before in zip(data, weights, expected):
        before[0] = 0
        assert torch.equal(weight, before)
        assert sparsifier.get_data(name, return_original=False) is weight
        assert not is_parametrized(sparsifier._container, name)
        with pytest.raises(ValueError, match="mask squashed"):
            sparsifier.get_data(name)


@pytest.mark.filterwarnings(REPLACING)
@pytest.mark.parametrize("make", KINDS)
def test_a_replacement_keeps_mask_and_config(make):
    sparsifier, data = with_more(make)
    name, value = data[-1]
    old = sparsifier._extract_weight(value)
    before = old.detach().clone()
    sparsifier.step()
    mask = sparsifier.get_mask(name)
    new = torch.randn(old.shape)
    read = sparsifier.add_data(name, new)
    assert sparsifier.get_mask(name) is mask and sparsifier.get_data(name) is new
    assert torch.equal(read, mask * new) and torch.equal(old, before)
    assert sparsifier.data_groups[name] == {"test": 7}


@pytest.mark.parametrize("make", KINDS)
def test_data_stay_the_callers_memory(make):
    sparsifier, data = with_more(make)
    for name, value in data:
        weight = sparsifier._extract_weight(value)
        weight.data = weight + torch.randn(weight.shape)
        assert sparsifier.get_data(name).data_ptr() == weight.data_ptr()
        assert torch.equal(sparsifier.get_data(name), weight)


def test_a_replaced_name_moves_to_the_end():
    sparsifier = FirstRow([("x", torch.ones(2, 2)), ("y", torch.ones(2, 2))])
    with pytest.warns(UserWarning, match="Replacing existing data of the same name"):
        sparsifier.add_data("x", torch.zeros(2, 2))
    assert list(sparsifier.data_groups) == list(sparsifier.state) == ["y", "x"]
    slots = [f"parametrizations.{name}.original" for name in "yx"]
    assert list(sparsifier._container.state_dict()) == slots
    with pytest.warns(UserWarning, match="Replacing"):
        sparsifier.add_data("y", torch.ones(3, 3), reuse_mask=False)
    assert sparsifier._container.parametrizations.y[0].mask is sparsifier.get_mask("y")
    sparsifier.step()
    assert sparsifier.get_data("y", return_original=False).sum() == 6


def test_reads_of_parameters_have_the_mask_as_gradient():
    weight = nn.Parameter(counting(2, 2))
    sparsifier = FirstRow([("w", weight)])
    sparsifier.step()
    sparsifier.get_data("w", return_original=False).sum().backward()
    assert torch.equal(weight.grad, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))


@pytest.mark.parametrize("name", ["forward", "training", "keys", "_buffers", "state_dict", "0", "a b",
                                  "original", "winnow:forward", "winnow:"])
def test_names_of_attributes_are_fine(name):
    weight = counting(2, 2)
    sparsifier = FirstRow([(name, weight), ("other", counting(3, 3))])
    sparsifier.step()
    loaded = FirstRow()
    loaded.load_state_dict(sparsifier.state_dict())
    assert torch.equal(loaded.get_mask(name), sparsifier.get_mask(name))
    sparsifier.squash_mask(names=[name])
    assert weight[0].eq(0).all() and is_parametrized(sparsifier._container, "other")


def test_names_with_a_prefix_do_not_collide():
    sparsifier = FirstRow([("forward", torch.ones(2, 2)), ("winnow:forward", torch.ones(3, 3))])
    assert sparsifier.get_data("forward").shape == (2, 2)
    assert sparsifier.get_data("winnow:forward").shape == (3, 3)


@pytest.mark.parametrize("name, error", [("", KeyError), ("a.b", KeyError), (3, TypeError),
                                         ("parametrizations", KeyError)])
def test_invalid_names_are_refused(name, error):
    sparsifier = FirstRow()
    with pytest.raises(error):
        sparsifier.add_data(name, torch.ones(2, 2))
    assert not sparsifier.state and not list(sparsifier._container.buffers())


def parametrized_embedding():
    module = nn.Embedding(3, 3)
    nn.utils.parametrize.register_parametrization(module, "weight", FakeSparsity(torch.ones(3, 3)))
    return module


@pytest.mark.parametrize("data", [
    nn.Linear(2, 2), [1.0], None, 1.0, torch.ones(2, 2).to_sparse(), parametrized_embedding(),
    torch.nn.parameter.UninitializedParameter(), torch._efficientzerotensor((2, 2)),
])
def test_other_types_are_refused(data):
    sparsifier = FirstRow()
    with pytest.raises(AssertionError, match="specified data type .* not supported"):
        sparsifier.add_data("x", data)
    assert not sparsifier.state and not sparsifier.data_groups


def class_of(name, module, bases, **attributes):
    return type(name, bases, {"__module__": module, **attributes})


@pytest.mark.parametrize("data, text", [
    (class_of("Embedding", "adapters.lora", (nn.Module,))(), "adapters.lora.Embedding is not"),
    (class_of("Tensor", "other.core", ())(), "other.core.Tensor is not"),
    (class_of("ndarray", "other.core", ())(), "other.core.ndarray is not"),
    (nn.Linear(2, 2), "type Linear is not"),
])
def test_a_class_with_the_name_of_another_is_named_with_its_module(data, text):
    with pytest.raises(AssertionError, match=re.escape(text)):
        FirstRow([("x", data)])


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantized_embeddings_are_named_with_their_module():
    quantized = pytest.importorskip("torch.ao.nn.quantized")
    for make in (quantized.Embedding, quantized.EmbeddingBag):
        with pytest.raises(AssertionError, match=rf"torch\.ao\.nn\.quantized\S*\.{make.__name__} is not"):
            FirstRow([("x", make(16, 8))])


@pytest.mark.parametrize("attribute", ["base_layer", "original_module", "module"])
def test_an_adapter_that_has_an_embedding_is_told_where(attribute):
    adapter = class_of("Embedding", "adapters.lora", (nn.Module,))()
    setattr(adapter, attribute, nn.Embedding(3, 2))
    with pytest.raises(AssertionError, match=f"or EmbeddingBag; its {attribute} is one$"):
        FirstRow([("x", adapter)])
    setattr(adapter, attribute, nn.Linear(3, 2))
    with pytest.raises(AssertionError, match="or EmbeddingBag$"):
        FirstRow([("x", adapter)])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused():
    for layout in (torch.strided, torch.jagged):
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)
        with pytest.raises(AssertionError, match="specified data type .* not supported"):
            FirstRow([("x", nested)])


def test_derived_embeddings_meta_tensors_and_buffers_are_accepted():
    class Table(nn.Embedding):
        pass

    table = Table(3, 4)
    sparsifier = FirstRow([("t", table), ("m", torch.empty(2, 2, device="meta")),
                           ("b", nn.Buffer(torch.ones(2)))])
    assert sparsifier.get_data("t") is table.weight


@pytest.mark.parametrize("mask, error", [(torch.ones(2, 1), AssertionError), ([[1, 1], [1, 1]], TypeError),
                                         (torch.ones(2, 2, dtype=torch.float64), ValueError)])
def test_masks_that_do_not_fit_change_nothing(mask, error):
    sparsifier = FirstRow([("x", counting(2, 2))])
    for name in ("x", "new"):
        with pytest.raises(error), pytest.warns(UserWarning) if name == "x" else nullcontext():
            sparsifier.add_data(name, counting(2, 2), reuse_mask=False, mask=mask)
    assert list(sparsifier.state) == ["x"] and sparsifier.get_mask("x").eq(1).all()
    assert list(sparsifier._container.state_dict()) == ["parametrizations.x.original"]


@pytest.mark.filterwarnings(REPLACING)
def test_a_failed_replacement_leaves_the_old_data():
    weight = counting(2, 2)
    sparsifier = FirstRow([("x", weight)])
    with pytest.raises(ValueError, match="may not change the dtype"):
        sparsifier.add_data("x", weight.half())  # the float32 mask would be kept
    with pytest.raises(AssertionError, match="to retain the old mask"):
        sparsifier.add_data("x", counting(3, 2))
    assert sparsifier.get_data("x") is weight and list(sparsifier.data_groups) == ["x"]
    sparsifier.add_data("x", counting(3, 2).half(), reuse_mask=False)
    assert sparsifier.get_mask("x").dtype == torch.float16


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.float16, torch.float32])
def test_the_first_mask_may_be_given(dtype):
    mask = torch.eye(2).to(dtype)
    sparsifier = FirstRow()
    read = sparsifier.add_data("x", counting(2, 2), mask=mask)
    assert sparsifier.get_mask("x") is mask and torch.equal(read, torch.tensor([[1.0, 0], [0, 4]]))


def test_a_default_mask_is_copied_for_each():
    mask = torch.eye(2)
    sparsifier = FirstRow([("x", counting(2, 2)), ("y", counting(2, 2))], mask=mask)
    sparsifier.add_data("z", counting(2, 2))
    masks = [sparsifier.get_mask(name) for name in "xyz"] + [mask]
    assert len({each.data_ptr() for each in masks}) == 4
    assert all(torch.equal(each, mask) for each in masks)
    with pytest.raises(ValueError, match="is that of 'x'"):
        sparsifier.add_data("w", counting(2, 2), mask=sparsifier.get_mask("x"))


@pytest.mark.filterwarnings(REPLACING)
def test_a_parametrization_of_the_users_own_is_kept():
    sparsifier = FirstRow()
    read = sparsifier.add_data("x", counting(2, 2), parametrization=Doubled)
    assert torch.equal(read, 2 * counting(2, 2))
    assert torch.equal(sparsifier.add_data("x", counting(2, 2)), 2 * counting(2, 2))
    sparsifier._container.parametrizations.x[0].factor.fill_(3)
    loaded = FirstRow()
    loaded.load_state_dict(sparsifier.state_dict())
    assert torch.equal(loaded.get_data("x", return_original=False), 3 * counting(2, 2))


@pytest.mark.filterwarnings(REPLACING)
@pytest.mark.parametrize("reuse_mask", [True, False])
def test_a_squashed_name_can_be_replaced(reuse_mask):
    weight = counting(2, 2)
    sparsifier = FirstRow([("x", weight)])
    sparsifier.step()
    sparsifier.squash_mask()
    mask = sparsifier.get_mask("x")
    sparsifier.add_data("x", counting(2, 2), reuse_mask=reuse_mask)
    assert (sparsifier.get_mask("x") is mask) == reuse_mask
    assert sparsifier.get_data("x")[0, 0] == 1 and weight[0, 0] == 0


def test_a_step_after_squash_names_the_entry_and_touches_no_mask():
    sparsifier = FirstRow([("x", counting(2, 2)), ("y", counting(2, 2))])
    sparsifier.squash_mask(names=["y"])
    with pytest.raises(ValueError, match="mask squashed.*'y'"):
        sparsifier.step()
    assert sparsifier.get_mask("x").eq(1).all()


@pytest.mark.parametrize("names, message", [
    (["x", "ghost"], "does not have a parametrization on ghost"),
    (["x", "x"], "'x' is given twice"),
    (["x", "y"], "does not have a parametrization on y"),
])
def test_squash_checks_all_names_first(names, message):
    sparsifier = FirstRow([("x", counting(2, 2)), ("y", counting(2, 2))])
    sparsifier.squash_mask(names=["y"])
    with pytest.raises(ValueError, match=message):
        sparsifier.squash_mask(names=names)
    assert sparsifier.get_data("x") is not None


def test_squash_takes_one_name_or_none_and_ignores_other_arguments():
    sparsifier = FirstRow([("name", counting(2, 2)), ("y", counting(2, 2))])
    sparsifier.squash_mask(names=[])
    sparsifier.squash_mask("ignored", names="name", more=1)
    assert not is_parametrized(sparsifier._container, "name")
    assert is_parametrized(sparsifier._container, "y")


def test_a_mask_that_lost_its_shape_squashes_nothing():
    first, second = counting(2, 2), counting(2, 2)
    sparsifier = FirstRow([("x", first), ("y", second)])
    second.data = counting(3, 3)
    with pytest.raises(AssertionError, match="must match x shape"):
        sparsifier.squash_mask()
    assert sparsifier.get_data("x") is first


def test_disabled_steps_do_nothing():
    sparsifier = FirstRow([("x", counting(2, 2))])
    sparsifier.enable_mask_update = False
    sparsifier.step()
    assert sparsifier.get_mask("x").eq(1).all()


def test_unknown_names_are_value_errors():
    sparsifier = FirstRow()
    for call in (sparsifier.get_mask, sparsifier.get_data):
        with pytest.raises(ValueError, match="data with specified name does not exist"):
            call("ghost")


def test_the_base_is_abstract_and_prepares_nothing():
    with pytest.raises(TypeError):
        BaseDataSparsifier()
    with pytest.raises(NotImplementedError, match="undefined for this class"):
        FirstRow().prepare(nn.Linear(1, 1), {})


def test_a_sparsifier_of_the_guide():
    data, weight = torch.randn(100, 100), nn.Parameter(torch.randn(200, 32))
    dense, dense_weight = data.clone(), weight.detach().clone()
    sparsifier = BelowThreshold()
    sparsifier.add_data("tensor1", data, threshold=0.5)
    sparsifier.add_data("param1", weight)
    sparsifier.step()
    sparsifier.squash_mask()
    assert torch.equal(data, dense * (dense.abs() >= 0.5))
    assert torch.equal(weight, dense_weight * (dense_weight.abs() >= 0.2))


@pytest.mark.filterwarnings(REPLACING)
def test_training_data_under_one_name():
    sparsifier = DataNormSparsifier(sparsity_level=0.5, sparse_block_shape=(1, 1))
    for _ in range(3):
        x = sparsifier.add_data("batch", torch.randn(8, 4))
        sparsifier.step()
    assert x.shape == (8, 4) and sparsifier.get_mask("batch").sum() == 16


def test_a_step_in_inference_mode_leaves_normal_tensors():
    sparsifier = DataNormSparsifier([("w", nn.Parameter(torch.randn(4, 4)))])
    with torch.inference_mode():
        sparsifier.step()
    sparsifier.get_data("w", return_original=False).sum().backward()
    assert not sparsifier.get_mask("w").is_inference()


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace", "ignore::torch.jit.TracerWarning")
def test_a_parametrized_module_loads_its_own_state():
    module = nn.Linear(4, 4)
    nn.utils.parametrize.register_parametrization(module, "weight", FakeSparsity(torch.zeros(4, 4)))
    state = module.state_dict()
    assert "parametrizations.weight.0.mask" not in state
    module.load_state_dict(state)
    assert torch.equal(module(torch.ones(1, 4))[0], module.bias)
    assert torch.equal(torch.jit.trace(module, torch.ones(1, 4))(torch.ones(1, 4))[0], module.bias)


def test_a_sparsifier_dies_with_its_last_name():
    sparsifier = FirstRow([("x", counting(2, 2))])
    alive = weakref.ref(sparsifier)
    del sparsifier
    gc.collect()
    assert alive() is None


def test_the_text_is_upstreams():
    sparsifier = FirstRow([("x", counting(2, 2))], size=(1, 4), alpha=0.1)
    sparsifier.data_groups["x"]["data"] = "left out"
    assert repr(sparsifier) == ("FirstRow (\n\tData Group\n\t    name: x\n\t    alpha: 0.1\n"
                                "\t    size: (1, 4)\n)")
    assert copy.copy(repr(FirstRow())) == "FirstRow ()"


@pytest.mark.parametrize("masked", [True, False])
def test_a_removed_name_gives_its_tensor_back(masked):
    weight, other = nn.Parameter(counting(2, 2)), counting(3, 3)
    sparsifier = FirstRow([("x", weight), ("y", other)])
    sparsifier.step()
    if not masked:
        sparsifier.squash_mask(names="x")
    sparsifier.remove_data("x")
    assert weight.tolist() == ([[1, 2], [3, 4]] if masked else [[0, 0], [3, 4]])
    assert weight.is_leaf and list(sparsifier.state) == list(sparsifier.data_groups) == ["y"]
    assert list(sparsifier._container.state_dict()) == ["parametrizations.y.original"]
    with pytest.raises(ValueError, match="data with specified name does not exist: 'x'"):
        sparsifier.remove_data("x")
    with pytest.raises(ValueError, match="does not exist"):
        sparsifier.remove_data(3)
    sparsifier.step()
    sparsifier.add_data("x", weight)
    sparsifier.remove_data("y")
    sparsifier.remove_data("x")
    sparsifier.step()
    assert not list(sparsifier._container.state_dict())


class FailsAt(FirstRow):
    """Raises at one name, after it has changed everything that it could."""

    fails_at = None

    def update_mask(self, name, data, **config):
        super().update_mask(name, data, **config)
        self.state[name]["more"] = "of the user"
        self.get_mask(name).data = torch.zeros(3, 3)
        if name == self.fails_at:
            raise OSError("of the user")


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_a_step_whose_update_mask_fails_leaves_every_mask(dtype):
    sparsifier = FailsAt([("x", counting(3, 3)), ("y", counting(3, 3))], mask=torch.ones(3, 3, dtype=dtype))
    masks = [sparsifier.get_mask(name) for name in "xy"]
    sparsifier.fails_at = "y"
    for _ in range(2):
        with pytest.raises(OSError, match="of the user"):
            sparsifier.step()
        for name, mask in zip("xy", masks):
            assert sparsifier.get_mask(name) is mask and list(sparsifier.state[name]) == ["mask"]
            assert mask.dtype == dtype and mask.eq(1).all()
            assert torch.equal(sparsifier.get_data(name, return_original=False), counting(3, 3))
    sparsifier.fails_at = None
    sparsifier.step()
    assert all(sparsifier.state[name]["step_count"] == 1 for name in "xy")


def test_a_step_within_a_step_is_refused():
    class Nested(FirstRow):
        def update_mask(self, name, data, **config):
            self.step()

    sparsifier = Nested([("x", counting(2, 2))])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="step was called by update_mask"):
            sparsifier.step()


def test_first_masks_have_memory_of_their_own_once_they_are_asked_for():
    weight = nn.Parameter(counting(3, 3))
    sparsifier = FirstRow()
    read = sparsifier.add_data("x", weight)
    assert read.data_ptr() == weight.data_ptr() and torch.equal(read, weight)
    read.sum().backward()
    assert weight.grad.eq(1).all()
    mask = sparsifier.state["x"]["mask"]
    assert mask.eq(1).all() and mask.untyped_storage().nbytes() == 4
    assert sparsifier.get_mask("x") is mask is sparsifier._container.parametrizations.x[0].mask
    assert mask.is_contiguous() and mask.dtype == torch.float32
    mask[1] = 0
    assert sparsifier.get_data("x", return_original=False)[1].eq(0).all()
    expanded = torch.ones(1, 3).expand(3, 3)
    sparsifier.add_data("y", counting(3, 3), mask=expanded)
    sparsifier.step()
    assert sparsifier.get_mask("y") is expanded and expanded.sum() == 6


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "uint16", "complex64"])
def test_own_classes_take_data_of_any_dtype_that_torch_multiplies(dtype):
    data = torch.zeros(3, 8, dtype=torch.uint8).view(getattr(torch, dtype))
    sparsifier = FirstRow([("x", data)])
    sparsifier.step()
    assert sparsifier.get_mask("x").dtype == data.dtype
    sparsifier.squash_mask()


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float4_e2m1fn_x2"])
def test_own_classes_refuse_what_torch_does_not_multiply(dtype):
    data = torch.zeros(3, 8, dtype=torch.uint8).view(getattr(torch, dtype))
    sparsifier = FirstRow()
    for config in ({}, {"mask": torch.ones(3, 8)}):
        with pytest.raises(ValueError, match=f"torch does not multiply data of torch.{dtype}"):
            sparsifier.add_data("x", data, **config)
    assert not sparsifier.state


def calls_of(function):
    """How many calls `function` makes, of Python and C."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.filterwarnings(REPLACING)
def test_a_call_costs_the_same_however_many_names_there_are():
    costs = []
    for names in (20, 1000):
        sparsifier = DataNormSparsifier([(f"d{i}", counting(2, 2)) for i in range(names)])
        given = torch.ones(2, 2)
        calls = {
            "replace": lambda s=sparsifier: s.add_data("d7", counting(2, 2)),
            "replace by a mask": lambda s=sparsifier, mask=given: s.add_data(
                "d8", counting(2, 2), reuse_mask=False, mask=mask),
            "squash": lambda s=sparsifier: s.squash_mask(names=["d9"]),
            "replace squashed": lambda s=sparsifier: s.add_data("d9", counting(2, 2)),
            "remove": lambda s=sparsifier: s.remove_data("d11"),
            "add": lambda s=sparsifier: s.add_data("new", counting(2, 2)),
        }
        for call in calls.values():  # what is done once in a process
            call()
        sparsifier.remove_data("new")
        sparsifier.add_data("d11", counting(2, 2))
        costs.append({name: calls_of(call) for name, call in calls.items()})
    assert costs[0] == costs[1] and costs[0]["replace"] < 80
