"""Compressed files of old stay readable, and the writer's bytes change only if somebody means it.

tests/data/make_compressed.py made the files, and golden.json from the independent decoder.
"""

import hashlib
import json
import re

import pytest

from tool import ROOT, run

GOLDEN = ROOT / "tests" / "data" / "compressed"
FACTS = json.loads((GOLDEN / "golden.json").read_text())
ALL, GAPS, BITMASK = range(3)
PLANES, WINDOW, EXPONENT, DECIMAL = range(4)
FLOATS = {"F16", "BF16", "F32", "F64"}


def chunks(name):
    return {tensor: heads for tensor, heads in FACTS[name]["tensors"].items() if heads != "stored"}


def tensors_where(name, fact):
    """The tensors of a file whose chunks all are so."""
    return {tensor for tensor, heads in chunks(name).items() if all(map(fact, heads))}


def written_zstd(content):
    return re.search(rb'"winnow.zstd":"([^"]*)"', content)[1]


@pytest.mark.parametrize("name", FACTS)
def test_the_file_that_comes_out_is_that_of_the_reference(name, tmp_path):
    out = tmp_path / "out"
    run("decompress", GOLDEN / f"{name}.safetensors", "-o", out)
    assert hashlib.sha256(out.read_bytes()).hexdigest() == FACTS[name]["sha256"]


@pytest.mark.parametrize("name", FACTS)
def test_the_reference_still_reads_it_so(name):
    pytest.importorskip("zstandard")
    import compressed_reference
    file = compressed_reference.open_bytes((GOLDEN / f"{name}.safetensors").read_bytes())
    assert hashlib.sha256(file.decompress()).hexdigest() == FACTS[name]["sha256"]
    assert set(file.tables) == set(chunks(name))


@pytest.mark.parametrize("name", FACTS)
def test_the_same_input_gives_the_same_bytes(name, tmp_path):
    golden = (GOLDEN / f"{name}.safetensors").read_bytes()
    run("decompress", GOLDEN / f"{name}.safetensors", "-o", tmp_path / "in")
    run("compress", tmp_path / "in", "-o", tmp_path / "again")
    again = (tmp_path / "again").read_bytes()
    if written_zstd(again) != written_zstd(golden):
        pytest.skip(f"written with libzstd {written_zstd(again).decode()}")
    assert again == golden


def test_each_encoding_has_its_file():
    floats_of = {
        "gaps": lambda head: head["positions"] == GAPS,
        "bitmask": lambda head: head["positions"] == BITMASK,
        "window": lambda head: head["values"] == WINDOW,
        "exponent": lambda head: (head["positions"], head["values"]) == (ALL, EXPONENT),
        "negative_zeros": lambda head: head["signs"] == 1,
        "rows": lambda head: head["group"] == 37,
        "blocks": lambda head: head["group"] == 4,
    }
    for name, fact in floats_of.items():
        assert FLOATS <= tensors_where(name, fact), name
    assert len(tensors_where("decimal", lambda head: head["values"] == DECIMAL)) == 2
    integers = {"I64", "I32", "U8", "I8", "BOOL", "F8_E4M3", "F8_E5M2"}
    assert integers | {"F64.wide"} <= tensors_where("planes", lambda head: head["values"] == PLANES)
    assert FLOATS | integers <= set(FACTS["stored"]["tensors"]) - set(chunks("stored"))
    assert chunks("stored")["zeros"][0]["kept"] == 0


def test_they_stay_small():
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 200_000
