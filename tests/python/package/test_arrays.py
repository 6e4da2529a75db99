"""Arrays of NumPy, and that torch stays out of it."""

import subprocess
import sys

import numpy
import pytest

import reference
import torchwinnow


def arrays(dtype):
    generator = numpy.random.default_rng(1)

    def values(*shape):
        return generator.standard_normal(shape).astype(dtype)

    yield values(13, 22)
    yield values(14, 40)[:, :31]
    yield values(14, 40)[::2, ::-1]
    yield values(19, 14).T
    yield values(3, 4, 6).transpose(2, 0, 1)
    yield values(23)
    yield values(1)[0:1].reshape(())
    yield values(1, 6, 1, 8)
    yield numpy.asfortranarray(values(6, 5))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("zeros, norm", [(None, "L1"), (3, "L2")])
def test_masks_equal_the_reference(dtype, zeros, norm):
    for array in arrays(dtype):
        expected = reference.mask(
            numpy.ascontiguousarray(array).reshape(array.shape),
            level=0.6, block=(2, 3), zeros=zeros, norm=norm.lower(),
        )
        mask = torchwinnow.compute_mask(array, 0.6, (2, 3), zeros, norm)
        assert mask.dtype == numpy.int8 and mask.flags.c_contiguous and mask.shape == array.shape
        assert numpy.array_equal(mask, expected)
        pruned = array.copy(order="K")
        assert torchwinnow.prune_(pruned, 0.6, (2, 3), zeros, norm) is pruned
        assert numpy.array_equal(pruned, numpy.where(expected == 0, 0, array))
        assert not numpy.signbit(pruned[expected == 0]).any()


def test_numbers_of_numpy_are_numbers():
    array = numpy.arange(16, dtype=numpy.float32).reshape(4, 4)
    mask = torchwinnow.compute_mask(
        array, numpy.float32(0.5), numpy.array([1, 4]), numpy.int64(4)
    )
    assert mask.sum() == 8


def test_empty_arrays():
    assert torchwinnow.compute_mask(numpy.empty((0, 4), numpy.float32)).shape == (0, 4)
    torchwinnow.prune_(numpy.empty((4, 0), numpy.float32))


def test_views_share_what_is_pruned():
    base = numpy.arange(1, 33, dtype=numpy.float32).reshape(4, 8)
    torchwinnow.prune_(base[1:3, 2:6], 0.5, (1, 2))
    assert (base == 0).sum() == 4 and (base[1, 2:6] == 0).all()


def test_apply_mask():
    array = numpy.array([[-1, numpy.nan, numpy.inf, 2], [3, -4, 5, 6]], numpy.float32)
    mask = numpy.array([[0, 0, 0, 1], [1, 0, 1, 1]])
    for order in "CF":
        for kind in (numpy.int8, bool, numpy.float64):
            pruned = array.copy(order=order)
            torchwinnow.apply_mask_(pruned, numpy.asarray(mask, kind, order=order))
            assert numpy.array_equal(pruned, numpy.where(mask == 0, 0, array))
            assert not numpy.signbit(pruned[mask == 0]).any()
    one = numpy.full((), -2.0, numpy.float32)
    torchwinnow.apply_mask_(one, numpy.zeros((), numpy.int8))
    assert one == 0


def read_only():
    array = numpy.ones(4, numpy.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "function, arguments, error",
    [
        ("compute_mask", (numpy.ones(4, numpy.int32),), ValueError),
        ("compute_mask", (numpy.ones(4, ">f4"),), ValueError),
        ("compute_mask", (numpy.float32(1),), TypeError),
        ("compute_mask", (numpy.ones(4, numpy.float32), 0.5, (0, 1)), ValueError),
        ("compute_mask", (numpy.ones(4, numpy.float32), float("nan")), ValueError),
        ("prune_", (read_only(),), ValueError),
        ("prune_", (numpy.broadcast_to(numpy.float32(1), (2, 2)),), ValueError),
        ("apply_mask_", (numpy.ones(4, numpy.float32), numpy.ones(3)), ValueError),
        ("apply_mask_", (numpy.ones(4, numpy.float32), [1, 1, 1, 1]), TypeError),
        ("apply_mask_", (read_only(), numpy.ones(4)), ValueError),
    ],
)
def test_errors_are_those_of_python(function, arguments, error):
    with pytest.raises(error) as caught:
        getattr(torchwinnow, function)(*arguments)
    assert type(caught.value) is error


def test_masked_arrays_are_refused_since_their_mask_would_be_ignored():
    array = numpy.ones((2, 4), numpy.float32)
    masked = numpy.ma.masked_array(array, mask=[[1, 0, 0, 0], [0, 0, 0, 0]])
    for call in (torchwinnow.compute_mask, torchwinnow.prune_, lambda x: torchwinnow.apply_mask_(x, array),
                 lambda x: torchwinnow.apply_mask_(array, x)):
        with pytest.raises(TypeError, match=r"found MaskedArray: pass .filled\(0\), or .data"):
            call(masked)
    assert array.all()
    torchwinnow.prune_(masked.data)
    assert not array.all()


def test_a_mask_has_memory_of_its_own():
    array = numpy.ones(4, numpy.float32)
    with pytest.raises(ValueError, match="memory of its own"):
        torchwinnow.apply_mask_(array, array)


WITHOUT_TORCH = """
import sys
import torchwinnow
assert "numpy" not in sys.modules and "tqdm" not in sys.modules, "import torchwinnow is light"
import numpy
path, pruned = sys.argv[1:]
array = numpy.arange(64, dtype=numpy.float32).reshape(8, 8)
assert torchwinnow.compute_mask(array).sum() == 32
torchwinnow.apply_mask_(torchwinnow.prune_(array), numpy.ones((8, 8)))
torchwinnow.prune_file(path, pruned, sparsity_level=numpy.float64(0.5), sparse_block_shape=numpy.array([1, 1]))
torchwinnow.inspect_file(path, stats=True)
torchwinnow.verify_file(pruned, path)
dir(torchwinnow), torchwinnow.__version__
assert "torch" not in sys.modules, "torch was imported"
"""


def test_torch_is_not_imported(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": numpy.ones((4, 4), numpy.float32)}, tmp_path / "a.safetensors")
    arguments = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)], check=True)


def test_without_torch_a_tensor_of_nobody_is_a_type_error():
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import torchwinnow\n"
        "try: torchwinnow.compute_mask([1.0])\n"
        "except TypeError as error: assert 'list' in str(error), error\n"
        "else: raise SystemExit('no error')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
