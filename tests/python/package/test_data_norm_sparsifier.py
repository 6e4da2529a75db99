"""DataNormSparsifier: masks against the NumPy reference, settings, and the batched step."""

import copy
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import reference
from sparsifiers import counting, embeddings, parameters, tensors
from torchwinnow.data_sparsifier import WHOLE_DIMENSION, DataNormSparsifier, nm_config


pytestmark = pytest.mark.filterwarnings("ignore:sparsity_level = ")


def random_settings(generator):
    block = tuple(generator.integers(1, 5, 2).tolist())
    return {
        "sparsity_level": float(generator.choice([-0.5, 0, 0.3, 0.5, 0.77, 1, 1.5])),
        "sparse_block_shape": block,
        "zeros_per_block": int(generator.integers(0, block[0] * block[1] + 1)),
    }


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_one_step_makes_all_masks_as_the_reference_does(norm):
    generator = np.random.default_rng(7)
    shapes = [(7, 9), (1,), (5, 1), (1, 1), (12,), (2, 3, 4), (16, 16), (0, 4), ()]
    sparsifier, expected = DataNormSparsifier(norm=norm), {}
    for i, shape in enumerate(shapes * 3):
        settings = random_settings(generator)
        values = np.asarray(np.round(generator.normal(size=shape), 1), dtype=np.float32)
        data = torch.tensor(values)
        sparsifier.add_data(f"d{i}", data, **settings)
        mask = np.ones(shape) if values.size == 0 else reference.mask(
            values, level=settings["sparsity_level"], block=settings["sparse_block_shape"],
            zeros=settings["zeros_per_block"], norm=norm.lower())
        expected[f"d{i}"] = torch.from_numpy(np.asarray(mask)).to(torch.int8)
    objects = {name: sparsifier.get_mask(name) for name in expected}
    for _ in range(2):
        sparsifier.step()
        for name, mask in expected.items():
            assert sparsifier.get_mask(name) is objects[name]
            assert torch.equal(objects[name], mask), name
    sparsifier.squash_mask()


@pytest.mark.parametrize("make", [tensors, parameters, embeddings])
def test_the_share_of_zeros_lies_within_its_bounds(make):
    data = make()
    sparsifier = DataNormSparsifier(data[:-1], 0.5, (1, 4), 4)
    sparsifier.add_data(*data[-1], sparsity_level=0.7, sparse_block_shape=(2, 3), zeros_per_block=6)
    assert all(sparsifier.get_mask(name).mean() == 1 for name, _ in data)
    sparsifier.step()
    for name, group in sparsifier.data_groups.items():
        rows, cols = sparsifier.get_mask(name).shape
        height, width = group["sparse_block_shape"]
        blocks = round(math.ceil(rows / height) * math.ceil(cols / width) * group["sparsity_level"])
        zeros = sparsifier.get_mask(name).eq(0).sum().item()
        assert blocks <= zeros <= blocks * group["zeros_per_block"]


def test_two_of_four():
    sparsifier = DataNormSparsifier([("x", torch.randn(4, 4))], 1.0, (1, 4), 2)
    sparsifier.step()
    assert sparsifier.get_mask("x").sum(1).tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_levels_are_exact_where_blocks_divide_the_data(norm):
    sparsifier = DataNormSparsifier(norm=norm)
    cases = {}
    for level, block, zeros in itertools.product([-1.0, 0.0, 0.5, 1.0, 2.0],
                                                 [(1, 1), (1, 4), (2, 2), (4, 1)], range(5)):
        if zeros <= block[0] * block[1]:
            name = f"x{len(cases)}"
            cases[name] = min(max(level, 0), 1) * zeros / (block[0] * block[1])
            sparsifier.add_data(name, torch.randn(4, 4), sparsity_level=level,
                                sparse_block_shape=block, zeros_per_block=zeros)
    sparsifier.step()
    sparsifier.squash_mask()
    for name, share in cases.items():
        zeros = sparsifier.get_data(name, return_original=False).eq(0).float().mean().item()
        assert zeros == share, (name, share)


def test_some_values_survive_a_hundred_replacements():
    sparsifier = DataNormSparsifier(sparsity_level=0.5)
    for i in range(100):
        if i > 0:
            sparsifier.remove_data("x")
        sparsifier.add_data("x", torch.randn(20, 20))
        sparsifier.step()
        assert sparsifier.get_mask("x").float().mean() == 0.5


