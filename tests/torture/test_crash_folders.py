"""Every way to break off a prune of a folder, to a new one and in place: kill -9 at every call that
changes the disk and at random moments, and every such call failing."""

import subprocess

import pytest

from folders import FolderScene, content, make
from tool import WINNOW

MOMENTS = 200


@pytest.fixture(scope="module", params=[False, True], ids=["folder", "in_place"])
def scene(request, tmp_path_factory):
    return FolderScene(tmp_path_factory.mktemp("torture") / "d", request.param, shards=5)


def test_kill_at_every_call(scene):
    points = scene.points()
    assert len(points) > 50
    for syscall, nth in points:
        scene.kill_at(syscall, nth)
    print(f"{len(points)} points")


@pytest.mark.parametrize("errno", ["EIO", "ENOSPC"])
def test_every_call_fails_in_turn(scene, errno):
    codes = [scene.fail_at(syscall, nth, errno) for syscall, nth in scene.points()]
    assert codes.count(4) >= 20


def test_kill_at_random_moments(scene):
    scene.kill_at_random_moments(MOMENTS)


@pytest.mark.parametrize("in_place", [False, True], ids=["folder", "in_place"])
def test_a_full_disk(in_place, tmp_path):
    """A tmpfs with room for the model, but not for all of its new shards."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk]).returncode != 0:
        pytest.skip("nothing may be mounted")
    try:
        model = make(disk / "model", shards=5, rows=500)  # 1.9 MB
        before = content(model)
        target = ["--in-place"] if in_place else ["-o", disk / "out"]
        done = subprocess.run([WINNOW, "prune", model, *target], capture_output=True, text=True)
        assert done.returncode == 4 and "No space left on device" in done.stderr
        assert content(model) == before
        assert [path.name for path in disk.iterdir()] == ["model"]
    finally:
        subprocess.run(["umount", disk], check=True)
