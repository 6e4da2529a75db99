"""Small checkpoints in shards, as transformers lays them out; written by safetensors itself."""

import json
import subprocess

import numpy as np
from safetensors.numpy import save_file

from crash import BrokenOff
from tool import run, winnow

INDEX = "model.safetensors.index.json"
COMPANIONS = {"config.json": b'{"model_type": "llama"}\n', "tokenizer.model": bytes(range(256))}


def shard_name(number, count):
    return f"model-{number:05}-of-{count:05}.safetensors"


def make(directory, shards=3, rows=64, seed=0):
    """A folder of so many shards with two matrices and a vector each."""
    directory.mkdir()
    random = np.random.default_rng(seed)
    places, size = {}, 0
    for number in range(1, shards + 1):
        tensors = {}
        for part in ["q", "k"]:
            tensors[f"layers.{number}.{part}.weight"] = random.normal(size=(rows, 96)).astype(np.float32)
        tensors[f"layers.{number}.norm.weight"] = np.ones(96, np.float16)
        save_file(tensors, directory / shard_name(number, shards), metadata={"format": "pt"})
        places.update(dict.fromkeys(tensors, shard_name(number, shards)))
        size += sum(values.nbytes for values in tensors.values())
    index = {"metadata": {"total_parameters": 1, "total_size": size},
             "weight_map": dict(sorted(places.items()))}
    (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    for name, content in COMPANIONS.items():
        (directory / name).write_bytes(content)
    return directory


def content(directory):
    """The files of a folder, by name; None if there is no folder."""
    if not directory.exists():
        return None
    return {path.name: path.read_bytes() for path in directory.iterdir()}


# Whatever changes the disk.
SYSCALLS = ["mkdir", "mkdirat", "openat", "flock", "fallocate", "ftruncate", "write", "pwrite64",
            "fchown", "fchmod", "fsync", "close", "rename", "renameat", "renameat2", "linkat",
            "unlink", "unlinkat", "rmdir"]


class FolderScene(BrokenOff):
    """A folder to prune, to a new one or in place, and what must be true if the run is broken off."""

    syscalls = SYSCALLS

    def __init__(self, directory, in_place, shards=3):
        directory.mkdir()
        self.directory, self.in_place = directory, in_place
        self.model = directory / "model"
        self.output = self.model if in_place else directory / "out"
        make(self.model, shards)
        self.old = content(self.model)
        run(*self.command())
        self.new = content(self.output)
        self.reset()

    def reset(self):
        subprocess.run(["rm", "-rf", self.directory / "model", self.directory / "out",
                        self.directory / ".out.winnow.tmp"], check=True)
        self.model.mkdir()
        for name, data in self.old.items():
            (self.model / name).write_bytes(data)

    def command(self):
        target = ["--in-place"] if self.in_place else ["-o", self.output]
        return ["prune", self.model, "-s", "0.8", "-q", "-j", "2", *target]

    def paths(self):
        """Every path that a run can touch."""
        if self.in_place:
            yield self.model
            for name in [*self.old, ".winnow.journal"]:
                yield self.model / name
                yield self.model / f".{name}.winnow.new"
                yield self.model / f".{name}.winnow.tmp"
                yield self.model / f"..{name}.winnow.new.winnow.tmp"
        else:
            stage = self.directory / ".out.winnow.tmp"
            yield from [self.directory, self.output, stage]
            for name in self.old:
                yield stage / name
                yield stage / f".{name}.winnow.tmp"

    def visible(self):
        """The files that loaders see."""
        files = content(self.output)
        return files and {name: data for name, data in files.items() if ".winnow." not in name}

    def check_whole(self, what):
        """All files are old ones or all are new ones, unless a journal says that it is decided."""
        assert self.in_place or content(self.model) == self.old, what
        if self.in_place and (self.model / ".winnow.journal").exists():
            refused = winnow("inspect", self.model)
            assert refused.returncode == 3 and "again" in refused.stderr, (what, refused.stderr)
            return
        assert self.visible() in [self.old if self.in_place else None, self.new], what

    def check_recovery(self, what):
        """The next run succeeds and leaves what an undisturbed one does, and nothing else."""
        if not self.in_place and self.output.exists():
            assert winnow(*self.command()).returncode == 2, what  # it was done already
        else:
            run(*self.command())
        assert content(self.output) == self.new, what
        expected = {"model", self.output.name}
        assert {path.name for path in self.directory.iterdir()} == expected, what
