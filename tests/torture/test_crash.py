"""Every way to break off a prune, compress or decompress: kill -9 at every write-class call and at random moments, every
call failing in turn, full disks. `./dev torture` runs it; it takes minutes and wants root."""

import subprocess

import pytest

import files
from crash import Scene
from tool import WINNOW

MOMENTS = 50


SCENES = [(name, before) for name in ("prune", "compress", "decompress")
          for before in ("nothing", "file", "input")]


@pytest.fixture(scope="module", params=SCENES, ids="-".join)
def scene(request, tmp_path_factory):
    name, before = request.param
    return Scene(tmp_path_factory.mktemp("torture") / "d", before, name)


def points(scene):
    calls = scene.calls()
    # How large a compressed file will be is not known at first; its header is written last.
    special = "pwrite64" if scene.name == "compress" else "fallocate"
    assert {"openat", special, "write", "fsync", "close", "renameat"} <= set(calls), calls
    assert calls["write"] >= 4 and calls["fsync"] == 2, calls
    return [(name, nth) for name, count in calls.items() for nth in range(1, count + 1)]


def test_kill_at_every_call(scene):
    hit = points(scene)
    for syscall, nth in hit:
        scene.kill_at(syscall, nth)
    print(f"{len(hit)} points")


@pytest.mark.parametrize("errno", ["EIO", "ENOSPC", "EDQUOT", "EACCES"])
def test_every_call_fails_in_turn(scene, errno):
    codes = [scene.fail_at(syscall, nth, errno) for syscall, nth in points(scene)]
    assert codes.count(4) >= 9


def test_every_call_is_interrupted(scene):
    """EINTR is no failure wherever the call can be made again."""
    for syscall, nth in points(scene):
        if syscall in ["write", "pwrite64", "fallocate", "fsync"]:
            scene.fail_at(syscall, nth, "EINTR")


def test_kill_at_random_moments(scene):
    scene.kill_at_random_moments(MOMENTS)


@pytest.mark.parametrize("limit", [0, 1, 8, 100, 4096, 1 << 20, 3_000_000])
def test_file_size_limits(scene, limit):
    if limit >= len(scene.new):
        pytest.skip("the output is smaller")
    done = scene.run_limited(limit)
    assert done.returncode == 4 and "File too large" in done.stderr
    scene.check_whole("EFBIG")
    assert scene.content() == scene.old()
    scene.check_recovery("EFBIG")


def test_a_full_disk(tmp_path):
    """2 MB of tmpfs for an output of 3.2 MB; where nothing may be mounted, a size limit has to do."""
    scene = Scene(tmp_path / "d", "nothing")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]).returncode
    if mounted != 0:
        assert scene.run_limited(2 << 20).returncode == 4
        return
    try:
        out = disk / "out"
        out.write_bytes(b"precious")
        done = subprocess.run([WINNOW, "prune", scene.input, "-o", out, "--overwrite"],
                              capture_output=True, text=True)
        assert done.returncode == 4 and "No space left on device" in done.stderr
        assert out.read_bytes() == b"precious"
        assert [p.name for p in disk.iterdir()] == ["out"]
        out.unlink()
        small = disk / "small"
        small.write_bytes(files.image({}))
        subprocess.run([WINNOW, "prune", small, "-o", out, "-q"], check=True)
    finally:
        subprocess.run(["umount", disk], check=True)
