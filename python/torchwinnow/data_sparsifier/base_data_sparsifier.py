"""Named data and their masks: the base of all data sparsifiers.

    class BelowThreshold(BaseDataSparsifier):
        def __init__(self, threshold):
            super().__init__(threshold=threshold)

        def update_mask(self, name, data, threshold):
            self.get_mask(name)[data.abs() < threshold] = 0

    sparsifier = BelowThreshold(0.2)
    sparsifier.add_data("table", model.embedding)
    sparsifier.add_data("other", tensor, threshold=0.5)
    sparsifier.step()         # computes the masks
    sparsifier.squash_mask()  # applies them: the model's weight is sparse now
"""

from __future__ import annotations

import abc
import copy
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .._ops import check_values
from .._upstream import register_as_upstream
from . import _container as containers
from . import _state
from ._config import copied, given_mask, with_own_mask
from ._data import SUPPORTED_TYPES, check_name, checked_weight, weight_in
from ._masks import MasksBefore, ones_for, own_mask, own_memory
from ._squash import write_masks
from ._ties import Ties
from .fake_sparsity import FakeSparsity

__all__ = ["SUPPORTED_TYPES", "BaseDataSparsifier"]


@register_as_upstream
class BaseDataSparsifier(abc.ABC):
    """Holds named data, computes their masks in `step` and applies them in `squash_mask`.

    Data are tensors, Parameters, Embeddings and EmbeddingBags, whose `weight` is meant. A tensor
    that was added stays the caller's: the container holds the same object, sees what is done to it
    in place, and squash_mask writes the result into it. While it is masked, reads by
    `get_data(name, return_original=False)` are mask * original, fresh each time, with gradient.

    All collections iterate in the order of insertion; a replaced name moves to the end. A call
    that raises has changed nothing.

    Attributes:
        defaults: the configuration of data that brings none of its own.
        state: name -> {"mask": Tensor, ...}, a plain dict. A subclass may keep more there.
        data_groups: name -> configuration, a plain dict. Values may be changed.
        enable_mask_update: whether step computes. A scheduler's step turns it on again.
        mask_format: of the masks in state_dict, if that is not told.

    `isinstance` with the class of this name in torch.ao.pruning holds if torch has one.

    Differs from torch.ao: docs/python.md lists it.
    """

    enable_mask_update: bool = True
    mask_format: str = "torch_ao"
    _is_stepping = False

    def __init__(self, data_list: Iterable[tuple[str, Any]] | None = None, **defaults: Any) -> None:
        """
        Args:
            data_list: pairs of name and data, added under the defaults. Each gets a copy of a
                `mask` among those.
            defaults: any values; update_mask gets them by name. `mask` (of the data's shape) is
                the first mask, `parametrization` (called with the mask) takes the place of
                FakeSparsity.
        """
        self.defaults = defaults
        self.state: dict[str, dict[str, Any]] = {}
        self.data_groups: dict[str, dict[str, Any]] = {}
        self.enable_mask_update = True
        self._container = nn.Module()
        self._ties = Ties()
        self._check_config(defaults)
        for name, data in () if data_list is None else data_list:
            self.add_data(name, data, **with_own_mask(defaults))

    def prepare(self, model: Any, config: Any) -> None:
        """NotImplementedError: there is nothing to prepare, add_data does it."""
        raise NotImplementedError("this function is undefined for this class: use add_data")

    @abc.abstractmethod
    def update_mask(self, name: str, data: Tensor, **config: Any) -> None:
        """Writes the mask of `name`: get_mask(name), changed in place, never rebound.

        Called by step, without gradient.

        Args:
            data: the original
            config: all of data_groups[name]
        """

    def _check_data(self, name: str, weight: Tensor) -> None:
        """Raises if this sparsifier cannot work on `weight`."""

    def _check_config(self, config: Mapping[str, Any]) -> None:
        """Raises if a value of a configuration, which need not be complete, makes no sense."""

    def _check_group(self, name: str, group: Mapping[str, Any]) -> None:
        """Raises if the values of a whole configuration do not fit together."""

    # ---- adding

    def _extract_weight(self, data: Any) -> Tensor | None:
        """The tensor that is meant by `data`, the very object; None if its type is unknown."""
        return weight_in(data)

    def add_data(self, name: str, data: Any, reuse_mask: bool = True, **config: Any) -> Tensor:
        """Puts `data` into the container under `name` and returns its masked read.

        The first mask is `config["mask"]`, or ones of the data's shape and dtype. A name that is
        there already is replaced, with a UserWarning: its configuration carries over, and under
        `reuse_mask` its mask; the tensor it held before goes back to its owner as it is.

        Under ones, what is returned shares the memory of the data, and nothing is allocated until a
        step, or `get_mask`, gives the mask memory. Under another mask the read is a product: a table
        of its own, and a second one while it is made.

        Args:
            name: without a "."
            data: tensor, Parameter, Embedding or EmbeddingBag
            reuse_mask: for a name that is there: keep its mask, the same object, or start with
                `config["mask"]`, one of the defaults, or ones. The mask of data that were on the
                meta device has no values, so that ones take its place.
            config: overrides of the defaults, or of the configuration that is there.

        Raises, and has changed nothing then:
            AssertionError: "specified data type ... not supported", an embedding whose weight is
                computed (prune, weight_norm, a parametrization) too; a mask of another shape.
            KeyError: `name` is empty, holds a "." or is "parametrizations".
            TypeError: `name` is not a string, or `mask` not a tensor.
            ValueError: a mask that would change the data's dtype, or is that of another name; a
                right_inverse that gives other shapes; values of `config` that make no sense.

        Differs from torch.ao: parameters keep their memory and gradient accumulators; any name is
        fine, and so are subclasses of the two modules; a squashed name can be replaced; a
        replacement keeps the parametrization of its configuration.
        """
        weight = checked_weight(data)
        check_name(name)
        is_there = name in self.state
        if is_there:
            warnings.warn(
                "Replacing existing data of the same name. - Did you mean a different name?",
                stacklevel=2,
            )
        self._check_config(config)
        self._check_data(name, weight)
        group = copied(self.data_groups[name] if is_there else self.defaults)
        group.update(config)
        if config:
            self._check_group(name, group)
        make = group.get("parametrization", FakeSparsity)
        keeps = is_there and reuse_mask
        mask = self._kept_mask(name, weight) if keeps else self._given_mask(name, config)
        is_fresh = mask is None
        if mask is None:
            mask = ones_for(weight)
        containers.put(self._container, name, weight, mask, make)
        if is_there:
            self._ties.untie(name, self.state.pop(name)["mask"])
            del self.data_groups[name]
        self.state[name] = {"mask": mask}
        self.data_groups[name] = group
        self._ties.tie(name, data, mask)
        if make is not FakeSparsity:
            return self.get_data(name, return_original=False)
        return weight.view_as(weight) if is_fresh else mask * weight

    def _kept_mask(self, name: str, weight: Tensor) -> Tensor | None:
        """The mask that is there. None for one on the meta device if the data have values now."""
        old = containers.stored_tensor(self._container, name)
        if weight.shape != old.shape:
            raise AssertionError(
                f"to retain the old mask, the shape of the new data {tuple(weight.shape)} must be "
                f"the same as that of the old data {tuple(old.shape)} of '{name}'"
            )
        mask: Tensor = self.state[name]["mask"]
        return None if mask.is_meta and not weight.is_meta else mask

    def _given_mask(self, name: str, config: Mapping[str, Any]) -> Tensor | None:
        mask = given_mask(config, self.defaults)
        other = None if mask is None else self._ties.name_of_mask(self.state, mask)
        if other not in (None, name):
            raise ValueError(f"the mask for '{name}' is that of '{other}': pass a copy")
        return None if mask is None else own_mask(mask)

    def remove_data(self, name: str) -> None:
        """Takes `name` out, masked or squashed; its tensor goes back to its owner as it is.

        Schedules skip the name from then on. ValueError "data with specified name does not exist".
        """
        self._check_known(name)
        containers.remove(self._container, name)
        self._ties.untie(name, self.state.pop(name)["mask"])
        del self.data_groups[name]

    # ---- access

    def get_mask(self, name: str) -> Tensor:
        """The live mask of `name`, also after squash_mask. Change it in place.

        Allocates a mask of the data's dtype if it is the first one and no step was made yet.
        ValueError "data with specified name does not exist".
        """
        self._check_known(name)
        return own_memory(self.state[name]["mask"])

    def get_data(self, name: str, return_original: bool = True) -> Tensor:
        """The original of `name`, the tensor object that was added; or its masked read.

        After squash_mask there is no original, and the read is the stored tensor.
        ValueError for an unknown name, or "mask squashed" for an original that is gone.
        """
        self._check_known(name)
        if not return_original:
            return getattr(self._container, containers.slot_of(name))
        self._check_masked(name)
        return containers.stored_tensor(self._container, name)

    def _check_known(self, name: str) -> None:
        if name not in self.data_groups:
            raise ValueError(f"data with specified name does not exist: '{name}'")

    def _check_masked(self, name: str) -> None:
        if name not in self.state or not containers.is_masked(self._container, name):
            raise ValueError(
                f"mask squashed - original mask value does not exist: '{name}' has no original"
            )

    # ---- masks

    def step(self) -> None:
        """Computes the masks of all data by update_mask, in order, without gradient.

        Does nothing while enable_mask_update is false. What update_mask raises passes through, and
        all masks are as before; for that a copy of them is kept meanwhile.

        ValueError "mask squashed", naming it, if an entry was squashed, and if a module has
        another weight than the one that was added, and for data on the meta device, which have no
        values. RuntimeError for a step inside a step.
        """
        if not self.enable_mask_update:
            return
        if self._is_stepping:
            raise RuntimeError("step was called by update_mask, within a step")
        self._is_stepping = True
        try:
            # In inference mode new masks could not be used in a later training step.
            with torch.inference_mode(False), torch.no_grad():
                self._check_originals()
                self._update_masks()
        finally:
            del self._is_stepping

    def _check_originals(self) -> None:
        """As step raises, before it does anything. A loop over all names: kept short."""
        lists, slot_of = containers.masked_lists(self._container), containers.slot_of
        original_in, without_values = containers.original_in, None
        for name in self.data_groups:
            masked = lists.get(slot_of(name))
            if masked is None:
                self._check_masked(name)
            elif original_in(masked).is_meta:
                without_values = name
        self._ties.check_modules(self._container)  # first: a weight that was loaded since is another
        if without_values is not None:
            check_values(f"the data '{without_values}'", self.get_data(without_values))

    def _update_masks(self) -> None:
        before = MasksBefore(self.state)
        try:
            for name, group in self.data_groups.items():
                before.remember(name)
                self.update_mask(name, self.get_data(name), **group)
        except BaseException:
            before.restore()
            raise

    def squash_mask(
        self,
        *args: Any,
        leave_parametrized: bool = True,
        names: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Ends the masking of `names`, or of all; masks and configurations are kept.

        Args:
            leave_parametrized: the masked values are written into the memory of the tensor that
                was added, so that an optimizer goes on working, and what shares that memory is
                sparse too: views, slices of one buffer, arrays of NumPy, other processes. False:
                it stays as it was.
            names: one name or several. Unset: all.

        Dropped values that were negative are -0 then, and NaN and infinite ones NaN, as 0 times
        them is. If names share memory, a value is dropped if any of their masks drops it. Needs
        4 MiB, and the reads of parametrizations of your own.

        Raises, and has changed nothing then:
            ValueError: "does not have a parametrization on NAME" for names that are unknown or
                squashed already; a name that is given twice; data that cannot be written to:
                several values in one place (expanded views), read-only memory, the meta device.
            AssertionError, ValueError: data whose shape or device was changed since the last step.

        Differs from torch.ao: that swaps the tensor's memory; a string is one name, not its letters.
        """
        names = self._masked_names(names)
        if leave_parametrized:
            self._ties.check_modules(self._container, names)
            write_masks(self._container, names)
        for name in names:
            containers.unmask(self._container, name)

    def _masked_names(self, names: Iterable[str] | None) -> list[str]:
        """`names` as a list; ValueError if one is not masked or stands twice."""
        names = self.data_groups if names is None else names
        names = [names] if isinstance(names, str) else list(names)
        seen = set()
        for name in names:
            if name in seen:
                raise ValueError(f"names: '{name}' is given twice")
            if name not in self.state or not containers.is_masked(self._container, name):
                raise ValueError(f"{type(self).__name__} does not have a parametrization on {name}")
            seen.add(name)
        return names

    # ---- state. Tensors are made outside of inference mode, or later steps could not write them.

    @torch.inference_mode(False)
    def state_dict(self, *, clone: bool = True, mask_format: str | None = None) -> dict[str, Any]:
        """A snapshot of masks, configurations and data, without defaults and subclass fields.

        Dicts: "state" (name -> "mask" and what update_mask keeps), "data_groups" and "_container".
        If no configuration holds classes or functions, `torch.load(weights_only=True)` reads it,
        without a warning. load_state_dict takes all three formats of masks.

        Args:
            clone: copy the originals. False: they share their memory with the sparsifier, for
                large tables that are saved at once.
            mask_format: None: the attribute of that name. "torch_ao": sparse COO, torch.ao's form,
                17 bytes a kept value in memory (twice that while it is made), and dense in pickles
                and files; for large tables choose another. "dense": a byte a value (before a first
                step, one of the data's dtype). "packed": a bit a value, as C++ writes it, under
                "mask_bits", "mask_shape" and "mask_dtype".

        ValueError for another mask_format.

        Differs from torch.ao: a snapshot, of dicts; masks are dense in files, which torch.ao loads
        too: torch 2.14 warns of every file that holds a sparse tensor.
        """
        mask_format = self.mask_format if mask_format is None else mask_format
        return {
            "state": _state.written_state(self.state, mask_format),
            "data_groups": copy.deepcopy(self.data_groups),
            "_container": _state.container_state(self._container, clone),
        }

    @torch.inference_mode(False)
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Takes over a state, of this class or of torch.ao's.

        Loaded data are tensors of the container's own, tied to no caller.

        Args:
            strict: what was there goes. False: entries that are there stay completely, and only
                new names are added, in front of them.

        Raises, and has changed nothing then:
            KeyError: a part or a mask is missing.
            RuntimeError: "Error loading NAME" if the parts do not fit together.
            TypeError, AssertionError, ValueError: a mask does not fit its data; what add_data
                refuses, such as sparse or quantized data.
        """
        skip = frozenset() if strict else frozenset(self.state)
        entries = list(_state.read(state_dict, strict=strict, skip=skip))
        for entry in entries:
            self._check_data(entry.name, entry.tensor)
            self._check_config(entry.group)
        if not strict:
            entries += _state.present(self)
        self._container, self.state, self.data_groups = _state.build(entries)
        self._ties = self._ties.kept_in(self.state, skip)

    @torch.inference_mode(False)
    def __getstate__(self) -> dict[str, Any]:
        fields = dict(self.__dict__)
        fields.pop("step", None)  # a scheduler's counter, which is bound to this object
        fields.pop("_ties", None)
        fields["_container"] = _state.container_fields(self._container)
        return fields

    @torch.inference_mode(False)
    def __setstate__(self, state: Mapping[str, Any]) -> None:
        fields = dict(state)
        if "_container" in fields:
            built = _state.build(_state.unpickled(fields))
            fields["_container"], fields["state"], fields["data_groups"] = built
        self.__dict__.update(fields)
        self._ties = Ties(self.state)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for name, group in self.data_groups.items():
            lines += ["\tData Group", f"\t    name: {name}"]
            lines += [f"\t    {key}: {group[key]}" for key in sorted(group) if key != "data"]
        return "\n".join(lines + [")"]) if self.data_groups else lines[0] + ")"
