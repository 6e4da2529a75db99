"""state_dict, pickles and copies of sparsifiers."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from sparsifiers import FirstRow, counting, embeddings, parameters, tensors
from torchwinnow.data_sparsifier import DataNormSparsifier


def stepped(make=tensors, cls=FirstRow, **defaults):
    sparsifier = cls(make(), **defaults)
    sparsifier.step()
    return sparsifier


def same(first, second):
    """Names, masks, groups, reads and what is parametrized."""
    assert list(first.state) == list(second.state) == list(second.data_groups)
    for name in first.state:
        assert torch.equal(first.get_mask(name), second.get_mask(name))
        assert first.get_mask(name).dtype == second.get_mask(name).dtype
        assert first.data_groups[name] == second.data_groups[name]
        read, other = (s.get_data(name, return_original=False) for s in (first, second))
        assert torch.equal(read, other)
        assert is_parametrized(first._container, name) == is_parametrized(second._container, name)


FORMATS = ["dense", "packed", "torch_ao"]


@pytest.mark.parametrize("mask_format", FORMATS)
@pytest.mark.parametrize("make", [tensors, parameters, embeddings])
@pytest.mark.parametrize("cls", [FirstRow, DataNormSparsifier])
def test_a_strict_load_takes_over_everything(make, cls, mask_format):
    first = stepped(make, cls)
    second = cls(make()[:1])
    state = first.state_dict(mask_format=mask_format)
    assert list(state) == ["state", "data_groups", "_container"]
    for entry in state["state"].values():
        if mask_format == "packed":
            assert "mask" not in entry and entry["mask_bits"].dtype == torch.uint8
        else:
            assert entry["mask"].is_sparse == (mask_format == "torch_ao")
    second.load_state_dict(state)
    same(first, second)
    name = next(iter(second.state))
    assert second._container.parametrizations[name][0].mask is second.get_mask(name)
    second.step()


def test_squashed_entries_load_as_such_and_counters_come_along():
    first = stepped()
    first.squash_mask(names=["b"])
    second = FirstRow()
    second.load_state_dict(first.state_dict())
    same(first, second)
    assert second.state["a"]["step_count"] == 1


def test_a_state_is_a_snapshot_of_plain_dicts():
    weight = counting(3, 3)
    sparsifier = FirstRow([("x", weight)], test=[3])
    state, shared = sparsifier.state_dict(), sparsifier.state_dict(clone=False)
    weight += 1
    sparsifier.data_groups["x"]["test"].append(4)
    sparsifier.step()
    key = "parametrizations.x.original"
    assert torch.equal(state["_container"][key], counting(3, 3))
    assert shared["_container"][key].data_ptr() == weight.data_ptr()
    assert state["data_groups"] == {"x": {"test": [3]}} and state["state"]["x"]["mask"].sum() == 9
    assert all(type(part) is dict for part in (state, *state.values()))


@pytest.mark.parametrize("cls", [FirstRow, DataNormSparsifier])
def test_masks_are_sparse_as_those_of_torch_ao_and_dense_in_files(cls):
    sparsifier = stepped(cls=cls)
    state = sparsifier.state_dict()
    for made in (state, copy.deepcopy(state), {"state": map_values(copy.copy, state["state"])}):
        for name, entries in made["state"].items():
            mask = entries["mask"]
            assert mask.is_sparse and mask.is_coalesced()
            assert torch.equal(mask.to_dense(), sparsifier.get_mask(name))
            assert entries is not state["state"][name] or made is state
    for read in (through_file(state), through_pickle(state)):
        for name, entries in read["state"].items():
            assert isinstance(entries, dict) and list(entries) == list(state["state"][name])
            assert torch.equal(entries["mask"], sparsifier.get_mask(name))
            assert entries["mask"].dtype == sparsifier.get_mask(name).dtype
    state["state"]["a"]["mask"] = None  # what a user makes of it is pickled as it is
    assert through_pickle(state)["state"]["a"]["mask"] is None


def map_values(function, values):
    return {key: function(value) for key, value in values.items()}


def test_the_format_of_masks_is_an_attribute_too():
    sparsifier = stepped()
    sparsifier.mask_format = "dense"
    for made in (sparsifier, copy.deepcopy(sparsifier)):
        assert not made.state_dict()["state"]["a"]["mask"].is_sparse
    assert sparsifier.state_dict(mask_format="torch_ao")["state"]["a"]["mask"].is_sparse


def test_a_loaded_sparsifier_is_tied_to_nobody():
    weight = nn.Parameter(counting(3, 3))
    first, second = FirstRow([("x", weight)]), FirstRow()
    state = first.state_dict()
    second.load_state_dict(state)
    second.step()
    second.squash_mask()
    assert torch.equal(state["_container"]["parametrizations.x.original"], counting(3, 3))
    assert torch.equal(weight, counting(3, 3))


def test_the_training_callback_keeps_dense_masks():
    """Of every epoch's end: COO takes 17 bytes a kept value."""
    pytest.importorskip("lightning")
    from torchwinnow import CubicDataScheduler
    from torchwinnow.lightning import TrainingAwareDataSparsity

    module = nn.Module()
    module.model = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 4))
    callback = TrainingAwareDataSparsity(
        DataNormSparsifier, {}, CubicDataScheduler, {"end_step": 1}, filter="default"
    )
    callback.on_train_start(None, module)
    callback.on_train_epoch_end(None, module)
    for state in (callback.data_sparsifier_state_dict, callback.data_sparsifier.state_dict()):
        assert [entries["mask"].layout for entries in state["state"].values()] == [torch.strided] * 2


