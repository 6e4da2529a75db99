"""A handful of the points that tests/torture hits one by one: kill -9, failing calls, signals."""

import fcntl
import signal
import subprocess
import time

import numpy as np
import pytest

import files
from crash import Scene
from tool import WINNOW, fails, run


@pytest.fixture(scope="module", params=["nothing", "file", "input"])
def scene(request, tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("crash") / "d", request.param)


@pytest.mark.parametrize("syscall, nth", [("fallocate", 1), ("write", 2), ("write", 4),
                                          ("fsync", 1), ("renameat", 1), ("fsync", 2)])
def test_a_killed_run_leaves_a_whole_file(scene, syscall, nth):
    scene.kill_at(syscall, nth)


@pytest.mark.parametrize("syscall, nth, errno", [
    ("fallocate", 1, "ENOSPC"), ("write", 3, "ENOSPC"), ("write", 1, "EIO"), ("fsync", 1, "EIO"),
    ("renameat", 1, "EIO"), ("fsync", 2, "EIO")])
def test_a_failing_call_leaves_a_whole_file(scene, syscall, nth, errno):
    assert scene.fail_at(syscall, nth, errno) == 4


def test_a_file_size_limit_is_an_error_of_the_system(scene):
    done = scene.run_limited(1_000_000)
    assert done.returncode == 4 and "File too large" in done.stderr
    assert scene.content() == scene.old()
    scene.check_recovery("EFBIG")


@pytest.fixture(scope="module", params=[("compress", "file"), ("compress", "input"), ("decompress", "file")],
                ids="-".join)
def sparse_scene(request, tmp_path_factory):
    name, before = request.param
    return Scene(tmp_path_factory.mktemp("crash") / "d", before, name)


def test_a_killed_compress_leaves_a_whole_file(sparse_scene):
    calls = sparse_scene.calls()
    assert ("pwrite64" in calls) == (sparse_scene.name == "compress"), calls  # the header comes last
    points = [("write", 1), ("write", calls["write"]), ("fsync", 1), ("renameat", 1)]
    for syscall, nth in points + [("pwrite64", n + 1) for n in range(calls["pwrite64"])]:
        sparse_scene.kill_at(syscall, nth)


def test_a_failing_compress_leaves_a_whole_file(sparse_scene):
    calls = sparse_scene.calls()
    points = [("write", calls["write"]), ("fsync", 1), ("renameat", 1)]
    for syscall, nth in points + [("pwrite64", n + 1) for n in range(calls["pwrite64"])]:
        assert sparse_scene.fail_at(syscall, nth, "ENOSPC") == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_tool_and_leaves_nothing(number, tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    weights = np.random.default_rng(1).normal(size=(4000, 5000)).astype(np.float32)
    path.write_bytes(files.image({f"w{i}": weights for i in range(3)}))
    process = subprocess.Popen([WINNOW, "prune", path, "-o", out, "-j", "1"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".*")) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -number
    assert errors == "winnow: interrupted\n"
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_the_second_of_two_writers_of_one_output_is_refused(tmp_path):
    path, out, temporary = tmp_path / "in", tmp_path / "out", tmp_path / ".out.winnow.tmp"
    path.write_bytes(files.image({"w": np.ones((4, 4), np.float32)}))
    with open(temporary, "w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        message = fails(4, "prune", path, "-o", out)
        assert message == f"winnow: {out}: another process or thread is writing this file"
        assert sorted(p.name for p in tmp_path.iterdir()) == [temporary.name, "in"]
    run("prune", path, "-o", out)  # what a killed writer left is in nobody's way
    run("verify", out, "--against", path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]
