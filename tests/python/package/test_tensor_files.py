"""Tensors from files and to them: bit for bit, in both frameworks, and as safetensors has them."""

import json
import os
import re
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from compressed_files import damage, pruned, write_model

import torchwinnow
from torchwinnow import load_file, load_rows, save_file

NUMPY_TYPES = ("bool", "uint8", "int8", "int16", "uint16", "float16", "int32", "uint32", "float32",
               "complex64", "float64", "int64", "uint64")
TORCH_TYPES = (*NUMPY_TYPES, "bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e8m0fnu",
               "float8_e4m3fnuz", "float8_e5m2fnuz", "float4_e2m1fn_x2")
WITHOUT_NUMPY = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F4": "float4_e2m1fn_x2"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def tensors_of_every_type(types=TORCH_TYPES):
    """All bits at random, so that NaN with payloads and -0.0 are among them; zeros, scalars, nothing."""
    bits = torch.randint(0, 256, (64 * 96,), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    tensors = {}
    for name in types:
        dtype = getattr(torch, name)
        some = bits % 2 if name == "bool" else bits
        tensors[f"{name}.bits"] = some.clone().view(dtype).reshape(64, -1)
        sparse = some * (torch.arange(len(some)) % 64 < 8)
        tensors[f"{name}.sparse"] = sparse.view(dtype).reshape(4, 16, -1)
        tensors[f"{name}.nothing"] = torch.empty((0, 4), dtype=dtype)
        if name != "float4_e2m1fn_x2":
            tensors[f"{name}.scalar"] = some[: dtype.itemsize].clone().view(dtype).reshape(())
    return tensors


def write_zeros(path, dtype, shape, size):
    """A file of one tensor whose zeros take no place on the disk."""
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, 8 + len(header) + size)


def bits_of(tensor):
    if isinstance(tensor, numpy.ndarray):
        return tensor.dtype, tensor.shape, tensor.tobytes()
    plain = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return tensor.dtype, tuple(tensor.shape), plain


def check_equal(found, expected):
    assert list(found) == sorted(found, key=list(found).index) and set(found) == set(expected)
    for name in expected:
        assert bits_of(found[name]) == bits_of(expected[name]), name


@pytest.mark.parametrize("compress", [False, True])
def test_every_dtype_of_torch_comes_back_bit_for_bit(path, compress):
    tensors = tensors_of_every_type()
    save_file(tensors, path, {"format": "pt"}, compress=compress)
    found = load_file(path)
    check_equal(found, tensors)
    assert all(t.is_contiguous() and not t.requires_grad for t in found.values())
    assert torchwinnow.inspect_file(path).compressed == compress
    assert torchwinnow.inspect_file(path).metadata == {"format": "pt"}


@pytest.mark.parametrize("compress", [False, True])
def test_every_dtype_of_numpy_comes_back_bit_for_bit(path, compress):
    tensors = {name: tensor.numpy() for name, tensor in tensors_of_every_type(NUMPY_TYPES).items()}
    save_file(tensors, path, compress=compress)
    found = load_file(path, framework="numpy")
    check_equal(found, tensors)
    assert all(array.flags.c_contiguous and array.flags.writeable for array in found.values())
    check_equal(load_file(path), tensors_of_every_type(NUMPY_TYPES))


def test_a_file_is_the_one_that_safetensors_writes(path, tmp_path):
    tensors = tensors_of_every_type()
    save_file(tensors, path, {"format": "pt"})
    safetensors.torch.save_file(tensors, tmp_path / "theirs", {"format": "pt"})
    assert path.read_bytes() == (tmp_path / "theirs").read_bytes()
    arrays = write_model(tmp_path / "arrays")
    save_file(arrays, path, {"format": "np"}, overwrite=True)
    assert path.read_bytes() == (tmp_path / "arrays").read_bytes()
    save_file({}, path, overwrite=True)
    safetensors.numpy.save_file({}, tmp_path / "theirs")
    assert path.read_bytes() == (tmp_path / "theirs").read_bytes()
    assert load_file(path) == {}


