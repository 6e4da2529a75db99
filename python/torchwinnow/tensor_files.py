"""Tensors from safetensors files and to them, compressed or not.

    tensors = load_file("model-80.small.safetensors")               # {name: tensor}
    rows = load_rows("model-80.small.safetensors", "emb.weight", 1000, 1010)
    save_file(model.state_dict(), "model.small.safetensors", compress=True)

Values come from the file and go there bit for bit. `framework` is "torch" or "numpy"; by default it is
torch if that is installed. NumPy needs ml_dtypes for BF16 and F8. The GIL is released; Ctrl-C raises
KeyboardInterrupt. Paths and threads are as in torchwinnow/files.py, errors as in torchwinnow/errors.py.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Union

from . import _arguments, _core
from .files import Path

if TYPE_CHECKING:
    import numpy
    import torch

    Tensor = Union[torch.Tensor, numpy.ndarray[Any, Any]]


def load_file(
    path: Path,
    names: str | Iterable[str] | None = None,
    *,
    framework: str | None = None,
    threads: int | None = None,
) -> dict[str, Tensor]:
    """Reads tensors of a safetensors file, compressed or not, into new memory.

    Args:
        path: the file.
        names: the names of the tensors to read, exactly [all, in the order of the header].
        framework: "torch" or "numpy" [torch if it is installed].
        threads: how many decode [all cores].

    Returns:
        The tensors by name: contiguous, on the CPU. As in safetensors, names that the metadata record
        for tied weights are not among them.

    Raises:
        UnknownTensorError (a KeyError): for a name that is not there; the message has the nearest.
        ValueError: for a dtype that the framework does not have.
        OSError: FileNotFoundError, PermissionError and others, as the system says.
        WinnowError (a ValueError): for a malformed or damaged file; its `code` says in which way, such as
            "SparseStoredChecksum".
        MemoryError, KeyboardInterrupt.
    """
    home = _home_of(framework)
    workers = _arguments.threads(threads)
    wanted = None if names is None else _arguments.texts("names", names)
    reader = _core.open_checkpoint(_arguments.path("path", path))
    indices = range(len(reader)) if wanted is None else reader.find(wanted)
    described = {index: reader.describe(index) for index in indices}
    layouts = {index: home.layout(*tensor) for index, tensor in described.items()}
    made = {index: home.empty(*layout) for index, layout in layouts.items()}
    reader.read([(index, 0, content) for index, (_, content) in made.items()], workers)
    return {described[index][0]: tensor for index, (tensor, _) in made.items()}


def load_rows(
    path: Path,
    name: str,
    start: int,
    stop: int,
    *,
    framework: str | None = None,
    threads: int | None = None,
) -> Tensor:
    """Reads the rows [start, stop) of one tensor: what `load_file(path)[name][start:stop]` gives.

    Of a compressed file only the chunks that have these rows are decoded, about a million values each.

    Args:
        path: the file.
        name: the tensor's name.
        start, stop: the first row, and the one behind the last, along the first dimension.
        framework, threads: as of load_file.

    Raises:
        IndexError: for rows that are not there.
        ValueError: for a scalar, which has no rows.
        Otherwise as load_file.
    """
    home = _home_of(framework)
    workers = _arguments.threads(threads)
    start, stop = _arguments.whole("start", start), _arguments.whole("stop", stop)
    reader = _core.open_checkpoint(_arguments.path("path", path))
    (index,) = reader.find(_arguments.texts("name", name))
    dtype, shape = home.layout(*reader.describe(index))
    if not shape:
        raise ValueError(f"tensor {name!r}: expected a tensor with rows, found a scalar")
    if not 0 <= start <= stop <= shape[0]:
        raise IndexError(f"tensor {name!r}: expected rows within 0 to {shape[0]}, found {start} to {stop}")
    rows: Tensor
    rows, content = home.empty(dtype, (stop - start, *shape[1:]))
    if start < stop:
        row_bytes = len(content) // (stop - start)
        reader.read([(index, start * row_bytes, content)], workers)
    return rows


def save_file(
    tensors: Mapping[str, Tensor],
    path: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    compress: bool = False,
    overwrite: bool = False,
    overwrite_blob: bool = False,
    threads: int | None = None,
) -> None:
    """Writes tensors of torch and arrays of NumPy to a safetensors file.

    Without `compress`, the file is the one that safetensors writes. `path` appears under its name only
    when it is whole and on the disk; after any error, what was there before is still there. Tensors that
    are not contiguous or not on the CPU are copied. The values may not change meanwhile.

    Args:
        tensors: by name. As in safetensors, those that share memory are refused: pass a clone, or leave
            one out and note its name in the metadata, as `safetensors.torch.save_model` does.
        path: the file.
        metadata: texts by name, kept as they are; transformers wants {"format": "pt"}.
        compress: write a compressed file, as compress_file does.
        overwrite: replace `path` if it exists.
        overwrite_blob: with `overwrite`, also if the file is named by its hash; see prune_file.
        threads: how many compress [all cores].

    Raises:
        TypeError: for anything but tensors and arrays under texts.
        ValueError: for tensors that share memory, are not dense, have no values or no dtype of
            safetensors, and for names that are no Unicode or mean something else in the format.
        FileExistsError: if `path` exists, or would replace a file that is named by its hash.
        OSError: FileNotFoundError, PermissionError and others, as the system says.
        MemoryError, KeyboardInterrupt.
    """
    if not isinstance(tensors, Mapping):
        raise TypeError(f"tensors: expected a mapping of names to tensors, found {tensors!r}")
    if overwrite_blob and not overwrite:
        raise ValueError("overwrite_blob: it needs overwrite=True")
    workers = _arguments.threads(threads)
    output = _arguments.path("path", path)
    entries = list((metadata or {}).items())
    for text in (*tensors, *(text for entry in entries for text in entry)):
        _check_text(text)
    if "__metadata__" in tensors:
        raise ValueError("tensors: '__metadata__' is the name of the metadata in the format")
    homes = {name: _home_of_value(tensor) for name, tensor in tensors.items()}
    _check_apart({name: homes[name].span(_label(name), tensor) for name, tensor in tensors.items()})
    plain = [(name, *homes[name].plain(_label(name), tensor)) for name, tensor in tensors.items()]
    _core.save_tensors(
        output, plain, entries, bool(compress), bool(overwrite), bool(overwrite_blob), workers
    )


def _home_of(framework: str | None) -> Any:
    """The module for tensors of a framework: _tensor_bytes, which imports torch, or _array_bytes."""
    if framework is None:
        framework = "torch" if importlib.util.find_spec("torch") else "numpy"
    if _arguments.choice("framework", framework, "torch", "numpy"):
        from . import _array_bytes

        return _array_bytes
    from . import _tensor_bytes

    return _tensor_bytes


def _home_of_value(value: Any) -> Any:
    # Torch's tensors do not have the attribute. What is neither is refused there by its class.
    is_array = hasattr(value, "__array_interface__") or not importlib.util.find_spec("torch")
    return _home_of("numpy" if is_array else "torch")


def _label(name: str) -> str:
    return f"tensor {name!r}"


def _check_text(text: Any) -> None:
    if not isinstance(text, str):
        raise TypeError(f"expected names and metadata of texts, found {text!r}")
    text.encode()  # UnicodeEncodeError, a ValueError: the format is UTF-8


def _check_apart(spans: Mapping[str, Any]) -> None:
    """ValueError for two tensors whose memory overlaps."""
    used = sorted((device, span, name) for name, found in spans.items() if found for device, span in [found])
    for (device, (_, end), name), (next_device, (begin, _), other) in zip(used, used[1:]):
        if device == next_device and begin < end:
            raise ValueError(
                f"tensors {name!r} and {other!r} share memory: pass a clone of one, or leave it out and "
                f"note in the metadata that it is the other"
            )