@pytest.mark.parametrize("mask_format", [None, *FORMATS])
def test_torch_load_reads_a_state_with_weights_only_and_without_a_warning(mask_format):
    first = stepped(cls=DataNormSparsifier)
    second = DataNormSparsifier()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second.load_state_dict(through_file(first.state_dict(mask_format=mask_format)))
        copy.deepcopy(first), through_pickle(first)
        through_file({})  # of torch 2.14, warns of sparse tensors that were unpickled before
    same(first, second)


@pytest.mark.parametrize("shape", [(3, 5), (7,), (), (0, 4), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float32, torch.bfloat16])
def test_packed_masks_take_a_bit_a_value(shape, dtype):
    mask = torch.randint(0, 2, shape).to(dtype)
    sparsifier = FirstRow()
    sparsifier.add_data("x", torch.ones(shape), mask=mask)
    entries = sparsifier.state_dict(mask_format="packed")["state"]["x"]
    assert entries["mask_bits"].numel() == (mask.numel() + 7) // 8 and entries["mask_shape"] == shape
    bits = [entries["mask_bits"][i // 8].item() >> i % 8 & 1 for i in range(mask.numel())]
    assert bits == mask.flatten().int().tolist()
    loaded = FirstRow()
    loaded.load_state_dict(sparsifier.state_dict(mask_format="packed"))
    assert torch.equal(loaded.get_mask("x"), mask) and loaded.get_mask("x").dtype == dtype


def test_masks_of_other_values_stay_dense():
    sparsifier = FirstRow()
    sparsifier.add_data("x", counting(2, 2), mask=torch.full((2, 2), 0.5))
    assert sparsifier.state_dict(mask_format="packed")["state"]["x"]["mask"].eq(0.5).all()
    with pytest.raises(ValueError, match="mask_format: expected one of 'dense', 'packed', 'torch_ao'"):
        sparsifier.state_dict(mask_format="coo")


@pytest.mark.parametrize("damage", [
    {"mask_bits": torch.zeros(3, dtype=torch.uint8)}, {"mask_bits": torch.zeros(2)}, {"mask_bits": [1]},
    {"mask_shape": (4, -4)}, {"mask_shape": (4, 4.0)}, {"mask_shape": 16}, {"mask_dtype": "F8"},
    {"mask_shape": None}, {"mask_dtype": None}, {"mask_shape": (2**40, 2**40)},
])
def test_packed_masks_that_do_not_fit_together_change_nothing(damage):
    state = stepped().state_dict(mask_format="packed")
    state["state"]["b"].update(damage)
    sparsifier = FirstRow([("x", counting(3, 3))])
    with pytest.raises(RuntimeError, match="Error loading b: mask_(bits|shape|dtype): expected"):
        sparsifier.load_state_dict(state)
    assert list(sparsifier.state) == ["x"]


def test_a_packed_mask_beside_another_is_refused():
    state = stepped().state_dict(mask_format="packed")
    state["state"]["b"]["mask"] = torch.ones(4, 4, dtype=torch.int8)
    with pytest.raises(RuntimeError, match="Error loading b: it has both a packed mask and a 'mask'"):
        FirstRow().load_state_dict(state)


def test_states_of_torch_ao_load():
    upstream = pytest.importorskip("torch.ao.pruning._experimental.data_sparsifier")
    theirs = upstream.DataNormSparsifier(tensors())
    theirs.step()
    theirs.squash_mask(names=["a"])
    ours = DataNormSparsifier()
    ours.load_state_dict(theirs.state_dict())
    same(theirs, ours)
    assert type(ours.data_groups) is dict
    for mask_format in ("dense", "torch_ao"):
        back = upstream.DataNormSparsifier()
        back.load_state_dict(ours.state_dict(mask_format=mask_format))
        same(ours, back)


def test_a_non_strict_load_keeps_entries_that_are_there_completely():
    first = stepped()
    weight = nn.Parameter(counting(2, 2))
    second = FirstRow([("a", weight), ("z", torch.ones(2, 2))])
    second.squash_mask(names=["z"])
    second.load_state_dict(first.state_dict(), strict=False)
    assert list(second.state) == list(second.data_groups) == ["b", "c", "a", "z"]
    assert second.get_data("a") is weight and second.get_mask("a").sum() == 4
    assert not is_parametrized(second._container, "z")
    assert torch.equal(second.get_mask("b"), first.get_mask("b"))
    second.squash_mask(names=["a", "b"])


def without(state, part, name):
    del state[part][name]
    return state


def with_data(state, data):
    state["_container"]["parametrizations.b.original"] = data
    return state


BROKEN = [
    (lambda s: {key: s[key] for key in ("state", "data_groups")}, KeyError, "_container"),
    (lambda s: without(s, "data_groups", "b"), RuntimeError, "Error loading b"),
    (lambda s: without(s, "state", "b"), RuntimeError, "Error loading b"),
    (lambda s: without(s, "_container", "parametrizations.b.original"), RuntimeError, "Error loading b"),
    (lambda s: without(s["state"], "b", "mask") and s, KeyError, "mask"),
    (lambda s: s["state"]["b"].update(mask=torch.ones(2, 2)) or s, AssertionError, "must match"),
    (lambda s: s["state"]["b"].update(mask=[1]) or s, TypeError, "mask of 'b': expected a tensor"),
    (lambda s: with_data(s, torch.ones(4, 4).to_sparse()), AssertionError,
     "Error loading b: specified data type tensor of layout torch.sparse_coo"),
    (lambda s: with_data(s, torch.ones(4, 4).to_sparse_csr()), AssertionError, "b: .* torch.sparse_csr"),
    (lambda s: with_data(s, torch.quantize_per_tensor(torch.ones(4, 4), 1.0, 0, torch.quint8)),
     AssertionError, "Error loading b: .* dtype torch.quint8"),
    (lambda s: with_data(s, [1.0]), RuntimeError, "Error loading b: expected a tensor, found a list"),
]


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("damage, error, message", BROKEN)
def test_a_state_that_does_not_fit_together_changes_nothing(damage, error, message):
    sparsifier = FirstRow([("x", counting(3, 3))])
    state = damage(stepped().state_dict())
    with pytest.raises(error, match=message):
        sparsifier.load_state_dict(state)
    assert list(sparsifier.state) == ["x"] and sparsifier.get_data("x")[0, 0] == 1
    sparsifier.step()


def test_a_state_that_the_sparsifier_cannot_work_on_changes_nothing():
    integers = FirstRow([("x", torch.ones(2, 2, dtype=torch.int64))]).state_dict()
    wrong = stepped(cls=DataNormSparsifier).state_dict()
    wrong["data_groups"]["a"]["sparse_block_shape"] = (0, 1)
    sparsifier = DataNormSparsifier()
    for state in (integers, wrong):
        with pytest.raises(ValueError):
            sparsifier.load_state_dict(state)
    assert not sparsifier.state


@pytest.mark.parametrize("squashed", [True, False])
@pytest.mark.parametrize("masks", [{}, {"mask": torch.eye(4)}])
def test_what_is_saved_after_a_model_changed_its_dtype_can_be_loaded(squashed, masks):
    table = nn.Embedding(4, 4)
    first = DataNormSparsifier()
    first.add_data("x", table, **masks)
    table.half()
    expected = first.get_data("x", return_original=False).half()
    if squashed:
        first.squash_mask()
    second = DataNormSparsifier()
    for state in (first.state_dict(), through_file(first.state_dict())):
        second.load_state_dict(state)
        read = second.get_data("x", return_original=False)
        assert read.dtype == torch.float16 and torch.equal(read, expected)
        assert torch.equal(copy.deepcopy(first).get_data("x", return_original=False), read)


def through_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_non_strict_load_ignores_groups_without_state():
    state = without(stepped().state_dict(), "state", "b")
    sparsifier = FirstRow()
    sparsifier.load_state_dict(state, strict=False)
    assert list(sparsifier.data_groups) == ["a", "c"]
    sparsifier.step()


def test_data_called_as_a_key_of_the_group_loads():
    first = FirstRow([("parametrization", counting(2, 2)), ("mask", counting(2, 2))])
    second = FirstRow()
    second.load_state_dict(first.state_dict())
    same(first, second)


def through_pickle(sparsifier):
    return pickle.loads(pickle.dumps(sparsifier))


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
def test_copies_are_complete(copied):
    first = DataNormSparsifier(parameters(), 0.25, norm="L2")
    first.note = {"of": "a user"}
    first.step()
    first.squash_mask(names=["b"])
    first.enable_mask_update = False
    second = copied(first)
    same(first, second)
    assert (second.norm, second.defaults, second.note) == ("L2", first.defaults, first.note)
    assert second.enable_mask_update is False
    assert isinstance(second.get_data("a"), nn.Parameter) and second.get_data("a").requires_grad
    assert second.get_data("a").data_ptr() != first.get_data("a").data_ptr()
    second.squash_mask(names=["c"])
    second.enable_mask_update = True
    second.add_data("new", counting(4, 4))
    second.data_groups = {"new": second.data_groups["new"]}
    second.step()
    assert second.get_mask("new").sum() == 12


def test_states_of_four_keys_unpickle():
    first = stepped(cls=DataNormSparsifier)
    fields = first.__getstate__()
    assert {"defaults", "state", "data_groups", "_container"} <= set(fields)
    second = DataNormSparsifier.__new__(DataNormSparsifier)
    second.__setstate__({key: fields[key] for key in ("defaults", "state", "data_groups", "_container")})
    assert (second.norm, second.enable_mask_update) == ("L1", True)
    second.step()
    same(first, second)
