"""docs/names.md is the one list of settings: every name in the code stands in it, and none else."""

import inspect
import re
import subprocess
from pathlib import Path

import numpy
import torchwinnow
from safetensors.numpy import save_file
from torchwinnow import data_scheduler, data_sparsifier

ROOT = Path(__file__).resolve().parents[3]
LANGUAGES = ("C++", "Python", "Tool", "Metadata")


def table():
    """The names of each column, without empty places."""
    rows = [line.strip("|").split("|") for line in (ROOT / "docs/names.md").read_text().splitlines()
            if line.startswith("|")]
    names = {title: [] for title in LANGUAGES}
    for row in rows[2:]:
        for title, cell in zip(LANGUAGES, row[1:]):
            names[title] += [cell.strip(" `")] if cell.strip() else []
    return names, [[cell.strip(" `") for cell in row[1:3]] for row in rows[2:]]


def fields_of_options():
    """The fields of C++'s option structs."""
    found = set()
    for header in ("core/data_norm.h", "checkpoint/prune_settings.h", "torch/data_norm_sparsifier.h",
                   "torch/data_scheduler.h", "torch/schedules.h"):
        text = (ROOT / "include/winnow" / header).read_text()
        for body in re.findall(r"^struct (?:\w*Options|DataNormConfig|PruneSettings) \{\n(.*?)^\};", text,
                               re.DOTALL | re.MULTILINE):
            found.update(re.findall(r"^  (?!//|static)[^/\n=]*?(\w+)(?: =|;)", body, re.MULTILINE))
    return found - {"config"}


def parameters(*callables):
    return {name for each in callables for name in inspect.signature(each).parameters}


def test_a_name_is_the_same_in_both_languages():
    for cpp, python in table()[1]:
        constant = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cpp.removeprefix("k")).upper()
        if cpp and python:
            assert python in (cpp, constant)


def test_the_options_of_cpp_stand_in_the_table():
    functions = {"nm_config", "kWholeDimension"}
    assert fields_of_options() | functions == set(table()[0]["C++"])


def test_the_arguments_of_python_stand_in_the_table():
    schedules = [getattr(data_scheduler, name) for name in data_scheduler.__all__]
    found = parameters(data_sparsifier.DataNormSparsifier, torchwinnow.compute_mask, torchwinnow.prune_,
                       torchwinnow.prune_file, torchwinnow.verify_file, *schedules)
    others = {"data_list", "data_sparsifier", "tensor", "src", "dst", "pruned", "original", "overwrite",
              "overwrite_blob", "compress", "dry_run", "in_place", "max_memory", "threads",
              "progress"}
    assert found - others | {"nm_config", "WHOLE_DIMENSION"} == set(table()[0]["Python"])
    assert torchwinnow.nm_config and torchwinnow.WHOLE_DIMENSION == 2**63 - 1


def test_the_tool_and_the_metadata_have_these_names(tmp_path):
    tool = Path(torchwinnow.__file__).parent / "bin/winnow"
    text = subprocess.run([tool, "prune", "--help"], capture_output=True, text=True, check=True).stdout
    for flag in table()[0]["Tool"]:
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", text), flag
    save_file({"a": numpy.ones((4, 4), numpy.float32)}, tmp_path / "in")
    settings = torchwinnow.prune_file(tmp_path / "in", tmp_path / "out").settings
    assert set(settings) - {"rule"} == set(table()[0]["Metadata"])