def test_settings_are_checked_when_they_are_set():
    for wrong, error in [({"sparsity_level": math.nan}, ValueError), ({"sparsity_level": "1"}, TypeError),
                         ({"sparsity_level": math.inf}, ValueError), ({"sparsity_level": None}, TypeError),
                         ({"sparse_block_shape": (0, 2)}, ValueError), ({"sparse_block_shape": 4}, TypeError),
                         ({"sparse_block_shape": (1, 2, 3)}, ValueError),
                         ({"sparse_block_shape": (1.0, 2)}, TypeError),
                         ({"zeros_per_block": -1}, ValueError), ({"zeros_per_block": 1.5}, TypeError)]:
        with pytest.raises(error, match=next(iter(wrong))):
            DataNormSparsifier(**wrong)
        sparsifier = DataNormSparsifier()
        with pytest.raises(error, match=next(iter(wrong))):
            sparsifier.add_data("x", counting(4, 4), **wrong)
        assert not sparsifier.state
    with pytest.raises(TypeError, match="sparsity_level: expected a number, found the string '0.5'"):
        DataNormSparsifier(sparsity_level="0.5")
    with pytest.raises(AssertionError, match="norm: expected 'L1' or 'L2', found 'L3'"):
        DataNormSparsifier(norm="L3")
    with pytest.raises(TypeError):
        DataNormSparsifier(sparsity=0.5)


def test_zeros_per_block_is_inherited_as_a_number_and_none_is_the_whole_block():
    assert DataNormSparsifier(sparse_block_shape=(2, 3)).defaults["zeros_per_block"] == 6
    sparsifier = DataNormSparsifier(sparsity_level=1.0)
    sparsifier.add_data("half", counting(2, 4), sparse_block_shape=(2, 4))
    sparsifier.add_data("whole", counting(2, 4), sparse_block_shape=(2, 4), zeros_per_block=None)
    sparsifier.step()
    assert sparsifier.get_mask("half").sum() == 4 and sparsifier.get_mask("whole").sum() == 0
    with pytest.raises(ValueError, match="'one': zeros_per_block: expected at most 1, .* of 1x1, found 4"):
        sparsifier.add_data("one", counting(2, 4), sparse_block_shape=(1, 1))
    assert "one" not in sparsifier.state
    with pytest.raises(ValueError, match="zeros_per_block: expected at most 4, .* of 1x4, found 5"):
        DataNormSparsifier(sparse_block_shape=(1, 4), zeros_per_block=5)
    sparsifier.data_groups["half"]["sparse_block_shape"] = (1, 1)
    with pytest.raises(ValueError, match="'half': zeros_per_block: expected at most 1"):
        sparsifier.step()


@pytest.mark.parametrize("level, text", [
    (90, "drops everything: it is a share from 0 to 1; write 0.9 for 90 %"),
    (1.5, "drops everything: .*; write 0.015 for 1.5 %"),
    (1000, "sparsity_level = 1000 drops everything: it is a share from 0 to 1$"),
    (-0.5, "sparsity_level = -0.5 drops nothing"),
])
def test_levels_outside_of_0_to_1_are_warned_of_once(level, text):
    sparsifier = DataNormSparsifier()
    with pytest.warns(UserWarning, match=text):
        sparsifier.add_data("x", counting(4, 4), sparsity_level=level)
    with pytest.warns(UserWarning, match=text):
        DataNormSparsifier(sparsity_level=level)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sparsifier.add_data("y", counting(4, 4), sparsity_level=level)
        DataNormSparsifier([("x", counting(4, 4))], sparsity_level=1)
        sparsifier.step()
    assert sparsifier.get_mask("x").sum() == (0 if level > 1 else 16)


def test_an_error_of_the_step_names_the_data():
    weight = counting(4, 4)
    sparsifier = DataNormSparsifier([("good", counting(4, 4)), ("bad", weight)])
    for values in (torch.ones(4, 4, dtype=torch.int64), torch.ones(4, 4).to(torch.float8_e4m3fn)):
        weight.data = values
        with pytest.raises(ValueError, match="^data of 'bad': expected dtype float32"):
            sparsifier.step()
    weight.data = torch.ones(4, 3)
    with pytest.raises(ValueError, match="mask of 'bad': expected the data's shape"):
        sparsifier.step()
    assert sparsifier.get_mask("good").eq(1).all()


def test_a_failing_step_leaves_every_mask():
    sparsifier = DataNormSparsifier([("x", counting(4, 4)), ("y", counting(4, 4))])
    sparsifier.data_groups["y"]["sparsity_level"] = math.nan
    with pytest.raises(ValueError, match="'y'"):
        sparsifier.step()
    assert sparsifier.get_mask("x").dtype == torch.float32 and sparsifier.get_mask("x").eq(1).all()


