"""Breaks off or spoils a real prune, compress or decompress, and says what must be true afterwards."""

import collections
import os
import random
import re
import resource
import subprocess
import time

import numpy as np

import files
from tool import WINNOW, run

OLD = b"the old file"
# Whatever changes the disk, and what the writer asks before it does.
SYSCALLS = ["openat", "flock", "fallocate", "ftruncate", "write", "pwrite64", "fchown", "fchmod",
            "listxattr", "fsetxattr", "fsync", "fdatasync", "close", "rename", "renameat",
            "renameat2", "link", "linkat", "unlink", "unlinkat"]


class BrokenOff:
    """A command that is broken off or spoilt at its system calls, in turn. Subclasses have `syscalls`, those to
    hit, and say what must be true afterwards."""

    def strace(self, *options):
        """Runs the command under strace, which follows calls on paths() only."""
        paths = [part for path in self.paths() for part in ["-P", path]]
        command = ["strace", "-f", "-qq", *paths, *options, WINNOW, *self.command()]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)

    def calls(self):
        """How often each of `syscalls` is made on these paths: the points to hit."""
        self.reset()
        done = self.strace("-e", "trace=" + ",".join("?" + name for name in self.syscalls))
        assert done.returncode == 0, done.stderr
        names = re.findall(r"^(?:\[pid +\d+\] )?(\w+)\(", done.stderr, re.M)
        return collections.Counter(names)

    def points(self):
        return [(name, nth) for name, count in self.calls().items() for nth in range(1, count + 1)]

    def inject(self, syscall, fault, nth):
        self.reset()
        return self.strace("-e", f"trace={syscall}", "-e", f"inject={syscall}:{fault}:when={nth}")

    def kill_at(self, syscall, nth):
        what = f"SIGKILL at {syscall} {nth}"
        done = self.inject(syscall, "signal=KILL", nth)
        assert done.returncode in [-9, 137], (what, done.stderr)
        self.check_whole(what)
        self.check_recovery(what)

    def fail_at(self, syscall, nth, errno):
        """A call that fails: exit 4, or a result in spite of it."""
        what = f"{errno} at {syscall} {nth}"
        done = self.inject(syscall, f"error={errno}", nth)
        assert done.returncode in [0, 4], (what, done.stderr)
        self.check_whole(what)
        self.check_failed(done, syscall, what)
        self.check_recovery(what)
        return done.returncode

    def check_failed(self, done, syscall, what):
        """What else must be true after a call that failed."""

    def kill_at_random_moments(self, count):
        self.reset()
        start = time.monotonic()
        subprocess.run([WINNOW, *map(str, self.command())], check=True)
        duration = time.monotonic() - start
        seed = random.randrange(1 << 32)
        print("seed", seed)
        moments = random.Random(seed)
        for _ in range(count):
            self.reset()
            process = subprocess.Popen([WINNOW, *map(str, self.command())])
            time.sleep(moments.uniform(0, 1.1 * duration))
            process.kill()
            process.wait()
            self.check_whole("random kill")
            self.check_recovery("random kill")


class Scene(BrokenOff):
    """A directory with a model, and an output that may exist before or be the model itself."""

    syscalls = SYSCALLS

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

    def paths(self):
        return [self.directory, self.output, self.directory / f".{self.output.name}.winnow.tmp"]

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

    def check_failed(self, done, syscall, what):
        """The old file, or the new one in spite of the failure; no litter."""
        if done.returncode == 0:
            assert self.content() == self.new, what
        else:
            assert "winnow: " in done.stderr, what
        if not syscall.startswith("unlink"):
            expected = {"in"} if self.content() is None else {"in", self.output.name}
            assert self.listing() == sorted(expected), what

    def run_limited(self, bytes_per_file):
        """A file size limit, as a small quota: EFBIG, and SIGXFSZ where that is not ignored."""
        self.reset()
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file,) * 2)
        return subprocess.run([WINNOW, *map(str, self.command())], capture_output=True, text=True,
                              preexec_fn=limit, timeout=60)
