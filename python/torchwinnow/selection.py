"""Which tensors are left alone if nobody says which to prune. Torch is not imported for it.

    for name, reason in left_alone(model).items():
        print(f"{name}: {reason}")
    callback = TrainingAwareDataSparsity(..., filter=default_filter(model))

The rule is that of `prune_file` and of `winnow prune`, by the same C++: docs/selection.md has it in full. It
goes by names, dtypes, shapes and by what stands beside a tensor, never by values. There is one
difference: a direction of weight_norm is pruned in files, where a row that would be dropped whole is
kept; held masks have no such guard, and so it is left alone here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Union

from . import _core
from ._dtypes import CODE_OF
from ._names import named_parameters, parallel_paths, unwrapped

if TYPE_CHECKING:
    from torch import Tensor, nn

    Tensors = Union[nn.Module, Mapping[str, Any]]

# Dtypes that safetensors does not have (quantized, of fewer than 8 bits, wider complex ones) cannot be
# pruned either, and stand for codes.
_DTYPES = {**CODE_OF, "complex128": "C64"}
_CODES = "U8"


def left_alone(model_or_tensors: Tensors) -> dict[str, str]:
    """Why the default selection leaves a tensor alone, for each one that it does leave alone.

    Args:
        model_or_tensors: a torch.nn.Module, whose parameters are judged by what its buffers and other
            parameters are; or a mapping of names to tensors or arrays, such as a state_dict, all of
            which are judged. It has to be the whole of a model: without the codes beside it, a scale
            looks like a weight.

    Returns:
        Names, as `named_parameters` gives them, or the mapping's; and for each a line such as
        "fewer than 2 dimensions larger than 1". A tied parameter has all of its names, and is left
        alone if one of them is. The parts that torch.compile, DDP and FSDP put into names
        ("_orig_mod.") are left out. Lazy parameters that have no shape yet are not judged.

    Raises:
        TypeError: for anything else, and for values without shape and dtype.
    """
    judged, beside = _parts(model_or_tensors)
    refused = _refused({**judged, **beside})
    return {name: refused[name] for name in judged if name in refused}


def default_filter(model: Tensors) -> Callable[[str, Tensor], bool]:
    """A filter that takes what the default selection prunes, for `filter` of the Lightning callbacks.

    It is made of the model as it is now, and judges a tensor by its name or, if it asks for one by the
    name that a part of the model has for it, by itself. A tensor that the model did not have, or had
    without a shape, is judged by dtype, shape and name alone.

    Args:
        model: as the argument of `left_alone`.

    Raises:
        TypeError: as `left_alone`.
    """
    judged, beside = _parts(model)
    known = {*judged, *beside}
    refused = _refused({**judged, **beside})

    parallel = set() if isinstance(model, Mapping) else parallel_paths(model)
    # A part of the model, whose names are shorter, may be what is asked for.
    names = {id(tensor): (weakref.ref(tensor), name) for name, tensor in {**beside, **judged}.items()}

    def takes(name: str, tensor: Tensor) -> bool:
        name = name if name in known else unwrapped(name, parallel)
        if name not in known:
            of_model, own = names.get(id(tensor), (None, name))
            name = own if of_model is not None and of_model() is tensor else name
        if name in known:
            return name not in refused
        return _reasons([(name, tensor)]) == [None]

    return takes


def _parts(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors that are judged, and those that stand beside them."""
    if isinstance(model, Mapping):
        return dict(model), {}
    if not hasattr(model, "named_parameters") or not hasattr(model, "named_buffers"):
        raise TypeError(
            "expected a torch.nn.Module or a mapping of names to tensors, found "
            f"{type(model).__name__}"
        )
    judged = {
        name: each.parameter
        for each in named_parameters(model)
        for name in each.names
        if not _is_lazy(each.parameter)
    }
    parallel = parallel_paths(model)
    beside = {
        unwrapped(name, parallel): tensor
        for name, tensor in model.named_buffers(remove_duplicate=False)
        if not _is_lazy(tensor)
    }
    beside = {name: tensor for name, tensor in beside.items() if name not in judged}
    return judged, beside


def _refused(tensors: dict[str, Any]) -> dict[str, str]:
    """The reason of each tensor that is left alone: its own name's, or that of another name of it."""
    reasons = dict(zip(tensors, _reasons(tensors.items())))
    of_any_name: dict[int, str] = {}
    for name, tensor in tensors.items():
        if reason := reasons[name]:
            of_any_name.setdefault(id(tensor), reason)
    found = {name: reasons[name] or of_any_name.get(id(tensor)) for name, tensor in tensors.items()}
    return {name: reason for name, reason in found.items() if reason}


def _is_lazy(tensor: Any) -> bool:
    from torch.nn.parameter import is_lazy

    return bool(is_lazy(tensor))


def _reasons(tensors: Iterable[tuple[str, Any]]) -> list[str | None]:
    names, dtypes, shapes = [], [], []
    for name, tensor in tensors:
        if not isinstance(name, str) or not hasattr(tensor, "shape") or not hasattr(tensor, "dtype"):
            raise TypeError(f"{name!r}: expected a name and a tensor, found {type(tensor).__name__}")
        names.append(name)
        dtypes.append(_DTYPES.get(str(tensor.dtype).removeprefix("torch."), _CODES))
        shapes.append(tuple(tensor.shape))
    return _core.default_selection(names, dtypes, shapes)
