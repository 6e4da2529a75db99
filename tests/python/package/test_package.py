"""The wheel as it is installed: what it brings along, what it asks for, and what help() says."""

import importlib.metadata
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

import torchwinnow

PACKAGE = Path(torchwinnow.__file__).parent
TOOL = Path(sys.executable).parent / "winnow"


def test_it_is_the_installed_package_that_is_tested():
    assert PACKAGE.is_relative_to(sys.prefix)


def test_the_version_is_that_of_the_library():
    header = Path(__file__).resolve().parents[3] / "include/winnow/base/version.h"
    assert f'"{torchwinnow.__version__}"' in header.read_text()
    assert importlib.metadata.version("torchwinnow") == torchwinnow.__version__


def test_the_tool_is_installed(tmp_path):
    for command in ([TOOL], [sys.executable, "-m", "torchwinnow"]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"winnow {torchwinnow.__version__}\n"
        assert subprocess.run([*command, "nonsense"], capture_output=True).returncode == 2


def test_every_library_is_the_wheels_own_or_the_systems():
    """oneTBB, Highway and libdeflate come with the wheel; the rest is glibc's, libstdc++ and torch's."""
    own = {path.name for path in (PACKAGE / "lib").iterdir()}
    assert any(name.startswith("libtbb") for name in own) and {"libhwy.so.1", "libdeflate.so.0"} <= own
    system = ("linux-vdso", "libc.so", "libm.so", "libstdc++", "libgcc_s", "/lib64/ld-linux", "libdl",
              "libpthread", "librt")
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    for binary in [PACKAGE / "bin/winnow", *PACKAGE.glob("_core*.so"), *PACKAGE.glob("_torch*.so")]:
        listed = subprocess.run(
            ["ldd", binary], capture_output=True, text=True, check=True, env=environment
        ).stdout
        for line in listed.splitlines():
            name, _, place = line.strip().partition(" => ")
            if name in own:
                assert str(PACKAGE / "lib") in os.path.realpath(place.split(" (")[0]), line
            elif binary.name != "_torch_ops.so":  # which is loaded after torch, beside its libraries
                assert name.startswith(system), line


def test_it_asks_for_numpy_and_tqdm_alone():
    needed = importlib.metadata.requires("torchwinnow")
    plain = {need.split(">")[0] for need in needed if "extra ==" not in need}
    assert plain == {"numpy", "tqdm"}
    extras = set(importlib.metadata.metadata("torchwinnow").get_all("Provides-Extra"))
    assert extras == {"torch", "lightning", "dev"}


def test_it_is_typed():
    assert (PACKAGE / "py.typed").exists()
    assert "def prune_file" in (PACKAGE / "_core.pyi").read_text()


@pytest.mark.parametrize("name", torchwinnow.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(torchwinnow, name)
    assert name in dir(torchwinnow)
    if name != "__version__":
        assert len(inspect.getdoc(value)) > 15


def test_functions_document_every_argument_and_error():
    for name in ("prune_file", "inspect_file", "verify_file", "compress_file", "decompress_file",
                 "load_file", "load_rows", "save_file", "compute_mask", "prune_", "apply_mask_",
                 "left_alone", "default_filter"):
        function = getattr(torchwinnow, name)
        text = inspect.getdoc(function)
        assert "Raises:" in text
        for argument in inspect.signature(function).parameters:
            assert argument in text, (name, argument)


def test_the_readmes_example_runs(tmp_path):
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    example = readme.split("```python\n")[1].split("```")[0]
    numbers = numpy.random.default_rng(0).standard_normal((30, 40)).astype(numpy.float32)
    save_file({"word_embeddings": numbers}, tmp_path / "model.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("960 of 1,200 values are 0\nword_embeddings (30, 40) ")


def test_names_that_are_not_there_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'prune'"):
        torchwinnow.prune
