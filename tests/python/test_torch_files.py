"""States of data sparsifiers, from C++ to torch.ao and back."""

import subprocess

import numpy
import pytest
import safetensors.torch
import torch
from torch.ao.pruning._experimental.data_sparsifier import DataNormSparsifier

from tool import BUILD

STATE_COPY = BUILD / "tests" / "torch" / "state_copy"


def copy(source, target, mask_format="torch_ao"):
    return subprocess.run([STATE_COPY, source, target, mask_format], check=True,
                          capture_output=True, text=True)


def load(path):
    return torch.load(path, weights_only=True)


def data():
    torch.manual_seed(3)
    return {"users": torch.randn(40, 8), "movies": torch.randn(7, 12), "squashed": torch.randn(6, 4)}


def upstream(tensors):
    sparsifier = DataNormSparsifier()
    for name, tensor in tensors.items():
        sparsifier.add_data(name, tensor.clone())
    sparsifier.step()
    sparsifier.squash_mask(names=[name for name in tensors if name.startswith("squashed")])
    return sparsifier


def plain(state):
    """Without the defaultdicts, which the restricted loader refuses."""
    return {"state": {name: dict(values) for name, values in state["state"].items()},
            "data_groups": {name: dict(group) for name, group in state["data_groups"].items()},
            "_container": state["_container"]}


def same(value, other):
    if isinstance(value, torch.Tensor):
        assert value.layout == other.layout and value.dtype == other.dtype
        if value.layout == torch.sparse_coo:
            assert value.is_coalesced() and other.is_coalesced()
            return (value.shape == other.shape and torch.equal(value.indices(), other.indices())
                    and torch.equal(value.values(), other.values()))
        return torch.equal(value, other)
    if isinstance(value, dict):
        return list(value) == list(other) and all(same(value[key], other[key]) for key in value)
    return value == other and type(value) is type(other)


@pytest.fixture
def cpp_state(tmp_path):
    safetensors.torch.save_file(data(), tmp_path / "data.safetensors")
    copy(tmp_path / "data.safetensors", tmp_path / "cpp.pt")
    return tmp_path / "cpp.pt"


def reorder(state, names):
    """Safetensors files are read in an order of their own."""
    return {"state": {name: state["state"][name] for name in names},
            "data_groups": {name: state["data_groups"][name] for name in names},
            "_container": dict(sorted(state["_container"].items()))}


def test_cpp_writes_what_torch_ao_would(cpp_state):
    expected = plain(upstream(data()).state_dict())
    names = list(expected["state"])
    assert same(reorder(load(cpp_state), names), reorder(expected, names))


def test_torch_ao_loads_what_cpp_wrote(cpp_state):
    expected = upstream(data())
    loaded = DataNormSparsifier()
    loaded.load_state_dict(load(cpp_state))
    for name in data():
        assert torch.equal(loaded.get_mask(name), expected.get_mask(name))
        assert torch.equal(loaded.get_data(name, return_original=False),
                           expected.get_data(name, return_original=False))
        assert loaded.data_groups[name] == expected.data_groups[name]
    with pytest.raises(ValueError, match="mask squashed"):
        loaded.get_data("squashed")


def test_cpp_loads_what_torch_ao_wrote(tmp_path):
    state = plain(upstream(data()).state_dict())
    torch.save(state, tmp_path / "python.pt")
    copy(tmp_path / "python.pt", tmp_path / "cpp.pt")
    assert same(load(tmp_path / "cpp.pt"), {**state, "_container": dict(state["_container"])})


def test_masks_of_the_first_step_and_lists_are_loaded(tmp_path):
    sparsifier = DataNormSparsifier(sparse_block_shape=[1, 4], zeros_per_block=2)
    sparsifier.add_data("users", torch.randn(5, 8), sparsity_level=1)
    torch.save(plain(sparsifier.state_dict()), tmp_path / "python.pt")
    copy(tmp_path / "python.pt", tmp_path / "cpp.pt")
    state = load(tmp_path / "cpp.pt")
    assert state["state"]["users"]["mask"].dtype == torch.float32
    assert state["data_groups"]["users"] == {"sparsity_level": 1, "sparse_block_shape": [1, 4],
                                             "zeros_per_block": 2}


@pytest.mark.parametrize("first, second", [("packed", "torch_ao"), ("torch_ao", "packed")])
def test_round_trips_change_nothing(cpp_state, tmp_path, first, second):
    copy(cpp_state, tmp_path / "a.pt", first)
    copy(tmp_path / "a.pt", tmp_path / "b.pt", second)
    copy(tmp_path / "b.pt", tmp_path / "c.pt")
    assert (tmp_path / "c.pt").read_bytes() == cpp_state.read_bytes()
    torch.save(load(tmp_path / "b.pt"), tmp_path / "python.pt")
    copy(tmp_path / "python.pt", tmp_path / "d.pt")
    assert (tmp_path / "d.pt").read_bytes() == cpp_state.read_bytes()


def test_python_can_unpack_masks(cpp_state, tmp_path):
    copy(cpp_state, tmp_path / "packed.pt", "packed")
    packed, masks = load(tmp_path / "packed.pt")["state"], load(cpp_state)["state"]
    for name, values in packed.items():
        shape = values["mask_shape"]
        bits = numpy.unpackbits(values["mask_bits"].numpy(), bitorder="little")
        mask = bits[:numpy.prod(shape)].reshape(shape)
        assert numpy.array_equal(mask, masks[name]["mask"].to_dense().numpy())


@pytest.mark.parametrize("damage", ["cut", "flip", "missing group", "missing tensor", "mask shape"])
def test_cpp_refuses_damaged_states(cpp_state, tmp_path, damage):
    state, bad = load(cpp_state), tmp_path / "bad.pt"
    content = bytearray(cpp_state.read_bytes())
    if damage == "cut":
        bad.write_bytes(content[:-100])
    elif damage == "flip":
        at = content.index(bytes(data()["users"].numpy().tobytes()))  # in a payload
        content[at] ^= 1
        bad.write_bytes(content)
    else:
        if damage == "missing group":
            del state["data_groups"]["users"]
        elif damage == "missing tensor":
            del state["_container"]["parametrizations.users.original"]
        else:
            state["state"]["users"]["mask"] = torch.ones(2, 2).to_sparse()
        torch.save(state, bad)
    target = tmp_path / "out.pt"
    result = subprocess.run([STATE_COPY, bad, target, "packed"], capture_output=True, text=True)
    assert result.returncode == 1 and not target.exists()
    word = {"cut": "bad.pt", "flip": "data/", "missing group": "Error loading users",
            "missing tensor": "Error loading users", "mask shape": "mask shape"}[damage]
    assert word in result.stderr
