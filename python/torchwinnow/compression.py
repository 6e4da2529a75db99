"""Compressed checkpoints: smaller safetensors files that give every bit back. Torch is not needed.

    report = compress_file("model-80.safetensors", "model-80.small.safetensors")
    print(f"{report.input_bytes:,} bytes are {report.output_bytes:,}")
    decompress_file("model-80.small.safetensors", "model-80.safetensors", overwrite=True)

These functions do what `winnow compress` and `decompress` do, by the same C++. A compressed file lists
the same names. `load_file`, `inspect_file`, `prune_file` and `verify_file` read it as it is; other loaders
find tensors of one dimension more, which fit into no model. Paths, threads and progress are as in
torchwinnow/files.py, errors as in torchwinnow/errors.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from . import _arguments, _core
from ._progress import ProgressBar
from .files import Path


@dataclass(frozen=True)
class CompressedTensor:
    """One tensor, and how it is stored in the compressed file."""

    name: str
    dtype: str  #: as safetensors names it: "F32", "BF16", ...
    shape: tuple[int, ...]
    values: int  #: number of elements
    bytes: int  #: of the values
    stored_bytes: int  #: in the compressed file
    encoding: str | None  #: of its first chunk, such as "gaps, window"; None: stored as it is


@dataclass(frozen=True)
class CompressReport:
    """The report of compress_file and decompress_file."""

    src: str
    dst: str | None  #: None after a dry run
    written: str | None  #: `dst`, or if that is a link, the file that it leads to; None likewise
    dry_run: bool
    tensors: list[CompressedTensor]  #: in the order of the header; none after a dry run of compress_file
    input_bytes: int  #: size of the file
    output_bytes: int  #: size of the output; 0 after a dry run
    seconds: dict[str, float] = field(repr=False)  #: of each stage, by its name, and "total"
    left_out: tuple[str, ...] = ()  #: as of PruneReport
    left_out_values: int = 0  #: as of PruneReport


def compress_file(
    src: Path,
    dst: Path | None = None,
    *,
    include: str | Iterable[str] | None = (),
    exclude: str | Iterable[str] | None = (),
    overwrite: bool = False,
    overwrite_blob: bool = False,
    dry_run: bool = False,
    in_place: bool = False,
    max_memory: int | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> CompressReport:
    """Compresses the safetensors file `src` to `dst` without losing a bit.

    Tensors that do not get at least 1 % smaller are stored as they are; if the file would not get smaller,
    it is copied. `dst` appears under its name only when it is whole and on the disk; after any error, what
    was there before is still there. Fewer threads work if `max_memory` does not hold the buffers of all.

    Args:
        src: the file to compress.
        dst: where the result goes; may be left out of a dry run.
        include: patterns of the tensors that are compressed, as of prune_file [all].
        exclude: patterns of tensors that are stored as they are; beats include.
        overwrite: replace `dst` if it exists; it may be `src` itself.
        overwrite_blob: with `overwrite`, also if the file is named by its hash; see prune_file.
        dry_run: read and check everything, write nothing.
        in_place: replace `src`; see prune_file.
        max_memory, threads, progress: see `help(torchwinnow.files)`.

    Raises:
        TypeError, ValueError: for arguments without meaning, and for a file that is compressed.
        UnknownTensorError (a KeyError): for a pattern that matches no tensor.
        FileExistsError: if `dst` exists, or would replace a file that is named by its hash.
        OSError: FileNotFoundError, PermissionError and others, as the system says.
        WinnowError (a ValueError): for a malformed file; its `code` says in which way.
        MemoryError, KeyboardInterrupt.
    """
    patterns = _arguments.texts("include", include), _arguments.texts("exclude", exclude)
    return _convert(
        _core.compress_file, src, dst, patterns, overwrite, overwrite_blob, dry_run, in_place, max_memory,
        threads, progress
    )


def decompress_file(
    src: Path,
    dst: Path | None = None,
    *,
    overwrite: bool = False,
    overwrite_blob: bool = False,
    dry_run: bool = False,
    in_place: bool = False,
    max_memory: int | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> CompressReport:
    """Writes to `dst` the file that `src` was compressed from, byte for byte.

    Nothing of `src` is trusted: each chunk has a checksum over its bytes and one over its values. A dry
    run checks them all. Otherwise as compress_file.

    Args:
        src: a file that compress_file, prune_file or save_file compressed; any other is copied.
        dst: where the result goes; may be left out of a dry run.
        overwrite, overwrite_blob, dry_run, in_place, max_memory, threads, progress: as of compress_file.

    Raises:
        WinnowError (a ValueError): for a damaged file; its `code` says in which way, such as
            "SparseStoredChecksum".
        Otherwise as compress_file.
    """
    return _convert(
        _core.decompress_file, src, dst, ([], []), overwrite, overwrite_blob, dry_run, in_place, max_memory,
        threads, progress
    )


def _convert(
    call: Callable[..., dict[str, Any]],
    src: Path,
    dst: Path | None,
    patterns: tuple[list[str], list[str]],
    overwrite: bool,
    overwrite_blob: bool,
    dry_run: bool,
    in_place: bool,
    max_memory: int | None,
    threads: int | None,
    progress: bool | None,
) -> CompressReport:
    paths = _arguments.output_paths(src, dst, overwrite, overwrite_blob, dry_run, in_place)
    memory, workers = _arguments.max_memory(max_memory), _arguments.threads(threads)
    flags = bool(overwrite), bool(overwrite_blob), bool(dry_run), bool(in_place)
    with ProgressBar(progress) as bar:
        done = call(*paths, *patterns, *flags, memory, workers, bar)
    return CompressReport(
        src=os.fspath(src),
        dst=_arguments.target(src, dst, dry_run, in_place),
        dry_run=bool(dry_run),
        tensors=[CompressedTensor(**tensor) for tensor in done.pop("tensors")],
        **done,
    )
