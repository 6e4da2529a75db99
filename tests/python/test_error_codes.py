"""Every error code has one number, one name and one line in the documents."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORMAT_PAGES = ["docs/safetensors.md", "docs/torch_archive.md", "docs/formats.md", "docs/journal.md", "docs/shards.md"]
FIRST_OF_FORMATS = 100


def declared():
    """(identifier, number, name) of every code in the public headers."""
    codes = []
    for header in sorted((ROOT / "include").rglob("*.h")):
        codes += re.findall(r'StatusCode\s+k(\w+)\s*=\s*\{\s*(\d+),\s*"(\w*)"\s*\}', header.read_text())
    return [(identifier, int(number), name) for identifier, number, name in codes]


def documented():
    """(name, number) of every line of the tables of codes."""
    lines = []
    for page in FORMAT_PAGES:
        lines += re.findall(r"^\| ([A-Z]\w+) \| (\d{3}) \|", (ROOT / page).read_text(), re.M)
    return [(name, int(number)) for name, number in lines]


def test_names_are_the_identifiers():
    codes = declared()
    assert len(codes) > 100
    assert [code for code in codes if code[0] != code[2]] == []


def test_numbers_and_names_are_used_once():
    codes = declared()
    assert len({number for _, number, _ in codes}) == len(codes)
    assert len({name for *_, name in codes}) == len(codes)


def test_the_documents_list_the_faults_of_files():
    in_headers = {(name, number) for _, number, name in declared() if number >= FIRST_OF_FORMATS}
    assert set(documented()) == in_headers


def test_python_knows_the_names_that_it_tells_apart():
    from_python = re.findall(r'^    "(\w+)": ', (ROOT / "python/torchwinnow/errors.py").read_text(), re.M)
    assert len(from_python) > 10
    assert set(from_python) <= {name for *_, name in declared()}