def test_saving_compressed_is_saving_and_then_compressing(path, tmp_path):
    arrays = write_model(tmp_path / "arrays")
    torchwinnow.compress_file(tmp_path / "arrays", tmp_path / "small")
    for threads in (1, 2, 7):
        save_file(arrays, path, {"format": "np"}, compress=True, overwrite=True, threads=threads)
        assert path.read_bytes() == (tmp_path / "small").read_bytes()


def test_special_values_keep_their_bits(path):
    bits = numpy.array([0x80000000, 0x7FC00001, 0xFFC12345, 0x7F800001, 0x7F800000, 1, 0], numpy.uint32)
    tensor = torch.from_numpy(numpy.tile(bits, 1000).view(numpy.float32))
    save_file({"w": tensor}, path, compress=True)
    assert torchwinnow.inspect_file(path).tensors[0].encoding is not None
    assert bits_of(load_file(path)["w"]) == bits_of(tensor)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_named_tensors_alone_are_read(path, compress, framework):
    arrays = write_model(path)
    if compress:
        torchwinnow.compress_file(path, path, overwrite=True)
    everything = load_file(path, framework=framework)
    assert list(everything) == [t.name for t in torchwinnow.inspect_file(path).tensors]
    for threads in (1, 3):
        found = load_file(path, ["scalar", "emb.weight", "scalar"], framework=framework, threads=threads)
        assert list(found) == ["scalar", "emb.weight"]
        assert all(bits_of(found[name]) == bits_of(everything[name]) for name in found)
        assert numpy.array_equal(numpy.asarray(found["emb.weight"]), arrays["emb.weight"])
    assert list(load_file(path, "ids")) == ["ids"]
    assert load_file(path, []) == {}


@pytest.mark.parametrize("compress", [False, True])
def test_rows_are_those_of_the_tensor(path, compress):
    arrays = write_model(path)
    if compress:
        torchwinnow.compress_file(path, path, overwrite=True)
    table = arrays["emb.weight"]
    chunk = 2**20 // 64  # rows
    ranges = [(0, 0), (0, 1), (17, 90), (chunk - 1, chunk + 1), (5, 2 * chunk + 5), (0, 40_000),
              (39_999, 40_000), (40_000, 40_000)]
    for start, stop in ranges:
        for threads in (1, 3):
            rows = load_rows(path, "emb.weight", start, stop, framework="numpy", threads=threads)
            assert bits_of(rows) == bits_of(table[start:stop])
    assert torch.equal(load_rows(path, "ids", 7, 9), torch.tensor([7, 8]))
    assert load_rows(path, "nothing", 1, 3).shape == (2, 0)
    for start, stop in ((-1, 3), (4, 3), (0, 40_001)):
        with pytest.raises(IndexError, match=f"0 to 40000, found {start} to {stop}"):
            load_rows(path, "emb.weight", start, stop)
    with pytest.raises(ValueError, match="scalar"):
        load_rows(path, "scalar", 0, 1)
    with pytest.raises(TypeError, match="start"):
        load_rows(path, "ids", 0.5, 1)
    with pytest.raises(torchwinnow.UnknownTensorError, match="nearest: 'ids'"):
        load_rows(path, "idx", 0, 1)


def test_rows_of_every_dtype(path):
    tensors = {name: t for name, t in tensors_of_every_type().items() if name.endswith("bits")}
    save_file(tensors, path, compress=True)
    for name, tensor in tensors.items():
        assert bits_of(load_rows(path, name, 3, 9)) == bits_of(tensor[3:9])


def test_rows_need_no_other_chunk(path):
    save_file({"emb.weight": pruned((40_000, 64)), "other": pruned((1000, 64))}, path, compress=True)
    expected = load_file(path)
    damage(path, "other")
    damage(path, "emb.weight")  # in the first chunk
    rows = load_rows(path, "emb.weight", 30_000, 30_010)
    assert torch.equal(rows, expected["emb.weight"][30_000:30_010])
    for call in (lambda: load_rows(path, "emb.weight", 0, 1), lambda: load_file(path),
                 lambda: load_file(path, "other")):
        with pytest.raises(torchwinnow.WinnowError) as caught:
            call()
        assert caught.value.code == "SparseStoredChecksum"