def test_misspelt_names_are_kept_and_warned_of():
    sparsifier = DataNormSparsifier()
    with pytest.warns(UserWarning, match="did you mean 'sparsity_level'"):
        sparsifier.add_data("x", counting(4, 4), sparsity_lvel=0.9)
    assert sparsifier.data_groups["x"]["sparsity_lvel"] == 0.9
    sparsifier.step()
    with pytest.warns(UserWarning, match="argument of the constructor"):
        sparsifier.add_data("y", counting(4, 4), norm="L2")
    with pytest.warns(UserWarning, match="'block' is no value .* has no effect"):
        sparsifier.add_data("z", counting(4, 4), block=(1, 1))


def test_a_tensor_is_no_data_list():
    with pytest.raises(ValueError):  # torch.ao's, of a row that is no pair
        DataNormSparsifier(torch.ones(4, 4))


NO_NORM = ["int64", "int8", "uint8", "uint16", "bool", "complex64", "float8_e4m3fn", "float8_e5m2",
           "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2", "bits8"]


@pytest.mark.parametrize("name", NO_NORM)
def test_data_without_a_norm_are_refused(name):
    data = torch.zeros(4, 32, dtype=torch.uint8).view(getattr(torch, name))
    sparsifier = DataNormSparsifier([("good", counting(4, 4))])
    text = f"'x' have dtype torch.{name}, .* one of float32, float64, float16, bfloat16"
    with pytest.raises(ValueError, match=text):
        sparsifier.add_data("x", data)
    assert list(sparsifier.state) == ["good"]
    sparsifier.step()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_types_keep_theirs(dtype):
    sparsifier = DataNormSparsifier([("x", counting(4, 4).to(dtype))])
    sparsifier.step()
    assert sparsifier.get_data("x", return_original=False).dtype == dtype
    assert sparsifier.get_mask("x").sum() == 8


def test_strides_do_not_matter():
    base = torch.randn(12, 10)
    for data in (base.t(), base[:, ::2], base[3:9, 1:7], base[:1].expand(5, 10)):
        sparsifier = DataNormSparsifier([("x", data), ("y", data.contiguous())])
        sparsifier.step()
        assert torch.equal(sparsifier.get_mask("x"), sparsifier.get_mask("y"))
        assert sparsifier.get_mask("x").is_contiguous()


def test_update_mask_works_alone():
    sparsifier = DataNormSparsifier([("x", counting(4, 4)), ("y", counting(4, 4))])
    sparsifier.update_mask("x", -counting(4, 4), 0.25, (1, 4), None, extra=1)
    assert sparsifier.get_mask("x").sum(1).tolist() == [0, 4, 4, 4]
    assert sparsifier.get_mask("y").dtype == torch.float32


def test_an_overridden_update_mask_is_asked_for_each_name():
    class Rising(DataNormSparsifier):
        def update_mask(self, name, data, **config):
            config["sparsity_level"] = {"x": 0.25, "y": 0.75}[name]
            super().update_mask(name, data, **config)

    sparsifier = Rising([("x", counting(4, 4)), ("y", counting(4, 4))])
    sparsifier.step()
    assert [int(sparsifier.get_mask(name).sum()) for name in "xy"] == [12, 4]
    plain = DataNormSparsifier([("x", counting(4, 4))])
    plain.update_mask = lambda name, data, **config: plain.get_mask(name).zero_()
    plain.step()
    assert plain.get_mask("x").sum() == 0


def test_changes_of_groups_and_data_are_seen_by_the_next_step():
    weight = counting(4, 4)
    sparsifier = DataNormSparsifier([("x", weight)])
    sparsifier.step()
    sparsifier.data_groups["x"].update(sparsity_level=0.25, sparse_block_shape=[4, 1])
    weight.data = -counting(4, 4).flip(1)
    sparsifier.step()
    assert sparsifier.get_mask("x")[0].tolist() == [1, 1, 1, 0]
    sparsifier._container.double()  # other tensor objects
    sparsifier.step()
    assert sparsifier.get_mask("x")[0].tolist() == [1, 1, 1, 0]


def test_a_backward_pass_does_not_read_a_later_mask():
    sparsifier = DataNormSparsifier([("x", nn.Parameter(torch.randn(4, 4)))])
    for _ in range(2):  # the first step turns the mask into int8
        loss = sparsifier.get_data("x", return_original=False).sum()
        sparsifier.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_an_empty_sparsifier_steps():
    DataNormSparsifier().step()


def test_whole_rows_by_a_block_wider_than_the_data():
    sparsifier = DataNormSparsifier([("x", counting(4, 5))], 0.5, (1, 2**62))
    sparsifier.step()
    assert sparsifier.get_mask("x").sum(1).tolist() == [0, 0, 5, 5]


