"""Safetensors files: prune them, look into them, prove one against another. Torch is not needed.

    report = prune_file("model.safetensors", "model-80.safetensors", sparsity_level=0.8)
    print(f"{report.zeros_after:,} of {report.pruned_values:,} values are 0")
    verify_file("model-80.safetensors", "model.safetensors")

These functions do what `winnow prune`, `inspect` and `verify` do, by the same C++, with the same
defaults. Which values are dropped:

    sparsity_level   share of the blocks that are pruned, 0 to 1 [0.5]
    sparse_block_shape
                     rows and columns of values that are scored, and selected, together [(1, 4)]
    zeros_per_block  how many values are dropped in a selected block [None: all]
    norm             "L1" or "L2": score of a value, |x| or x * x; a block's is their mean ["L1"]
    nm               "N:M" or (N, M): keep the N largest of each M values along a row; sets
                     sparsity_level, sparse_block_shape and zeros_per_block itself and excludes them
    scope            "tensor" or "global": spend the level on each tensor, or once on all ["tensor"]
    nan              "error" or "keep": stop at a NaN, or rank NaN above all numbers ["error"]
    include          patterns: prune only what matches, within the default rule [all that it takes]
    exclude          patterns: never prune what matches; beats include and force
    force            patterns: prune what matches even if the default rule leaves it alone
    levels           {pattern: sparsity_level}: other levels for what matches; the first match wins

A pattern is a shell glob, or a regular expression after "re:"; it matches the whole name, or one that
save_model of safetensors noted in the metadata for a weight tied to the tensor (`aliases`). Tensors
of F32, F64, F16 and BF16 are pruned, all others copied. So are those that the default rule leaves alone:
vectors, scales of quantized weights, masks, tables of positions, ... (docs/selection.md); `skipped` of
their reports says why. Paths are str or os.PathLike.

How it runs:

    threads          how many; never changes a byte of the result [None: all cores]
    max_memory       bytes that the process may take; never changes a byte of the result [None: 512 MiB]
    progress         a bar by tqdm: True, False, or [None] if standard error is a terminal

The GIL is released. Ctrl-C raises KeyboardInterrupt within some 50 ms, with nothing left behind.
Errors are listed in torchwinnow/errors.py.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from . import _arguments, _core
from ._progress import ProgressBar

Path = Union[str, "os.PathLike[str]"]
Block = tuple[int, int]


@dataclass(frozen=True)
class TensorReport:
    """The report on one tensor."""

    name: str
    dtype: str  #: as safetensors names it: "F32", "BF16", ...
    shape: tuple[int, ...]
    values: int  #: number of elements
    bytes: int  #: of data
    skipped: str | None  #: why it was copied as it is; None: it was pruned
    reason: str | None  #: the same in one word that does not change: "excluded", "vector", ...
    sparsity_level: float  #: asked for; this and what follows is 0 if the tensor was skipped
    blocks: int
    selected_blocks: int
    kept_rows: int  #: that would have been dropped whole; weight_norm divides by their norms
    zeros_before: int  #: values that were 0
    zeros_after: int  #: values that are 0
    aliases: tuple[str, ...] = ()  #: its other names, such as those of weights tied to it


@dataclass(frozen=True)
class PruneReport:
    """The report of prune_file. Seconds are those of each stage, by its name, and "total"."""

    src: str
    dst: str | None  #: None after a dry run
    written: str | None  #: `dst`, or if that is a link, the file that it leads to; None likewise
    dry_run: bool
    settings: dict[str, Any]  #: as the file's metadata record them
    tensors: list[TensorReport]  #: in the order of the data in the file
    pruned_tensors: int
    pruned_values: int  #: number of elements of the pruned tensors
    kept_rows: int  #: rows that would have been pruned entirely and were kept
    zeros_before: int  #: zeros in the pruned tensors before
    zeros_after: int  #: zeros in the pruned tensors now
    input_bytes: int  #: size of the file
    output_bytes: int  #: size of the output; after a dry run what it would be, not compressed
    seconds: dict[str, float] = field(repr=False)
    left_alone: int = 0  #: of the tensors not pruned, those that the default rule keeps out
    values: int = 0  #: number of elements of all tensors
    blocks: int = 0  #: in the pruned tensors
    selected_blocks: int = 0  #: of them, those with the lowest scores
    left_out: tuple[str, ...] = ()  #: what lies beside a folder's shards and was not carried to a new one
    left_out_values: int = 0  #: numbers, texts and the like that a safetensors file of an archive cannot hold


@dataclass(frozen=True)
class ValueStats:
    """Figures of a tensor's values. If all are NaN, min, max and mean_abs are 0."""

    zeros: int
    nans: int
    infinities: int
    min: float  #: of the values that are not NaN
    max: float  #: of the values that are not NaN
    mean_abs: float  #: of the finite values


