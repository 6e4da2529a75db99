"""Programs without standard streams: windowed ones, daemons, and those that closed or lost theirs."""

import io
import itertools
import subprocess
import sys
import textwrap

import numpy
import pytest
from safetensors.numpy import save_file

import torchwinnow
from torchwinnow._tool import WINNOW


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    values = numpy.random.default_rng(1).standard_normal((64, 64)).astype(numpy.float32)
    save_file({"w": values}, path)
    return path


class NoTerminal:
    """What some programs put in the place of a stream: it can be written to, and no more."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Broken(io.StringIO):
    """A terminal that is gone."""

    def isatty(self):
        return True

    def write(self, _text):
        raise BrokenPipeError(32, "Broken pipe")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def detached():
    stream = io.TextIOWrapper(io.BytesIO())
    stream.detach()
    return stream


@pytest.mark.parametrize("progress", [None, False, True])
@pytest.mark.parametrize(
    "stream", [lambda: None, closed, detached, NoTerminal, Broken],
    ids=["none", "closed", "detached", "no terminal", "broken"],
)
def test_files_are_pruned_whatever_standard_error_is(model, tmp_path, monkeypatch, stream, progress):
    if stream is NoTerminal and progress:
        pytest.skip("tqdm asks for more of a stream that it is to draw on")
    monkeypatch.setattr(sys, "stderr", stream())
    out = tmp_path / "out.safetensors"
    report = torchwinnow.prune_file(model, out, progress=progress)
    assert report.zeros_after == 2048
    torchwinnow.verify_file(out, model, progress=progress)
    torchwinnow.inspect_file(out, stats=True, progress=progress)


def test_a_stream_that_is_no_terminal_gets_no_bar(model, monkeypatch):
    stream = NoTerminal()
    monkeypatch.setattr(sys, "stderr", stream)
    torchwinnow.prune_file(model, dry_run=True)
    assert stream.text == ""


def test_files_are_pruned_without_standard_output(model, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert torchwinnow.prune_file(model, dry_run=True).zeros_after == 2048


CLOSED = [" ".join(flags) for count in range(1, 4)
          for flags in itertools.combinations(["0<&-", "1>&-", "2>&-"], count)]


@pytest.mark.parametrize("flags", CLOSED)
def test_a_program_started_with_closed_descriptors_prunes_the_same(model, tmp_path, flags):
    script = textwrap.dedent("""
        import sys, warnings
        import torchwinnow
        torchwinnow.prune_file(sys.argv[1], sys.argv[2])
        torchwinnow.prune_file(sys.argv[1], sys.argv[3], progress=True)
        warnings.warn("a line for standard error")
        sys.exit(3)
    """)
    outs = [tmp_path / "a", tmp_path / "b"]
    torchwinnow.prune_file(model, tmp_path / "expected")
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {flags}', "sh", sys.executable, "-c", script, model, *outs],
        check=False,
    )
    assert done.returncode == 3
    for out in outs:
        assert out.read_bytes() == (tmp_path / "expected").read_bytes()


@pytest.mark.parametrize("flags", CLOSED)
def test_the_tool_of_the_wheel_prunes_the_same(model, tmp_path, flags):
    torchwinnow.prune_file(model, tmp_path / "expected")
    command = [sys.executable, "-c", "from torchwinnow._tool import main; main()"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {flags}', "sh", *command, "prune", model, "-o", tmp_path / "out"],
        check=False, capture_output=True,
    )
    assert done.returncode == (4 if "1>&-" in flags else 0), done.stderr  # what it reports is lost
    assert (tmp_path / "out").read_bytes() == (tmp_path / "expected").read_bytes()
    assert WINNOW.exists()