def test_whole_rows_and_columns_whatever_the_size():
    data = torch.tensor([[1.0, 1, 9], [2, 2, 2]])
    sparsifier = DataNormSparsifier([("x", data)], 0.5, (1, WHOLE_DIMENSION))
    sparsifier.add_data("y", data, sparse_block_shape=(WHOLE_DIMENSION, 1))
    assert DataNormSparsifier(None, 0.5, (2, WHOLE_DIMENSION)).defaults["zeros_per_block"] == 2**63 - 1
    sparsifier.step()
    assert sparsifier.get_mask("x").tolist() == [[1, 1, 1], [0, 0, 0]]
    assert sparsifier.get_mask("y").tolist() == [[0, 0, 1], [0, 0, 1]]  # 1.5 of 3 is 2, half to even


def test_n_of_m_are_kept():
    data = torch.tensor([[4.0, -3, 2, 1, 0.5, -9]])
    sparsifier = DataNormSparsifier([("x", data)], **nm_config(2, 4))
    sparsifier.add_data("y", data, **nm_config(1, 2))
    sparsifier.step()
    assert sparsifier.get_mask("x").tolist() == [[1, 1, 0, 0, 0, 0]]
    assert sparsifier.get_mask("y").tolist() == [[1, 0, 1, 0, 0, 1]]
    for n, m in [(3, 2), (-1, 4), (0, 0)]:
        with pytest.raises(ValueError, match=f"nm: expected N:M .* found {n}:{m}"):
            nm_config(n, m)
    with pytest.raises(TypeError, match="nm: expected an integer"):
        nm_config(2.0, 4)


def test_a_global_scope_spends_one_budget():
    generator = torch.Generator().manual_seed(8)
    data = {"a": torch.randn(7, 9, generator=generator), "b": 2 * torch.randn(5, 6, generator=generator).t()}
    sparsifier = DataNormSparsifier(data.items(), 0.6, (2, 2), scope="global")
    objects = [sparsifier.get_mask(name) for name in data]
    for _ in range(2):
        sparsifier.step()
        expected = reference.masks(
            [each.contiguous().numpy() for each in data.values()], 0.6, (2, 2))
        for (name, wanted), mask in zip(zip(data, expected), objects):
            assert sparsifier.get_mask(name) is mask
            assert torch.equal(mask, torch.from_numpy(wanted).to(torch.int8))
        data["b"].mul_(-0.1)
    sparsifier.data_groups["b"]["sparsity_level"] = 0.25
    with pytest.raises(ValueError, match="one budget, but the settings of 'a' and 'b' differ"):
        sparsifier.step()
    assert copy.deepcopy(sparsifier).scope == "global"
    DataNormSparsifier(scope="global").step()
    with pytest.raises(ValueError, match="scope: expected 'tensor' or 'global', found 'all'"):
        DataNormSparsifier(scope="all")


def test_a_global_scope_does_not_ask_update_mask():
    class Refusing(DataNormSparsifier):
        def update_mask(self, *args, **kwargs):
            raise RuntimeError

    sparsifier = Refusing([("x", counting(4, 4))], scope="global")
    sparsifier.step()
    assert sparsifier.get_mask("x").sum() == 8


def test_misspelt_names_are_those_that_cpp_takes_for_it():
    sparsifier = DataNormSparsifier()
    with pytest.warns(UserWarning, match="did you mean 'zeros_per_block'"):
        sparsifier.add_data("x", counting(4, 4), zeroes_per_blocks=1)
    with pytest.warns(UserWarning, match="'sparsity' is no value"):
        sparsifier.add_data("y", counting(4, 4), sparsity=1)


def zeros_and_more():
    almost = torch.zeros(64, 64)
    almost[3, 5] = 1
    return {
        "zeros": torch.zeros(8, 16), "conv": torch.zeros(4, 4, 1, 1), "ones": torch.full((300, 300), 0.5),
        "almost": almost, "random": torch.randn(8, 8), "one": torch.zeros(1), "vector": torch.ones(64),
        "none": torch.zeros(0, 4),
    }


def test_data_whose_values_are_all_equal_are_warned_of_once():
    data = zeros_and_more()
    sparsifier = DataNormSparsifier(data.items(), sparsity_level=0)
    for level in (0, 1):  # which leave no choice
        for group in sparsifier.data_groups.values():
            group["sparsity_level"] = level
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sparsifier.step()
    for group in sparsifier.data_groups.values():
        group["sparsity_level"] = 0.5
    with pytest.warns(UserWarning, match="all values are equal in 'zeros', 'conv', 'ones', so") as caught:
        sparsifier.step()
        sparsifier.step()
        copy.deepcopy(sparsifier).step()
    assert len(caught) == 1 and caught[0].filename == __file__