def test_a_wrong_name_is_told_the_nearest(path):
    save_file({"emb.weight": numpy.ones(2), "a[0]": numpy.ones(2)}, path, {"tied": "emb.weight"})
    for name, message in (("emb.weigth", "names: .*2 tensors, found 'emb.weigth'; nearest: 'emb.weight'"),
                          ("tied", "found 'tied', which was tied to 'emb.weight'"),
                          ("re:(", "found 're:\\('"), ("", "found ''"), ("a*", "found 'a\\*'")):
        with pytest.raises(torchwinnow.UnknownTensorError, match=message) as caught:
            load_file(path, ["emb.weight", name])
        assert caught.value.code == "UnknownTensor"
    assert list(load_file(path, "a[0]")) == ["a[0]"]
    with pytest.raises(TypeError, match="names"):
        load_file(path, [1])


def test_errors_of_files(path, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_file(tmp_path / "missing")
    with pytest.raises(OSError) as caught:
        load_file(tmp_path)
    assert caught.value.code == "UnsupportedFile"
    with pytest.raises(ValueError, match="embedded null byte"):
        load_file(f"{path}\0x")
    path.write_bytes(b"")
    with pytest.raises(torchwinnow.WinnowError) as caught:
        load_file(path)
    assert caught.value.code == "FileTooShort"
    with pytest.raises(FileNotFoundError):
        save_file({}, tmp_path / "no" / "folder")
    for call in (load_file, lambda path, **options: load_rows(path, "w", 0, 1, **options)):
        with pytest.raises(ValueError, match="framework"):
            call(path, framework="jax")
        with pytest.raises(ValueError, match="threads"):
            call(path, threads=0)


@pytest.mark.parametrize("name", WITHOUT_NUMPY)
def test_numpy_says_what_to_do_about_dtypes_that_it_lacks(path, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    save_file({"w": torch.zeros((2, 2), dtype=getattr(torch, WITHOUT_NUMPY[name])), "x": torch.ones(2)}, path)
    hint = "load with" if name == "F4" else "install a current ml_dtypes, or load with"
    with pytest.raises(ValueError, match=f"'w': NumPy has no dtype for {name}: {hint} framework='torch'"):
        load_file(path, framework="numpy")
    with pytest.raises(ValueError, match="NumPy has no dtype"):
        load_rows(path, "w", 0, 1, framework="numpy")
    assert list(load_file(path, "x", framework="numpy")) == ["x"]


def test_the_dtypes_of_ml_dtypes_come_back(path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    names = ("bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz")
    bits = numpy.arange(512, dtype=numpy.uint8)
    arrays = {name: bits.view(getattr(ml_dtypes, name)).reshape(2, -1) for name in names}
    arrays = {name: array.copy() for name, array in arrays.items()}
    save_file(arrays, path, compress=True)
    check_equal(load_file(path, framework="numpy"), arrays)
    assert bits_of(load_file(path)["bfloat16"])[2] == bits.tobytes()


def test_dtypes_of_no_framework_are_named(path):
    for dtype, shape, message in (("F6_E2M3", [8], "torch has no dtype for F6_E2M3"),
                                  ("F4", [4, 3], "torch packs two values of F4, found shape \\(4, 3\\)")):
        write_zeros(path, dtype, shape, 6)
        with pytest.raises(ValueError, match=f"tensor 'w': {message}"):
            load_file(path)
    for value in (numpy.ones(2, numpy.longdouble), numpy.array(["a"]), torch.ones(2, dtype=torch.complex128)):
        with pytest.raises(ValueError, match="tensor 'x': safetensors has no dtype for"):
            save_file({"x": value}, path, overwrite=True)


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_a_tensor_larger_than_the_memory_is_a_memory_error(path, framework):
    try:
        write_zeros(path, "U8", [2**43], 2**43)
    except OSError:
        pytest.skip("the file system has no files of that size")
    with pytest.raises(MemoryError):
        load_file(path, framework=framework)
    assert bytes(load_rows(path, "w", 2**42, 2**42 + 3, framework=framework)) == bytes(3)


def test_any_layout_is_saved_as_its_values(path):
    base = torch.arange(24.0).reshape(2, 3, 4)
    linear = torch.nn.Linear(3, 2)
    tensors = {
        "transposed": base.transpose(0, 2),
        "strided": torch.arange(20)[::3],
        "expanded": torch.arange(3.0).expand(4, 3),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": linear.weight,
        "conjugate": torch.tensor([1 + 2j, 3 - 1j]).conj(),
        "negative": torch.tensor([1 + 2j, 3 - 1j]).conj().imag,
        "negative_view": torch._neg_view(torch.arange(3.0)),
        "array": numpy.arange(12).reshape(3, 4).T,
        "backwards": numpy.arange(5)[::-1],
        "big_endian": numpy.arange(5, dtype=">i4"),
        "zero_d": numpy.array(3.0).T,
    }
    with torch.inference_mode():
        tensors["inference"] = torch.ones(3)
    constant = numpy.arange(4.0)
    constant.flags.writeable = False
    tensors["read_only"] = constant
    save_file(tensors, path)
    found = load_file(path, framework="numpy")
    for name, tensor in tensors.items():
        value = tensor if isinstance(tensor, numpy.ndarray) else tensor.detach().resolve_conj().resolve_neg().numpy()
        assert found[name].shape == value.shape and numpy.array_equal(found[name], value), name
    assert linear.weight.requires_grad


def test_tensors_that_share_memory_are_refused(path):
    table, flat = torch.ones(4, 4), numpy.ones(8)
    for tensors in ({"a": table, "b": table}, {"a": table, "b": table.T}, {"a": table[1:], "b": table[:2]},
                    {"a": flat, "b": flat[4:]}, {"a": flat, "b": torch.from_numpy(flat)},
                    {"a": table, "c": table[3], "b": table[0]}):
        with pytest.raises(ValueError, match="'[abc]' and '[abc]' share memory"):
            save_file(tensors, path)
    assert not path.exists()
    save_file({"a": table[2:], "b": table[:2], "c": table[:0], "d": table[:0]}, path)
    assert load_file(path)["b"].shape == (2, 4)
    save_file({"a": table, "b": table.clone()}, path, overwrite=True)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_values_that_cannot_be_saved_are_named(path):
    for value, error, message in (
        (torch.ones(2, 2).to_sparse(), ValueError, "'x': expected a dense tensor"),
        (torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.quint8), ValueError, "'x'.*quantized"),
        (torch.empty(2, device="meta"), ValueError, "'x'.*values"),
        ([1.0], TypeError, "'x'.*list"),
        (numpy.ma.masked_array([1.0], [True]), TypeError, "'x'.*mask"),
        (numpy.float32(1), TypeError, "'x'.*float32"),
    ):
        with pytest.raises(error, match=message):
            save_file({"fine": torch.ones(1), "x": value}, path)
    for tensors, metadata, error in (
        ([("x", torch.ones(1))], None, TypeError), ({1: torch.ones(1)}, None, TypeError),
        ({"\udc80": torch.ones(1)}, None, ValueError), ({"__metadata__": torch.ones(1)}, None, ValueError),
        ({}, {"a": 1}, TypeError), ({}, {"a": "\udc80"}, ValueError),
        ({}, {"winnow.compressed": "1"}, ValueError),
    ):
        for compress in (False, True):
            with pytest.raises(error):
                save_file(tensors, path, metadata, compress=compress)
    with pytest.raises(ValueError, match="__winnow_header__"):
        save_file({"__winnow_header__": torch.ones(1)}, path, compress=True)
    assert os.listdir(path.parent) == []


def test_names_and_metadata_are_any_text(path):
    tensors = {name: torch.full((1,), float(i)) for i, name in enumerate(("", "ä\n\0", '"', "a/b", "日本"))}
    metadata = {"tied": "a/b", "": "", "ö": '"\\\n'}
    for compress in (False, True):
        save_file(tensors, path, metadata, compress=compress, overwrite=True)
        check_equal(load_file(path), tensors)
        assert torchwinnow.inspect_file(path).metadata == metadata
    named = {t.name: t for t in torchwinnow.inspect_file(path).tensors}
    assert named["a/b"].aliases == ("tied",)


def test_overwriting_is_asked_for(path):
    save_file({"x": torch.ones(1)}, path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True") as caught:
        save_file({"x": torch.zeros(1)}, path)
    assert caught.value.code == "AlreadyExists" and path.read_bytes() == before
    with pytest.raises(ValueError, match="overwrite_blob: it needs overwrite=True"):
        save_file({}, path, overwrite_blob=True)
    save_file({"x": torch.zeros(1)}, path, overwrite=True)
    assert load_file(path) == {"x": torch.zeros(1)}
    blob = path.with_name("0123456789abcdef" * 4)
    path.rename(blob)
    with pytest.raises(FileExistsError, match="overwrite_blob=True"):
        save_file({}, blob, overwrite=True)
    save_file({}, blob, overwrite=True, overwrite_blob=True)
    assert load_file(blob) == {}


def test_a_model_comes_back_through_a_compressed_file(path):
    model = torch.nn.Sequential(torch.nn.Embedding(100, 16), torch.nn.BatchNorm1d(16))
    torchwinnow.prune_(model[0].weight, 0.9)
    save_file(model.state_dict(), path, {"format": "pt"}, compress=True)
    other = torch.nn.Sequential(torch.nn.Embedding(100, 16), torch.nn.BatchNorm1d(16))
    other.load_state_dict(load_file(path))
    check_equal(other.state_dict(), model.state_dict())


def test_without_torch_the_framework_is_numpy(path):
    save_file({"w": torch.ones(3)}, path)
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy, torchwinnow\n"
        "found = torchwinnow.load_file(sys.argv[1])\n"
        "assert isinstance(found['w'], numpy.ndarray), found\n"
        "assert isinstance(torchwinnow.load_rows(sys.argv[1], 'w', 0, 2), numpy.ndarray)\n"
        "torchwinnow.save_file({'v': found['w']}, sys.argv[1] + '.out', compress=True)\n"
        "try:\n"
        "    torchwinnow.save_file({'v': [1]}, sys.argv[1] + '.no')\n"
        "except TypeError as error:\n"
        "    assert 'list' in str(error)\n"
        "else:\n"
        "    raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def test_numpy_alone_does_not_import_torch(path):
    save_file({"w": numpy.ones(3)}, path)
    script = (
        "import sys, torchwinnow\n"
        "arrays = torchwinnow.load_file(sys.argv[1], framework='numpy')\n"
        "torchwinnow.save_file(arrays, sys.argv[1], overwrite=True)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def test_other_threads_run_while_a_file_is_read(path):
    save_file({"w": pruned((500, 40_000), zeros=0.5)}, path, compress=True)
    stop, ticks = threading.Event(), 0

    def tick():
        nonlocal ticks
        while not stop.is_set():
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    try:
        load_file(path, threads=1)
    finally:
        stop.set()
        thread.join()
    assert ticks >= (time.perf_counter() - start) / 0.05


def test_the_guides_example_runs(tmp_path):
    guide = (Path(__file__).resolve().parents[3] / "docs/python.md").read_text()
    section = guide.split("## Compressed files\n")[1].split("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    save_file({"emb.weight": torch.randn(2000, 64), "bias": torch.zeros(64)}, tmp_path / "model.safetensors")
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, check=True)