@dataclass(frozen=True)
class InspectedTensor:
    """One tensor of a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: int  #: number of elements
    bytes: int  #: of data
    data_offsets: tuple[int, int]  #: first byte and the one behind the last, in the data
    stats: ValueStats | None  #: if asked for, of F32, F64, F16 and BF16
    aliases: tuple[str, ...] = ()  #: its other names, such as those of weights tied to it
    stored_bytes: int = 0  #: in the file
    encoding: str | None = None  #: how it is compressed, such as "gaps, window"; None: it is not


@dataclass(frozen=True)
class DTypeTotal:
    """Sums over all tensors of one dtype."""

    tensors: int
    values: int
    bytes: int


@dataclass(frozen=True)
class Inspection:
    """The contents of a file, without the values."""

    path: str
    file_bytes: int
    header_bytes: int  #: of the header's text, padding included
    metadata: dict[str, str]
    tensors: list[InspectedTensor]  #: in the order of the header
    dtypes: dict[str, DTypeTotal]
    seconds: dict[str, float] = field(repr=False)
    compressed: bool = False  #: by compress_file, or with compress=True
    opaque: tuple[tuple[str, str], ...] = ()  #: path and class of what a torch archive holds unread
    plain_values: int = 0  #: of a torch archive: numbers, texts and the like


@dataclass(frozen=True)
class VerifyReport:
    """The checks that verify_file made, all of which held."""

    pruned: str
    original: str
    settings: dict[str, Any]  #: those that the check was made with
    tensors: int
    pruned_tensors: int
    left_alone: int  #: of the others, those that the default rule keeps out
    kept_rows: int  #: of the pruned tensors: rows that would have been dropped whole
    values: int  #: of the pruned tensors
    dropped_values: int  #: all +0.0 in the pruned file
    bytes: int  #: of data, compared
    seconds: dict[str, float] = field(repr=False)


def prune_file(
    src: Path,
    dst: Path | None = None,
    *,
    sparsity_level: float | None = None,
    sparse_block_shape: Block | None = None,
    zeros_per_block: int | None = None,
    norm: str = "L1",
    nm: str | tuple[int, int] | None = None,
    scope: str = "tensor",
    nan: str = "error",
    include: str | Iterable[str] | None = (),
    exclude: str | Iterable[str] | None = (),
    force: str | Iterable[str] | None = (),
    levels: Mapping[str, float] | None = None,
    compress: bool = False,
    overwrite: bool = False,
    overwrite_blob: bool = False,
    dry_run: bool = False,
    in_place: bool = False,
    max_memory: int | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> PruneReport:
    """Prunes the safetensors file, index or folder with shards `src` to `dst`.

    Names, order, shapes, metadata and the tensors that are not pruned are carried over byte for byte;
    dropped values become +0.0, and the settings are added to the metadata. `dst` appears under its
    name only when it is whole and on the disk; after any error, what was there before is still there.
    Tensors that do not fit into `max_memory` are read in pieces, three times.

    Args:
        src: the file to prune, or a folder (docs/shards.md).
        dst: where the result goes; may be left out of a dry run. Of a folder: a new folder, or one file
            if it is named .safetensors.
        compress: write a compressed file, as compress_file does.
        overwrite: replace `dst` if it exists; it may be `src` itself.
        overwrite_blob: with `overwrite`, also if the file is named by its hash, as those are that
            the links in Hugging Face's cache lead to. Others share it, and get the new content.
        dry_run: read and compute everything, write nothing.
        in_place: replace `src`, without `dst`: a file, or all shards of a folder or none.
        sparsity_level, sparse_block_shape, zeros_per_block, norm, nm, scope, nan, include, exclude,
            force, levels: which values are dropped; see the module's text (`help(torchwinnow.files)`).
        max_memory, threads, progress: how it runs; see there too.

    Returns:
        What happened to each tensor, and to the file. Warns if no tensor was pruned.

    Raises:
        TypeError, ValueError: for arguments without meaning, before any file is opened.
        UnknownTensorError (a KeyError): for a pattern that matches no tensor.
        ValueError: for a pattern of include or levels all of whose tensors the default rule leaves alone.
        FileExistsError: if `dst` exists, or would replace a file that is named by its hash.
        OSError: FileNotFoundError, PermissionError and others, as the system says.
        WinnowError (a ValueError): for a malformed file, or a NaN.
        MemoryError, KeyboardInterrupt.
    """
    settings = _settings(
        sparsity_level,
        sparse_block_shape,
        zeros_per_block,
        norm,
        nm,
        scope,
        nan,
        include,
        exclude,
        force,
        levels,
    )
    paths = _arguments.output_paths(src, dst, overwrite, overwrite_blob, dry_run, in_place)
    memory, workers = _arguments.max_memory(max_memory), _arguments.threads(threads)
    with ProgressBar(progress) as bar:
        done = _core.prune_file(
            *paths,
            settings,
            bool(compress),
            bool(overwrite),
            bool(overwrite_blob),
            bool(dry_run),
            bool(in_place),
            memory,
            workers,
            bar,
        )
    report = PruneReport(
        src=os.fspath(src),
        dst=_arguments.target(src, dst, dry_run, in_place),
        dry_run=bool(dry_run),
        settings=json.loads(settings.text),
        tensors=[TensorReport(**tensor) for tensor in done.pop("tensors")],
        **done,
    )
    if report.pruned_tensors == 0:
        warnings.warn(f"{report.src}: no tensor was pruned (`skipped` of its tensors says why)", stacklevel=2)
    return report


def inspect_file(
    path: Path, *, stats: bool = False, threads: int | None = None, progress: bool | None = None
) -> Inspection:
    """Lists what a safetensors file holds.

    Args:
        path: the file, index or folder. Only headers are read, unless `stats` is true.
        stats: read the values too: zeros, NaN, infinities, range, mean magnitude.
        threads, progress: see the module's text (`help(torchwinnow.files)`).

    Raises:
        OSError: FileNotFoundError, PermissionError and others, as the system says.
        WinnowError (a ValueError): for a malformed file; its `code` says in which way.
        MemoryError, KeyboardInterrupt.
    """
    workers = _arguments.threads(threads)
    with ProgressBar(progress) as bar:
        found = _core.inspect_file(_arguments.path("path", path), bool(stats), workers, bar)
    tensors = [_inspected(tensor) for tensor in found.pop("tensors")]
    dtypes = {name: DTypeTotal(*total) for name, total in found.pop("dtypes").items()}
    return Inspection(path=os.fspath(path), tensors=tensors, dtypes=dtypes, **found)


def verify_file(
    pruned: Path,
    original: Path,
    *,
    sparsity_level: float | None = None,
    sparse_block_shape: Block | None = None,
    zeros_per_block: int | None = None,
    norm: str | None = None,
    nm: str | tuple[int, int] | None = None,
    scope: str | None = None,
    nan: str | None = None,
    include: str | Iterable[str] | None = (),
    exclude: str | Iterable[str] | None = (),
    force: str | Iterable[str] | None = (),
    levels: Mapping[str, float] | None = None,
    max_memory: int | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> VerifyReport:
    """Checks bit for bit that `pruned` is what prune_file makes of `original`.

    The masks of `original` are computed again with the code that prune_file uses.

    Args:
        pruned, original: the two files.
        sparsity_level, sparse_block_shape, zeros_per_block, norm, nm, scope, nan, include, exclude,
            force, levels: as of prune_file. If none is given, the settings that `pruned` records are used.
        max_memory, threads, progress: see the module's text (`help(torchwinnow.files)`).

    Returns:
        What was compared.

    Raises:
        VerificationError (a WinnowError): for the first difference, naming tensor, index and values.
        ValueError: if `pruned` records no settings and none are given.
        WinnowError (a ValueError): if it records settings of another default rule.
        Otherwise as prune_file.
    """
    given = (sparsity_level, sparse_block_shape, zeros_per_block, norm, nm, scope, nan, levels)
    include, exclude = _arguments.texts("include", include), _arguments.texts("exclude", exclude)
    force = _arguments.texts("force", force)
    settings = None
    if include or exclude or force or any(value is not None for value in given):
        settings = _settings(
            sparsity_level,
            sparse_block_shape,
            zeros_per_block,
            "L1" if norm is None else norm,
            nm,
            "tensor" if scope is None else scope,
            "error" if nan is None else nan,
            include,
            exclude,
            force,
            levels,
        )
    memory, workers = _arguments.max_memory(max_memory), _arguments.threads(threads)
    paths = _arguments.path("pruned", pruned), _arguments.path("original", original)
    with ProgressBar(progress) as bar:
        checked = _core.verify_file(*paths, settings, memory, workers, bar)
    settings_used = json.loads(checked.pop("settings"))
    return VerifyReport(
        pruned=os.fspath(pruned), original=os.fspath(original), settings=settings_used, **checked
    )


def _settings(
    sparsity_level: Any,
    sparse_block_shape: Any,
    zeros_per_block: Any,
    norm: Any,
    nm: Any,
    scope: Any,
    nan: Any,
    include: Any,
    exclude: Any,
    force: Any,
    levels: Any,
) -> _core.Settings:
    """The settings that the arguments ask for, with the tool's defaults where they do not."""
    use_global = _arguments.choice("scope", scope, "tensor", "global")
    if nm is not None:
        own = {
            "sparsity_level": sparsity_level,
            "sparse_block_shape": sparse_block_shape,
            "zeros_per_block": zeros_per_block,
        }
        others = [name for name, value in own.items() if value is not None]
        others += ["levels"] * bool(levels) + ["scope='global'"] * use_global
        if others:
            raise ValueError(
                "nm: it sets sparsity_level, sparse_block_shape and zeros_per_block itself and cannot "
                "be used together with " + others[0]
            )
    return _core.Settings(
        sparsity_level=_arguments.sparsity_level(0.5 if sparsity_level is None else sparsity_level),
        sparse_block_shape=_arguments.sparse_block_shape(
            (1, 4) if sparse_block_shape is None else sparse_block_shape
        ),
        zeros_per_block=_arguments.zeros_per_block(zeros_per_block),
        nm=None if nm is None else _nm(nm),
        l2=_arguments.norm(norm) == "L2",
        global_scope=use_global,
        keep_nan=_arguments.choice("nan", nan, "error", "keep"),
        include=_arguments.texts("include", include),
        exclude=_arguments.texts("exclude", exclude),
        force=_arguments.texts("force", force),
        levels=_levels(levels),
    )


def _nm(value: Any) -> tuple[int, int]:
    if isinstance(value, str):
        parts = value.split(":")
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"nm: expected N:M, found {value!r}")
        value = [int(part) for part in parts]
    n, m = _arguments.pair("nm", value)
    _core.check_nm(n, m)
    return n, m


def _levels(value: Any) -> list[tuple[str, float]]:
    if value is None:
        return []
    if not isinstance(value, Mapping):
        raise TypeError(f"levels: expected a mapping of patterns to numbers, found {value!r}")
    patterns = _arguments.texts("levels", value.keys())
    return [(pattern, _arguments.number("levels", value[pattern])) for pattern in patterns]


def _inspected(tensor: dict[str, Any]) -> InspectedTensor:
    stats = tensor.pop("stats")
    return InspectedTensor(**tensor, stats=None if stats is None else ValueStats(**stats))
