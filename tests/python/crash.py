"""Breaks off or spoils a real prune, compress or decompress, and says what must be true afterwards."""

import collections
import os
import re
import resource
import subprocess

import numpy as np

import files
from tool import WINNOW, run

OLD = b"the old file"
# Whatever changes the disk, and what the writer asks before it does.
SYSCALLS = ["openat", "flock", "fallocate", "ftruncate", "write", "pwrite64", "fchown", "fchmod",
            "listxattr", "fsetxattr", "fsync", "fdatasync", "close", "rename", "renameat",
            "renameat2", "link", "linkat", "unlink", "unlinkat"]


class Scene:
    """A directory with a model, and an output that may exist before or be the model itself."""

    def __init__(self, directory, before, name="prune"):
        self.before = before  # "nothing", "file" or "input"
        self.name = name  # of the command
        directory.mkdir()
        self.directory, self.input = directory, directory / "in"
        self.output = self.input if before == "input" else directory / "out"
        weights = np.random.default_rng(3).normal(size=(500, 1000)).astype(np.float32)
        if name != "prune":
            weights[np.abs(weights) < 0.5] = 0
        self.model = files.image({"w": weights, "bias": np.ones(300_000, np.float32)})
        if name == "decompress":
            (directory / "plain").write_bytes(self.model)
            run("compress", directory / "plain", "-o", directory / "small", "-q")
            self.model = (directory / "small").read_bytes()
        self.reset()
        run(*self.command())
        self.new = self.output.read_bytes()
        self.reset()

    def reset(self):
        for path in self.directory.iterdir():
            path.unlink()
        self.input.write_bytes(self.model)
        if self.before == "file":
            self.output.write_bytes(OLD)

    def command(self):
        level = ["-s", "0.8"] if self.name == "prune" else []
        return [self.name, self.input, "-o", self.output, "--overwrite", "-q", *level]

    def old(self):
        return {"nothing": None, "file": OLD, "input": self.model}[self.before]

    def listing(self):
        return sorted(path.name for path in self.directory.iterdir())

    def content(self):
        return self.output.read_bytes() if self.output.exists() else None

    def strace(self, *options):
        """Runs the command under strace, which follows calls on the output's paths only."""
        temporary = self.directory / f".{self.output.name}.winnow.tmp"
        paths = [part for path in [self.directory, self.output, temporary] for part in ["-P", path]]
        command = ["strace", "-f", "-qq", *paths, *options, WINNOW, *self.command()]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)

    def calls(self):
        """How often each of SYSCALLS is made on the output's paths: the points to hit."""
        self.reset()
        done = self.strace("-e", "trace=" + ",".join("?" + name for name in SYSCALLS))
        assert done.returncode == 0, done.stderr
        names = re.findall(r"^(?:\[pid +\d+\] )?(\w+)\(", done.stderr, re.M)
        return collections.Counter(names)

    def inject(self, syscall, fault, nth):
        self.reset()
        return self.strace("-e", f"trace={syscall}", "-e", f"inject={syscall}:{fault}:when={nth}")

    def check_whole(self, what):
        """The output is whole-old or whole-new, and the model is untouched."""
        assert self.content() in [self.old(), self.new], what
        if self.before != "input":
            assert self.input.read_bytes() == self.model, what

    def check_recovery(self, what):
        """The next run succeeds and takes away what a killed one left behind."""
        if self.before == "input":
            self.input.write_bytes(self.model)
        run(*self.command())
        assert self.content() == self.new, what
        assert self.listing() == sorted({"in", self.output.name}), what

    def kill_at(self, syscall, nth):
        what = f"SIGKILL at {syscall} {nth}"
        done = self.inject(syscall, "signal=KILL", nth)
        assert done.returncode in [-9, 137], (what, done.stderr)
        self.check_whole(what)
        self.check_recovery(what)

    def fail_at(self, syscall, nth, errno):
        """A call that fails: exit 4 and the old file, or a result in spite of it; no litter."""
        what = f"{errno} at {syscall} {nth}"
        done = self.inject(syscall, f"error={errno}", nth)
        assert done.returncode in [0, 4], (what, done.stderr)
        self.check_whole(what)
        if done.returncode == 0:
            assert self.content() == self.new, what
        else:
            assert "winnow: " in done.stderr, what
        if not syscall.startswith("unlink"):
            expected = {"in"} if self.content() is None else {"in", self.output.name}
            assert self.listing() == sorted(expected), what
        self.check_recovery(what)
        return done.returncode

    def run_limited(self, bytes_per_file):
        """A file size limit, as a small quota: EFBIG, and SIGXFSZ where that is not ignored."""
        self.reset()
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file,) * 2)
        return subprocess.run([WINNOW, *map(str, self.command())], capture_output=True, text=True,
                              preexec_fn=limit, timeout=60)
