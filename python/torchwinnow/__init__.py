"""torchwinnow prunes tensors and files: it sets their least important values to zero, exactly.

Files, without torch:

    prune_file(src, dst, sparsity_level=0.8)      prunes a safetensors file into another
    inspect_file(path)                            lists the content of a file
    verify_file(pruned, original)                 checks the result of prune_file
    compress_file(src, dst)                       makes it smaller without losing a bit
    decompress_file(src, dst)                     gives it back, byte for byte
    left_alone(model)                             what is not pruned by default, and why

Tensors of torch and arrays of NumPy:

    load_file(path), load_rows(path, name, 0, 9)  from a file, compressed or not
    save_file(tensors, path, compress=True)       to a file
    compute_mask(tensor, sparsity_level=0.8)      int8, 1 = kept
    prune_(tensor, sparsity_level=0.8)            in place
    apply_mask_(tensor, mask)                     in place

Data sparsifiers, which replace those of torch.ao.pruning (docs/python.md):

    DataNormSparsifier, BaseDataSparsifier        hold named tensors and compute their masks
    CubicDataScheduler, BaseDataScheduler, ...    change a value of the configurations by epoch
    hold_masks(sparsifier, optimizers)            keeps zeros while an optimizer trains
    post_training_sparse_quantize                 prunes embeddings and quantizes them to int8
    lightning                                     callbacks for Lightning (import it separately)

`import torchwinnow` imports neither torch nor NumPy; functions import them when they need them.
`python -m torchwinnow`, or `winnow`, is the command-line tool.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # which computes nothing: "as" says there that a name is public
    __version__: str
    from .compression import CompressedTensor as CompressedTensor
    from .compression import CompressReport as CompressReport
    from .compression import compress_file as compress_file
    from .compression import decompress_file as decompress_file
    from .data_scheduler import *
    from .data_sparsifier import *
    from .data_sparsifier.quantization_utils import *
    from .errors import UnknownTensorError as UnknownTensorError
    from .errors import VerificationError as VerificationError
    from .errors import WinnowError as WinnowError
    from .files import DTypeTotal as DTypeTotal
    from .files import Inspection as Inspection
    from .files import InspectedTensor as InspectedTensor
    from .files import PruneReport as PruneReport
    from .files import TensorReport as TensorReport
    from .files import ValueStats as ValueStats
    from .files import VerifyReport as VerifyReport
    from .files import inspect_file as inspect_file
    from .files import prune_file as prune_file
    from .files import verify_file as verify_file
    from .holding import hold_masks as hold_masks
    from .selection import default_filter as default_filter
    from .selection import left_alone as left_alone
    from .tensor_files import load_file as load_file
    from .tensor_files import load_rows as load_rows
    from .tensor_files import save_file as save_file
    from .tensors import apply_mask_ as apply_mask_
    from .tensors import compute_mask as compute_mask
    from .tensors import prune_ as prune_

# The module of each public name. A name is imported on first use, so that `import torchwinnow` is fast
# and works without torch.
_HOMES = {
    "_core": ("__version__",),
    "compression": ("CompressReport", "CompressedTensor", "compress_file", "decompress_file"),
    "data_scheduler": (
        "BaseDataScheduler",
        "CubicDataScheduler",
        "FormulaDataScheduler",
        "LambdaDataScheduler",
        "LinearDataScheduler",
        "StepDataScheduler",
    ),
    "data_sparsifier": ("BaseDataSparsifier", "DataNormSparsifier", "FakeSparsity"),
    "data_sparsifier.quantization_utils": ("post_training_sparse_quantize",),
    "errors": ("UnknownTensorError", "VerificationError", "WinnowError"),
    "files": (
        "DTypeTotal",
        "Inspection",
        "InspectedTensor",
        "PruneReport",
        "TensorReport",
        "ValueStats",
        "VerifyReport",
        "inspect_file",
        "prune_file",
        "verify_file",
    ),
    "holding": ("hold_masks",),
    "selection": ("default_filter", "left_alone"),
    "tensor_files": ("load_file", "load_rows", "save_file"),
    "tensors": ("WHOLE_DIMENSION", "apply_mask_", "compute_mask", "nm_config", "prune_"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

_SUBMODULES = ("data_scheduler", "data_sparsifier", "lightning")

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_HOME_OF[name]}", __name__)
    value = getattr(module, name.strip("_") if name == "__version__" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
