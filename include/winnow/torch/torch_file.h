// Writes values and tensors to files that Python's torch.load(weights_only=True) reads, and reads
// them back.
//
//   winnow::save_torch_file("sparsifier.pt", winnow::to_value(sparsifier.state_dict()));
//   other.load_state_dict(winnow::to_sparsifier_state(winnow::load_torch_file("sparsifier.pt")));
//
// torch::pickle_save cannot be used for this: Python refuses its tagged dictionaries, and its
// sparse tensors cannot be loaded at all. The reader is strict and never executes anything from a
// file; docs/torch_archive.md describes the format and what is refused. Thread-safety: that of
// torch/safetensors.h.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/util/Exception.h>  // before the next, which uses it
#include <torch/ordered_dict.h>

#include <string>

#include "winnow/torch/data_scheduler.h"
#include "winnow/torch/data_sparsifier.h"
#include "winnow/torch/named_values.h"

namespace winnow {

/// Options of save_torch_file.
struct SaveTorchFileOptions {
  /// Whether an existing file is replaced, as torch::save does. If false, it is a c10::Error.
  bool overwrite = true;
  /// With `overwrite`: whether to replace even a file that is named by the hash of its content,
  /// such as those that the links in a Hugging Face cache point to. If false, it is a c10::Error.
  bool overwrite_blob = false;
};

/// Options of load_torch_file.
struct LoadTorchFileOptions {
  /// Whether to read a file without checksums, which torch.save writes after
  /// torch.serialization.set_crc32_options(False). A flipped bit in its data goes unnoticed; all
  /// other checks still apply.
  bool allow_missing_checksums = false;
};

/// Writes `value`: None, a bool, int, double, string or tensor, or tuples, lists and dictionaries
/// of these, nested up to 500 deep; dictionary keys are strings or integers. The file is written
/// completely or not at all.
///
/// Tensors may be on any device and have any strides; sparse COO tensors are written coalesced.
/// Each tensor is stored densely on its own, except that the same tensor object in several places
/// is stored once and is one object again when loaded. Memory: the tree, and copies of the tensors
/// that are not contiguous on the CPU.
///
/// Throws c10::ValueError, with the place, for example ['state']['users'], for a value that cannot
/// be written: another kind of value, an undefined, quantized or meta tensor, a dtype for which
/// torch.save has no storage. Throws c10::Error for errors of the system.
void save_torch_file(const std::string& path, const c10::IValue& value,
                     const SaveTorchFileOptions& options = {});

/// Returns the value in a file of save_torch_file or of Python's torch.save: plain data, with
/// tensors on the CPU that do not require grad. dict and OrderedDict become dictionaries in the
/// same order (without attributes such as `_metadata`), torch.Size becomes a tuple, a Parameter
/// becomes its tensor. Tensors that share memory in the file also share it when loaded. Memory: the
/// storages, read once.
///
/// Throws c10::Error, with the path, if the file cannot be read, is malformed (each fault has a
/// code and a message of io/torch_archive.h), or holds a value that c10::IValue cannot hold: sets,
/// dtypes, and dictionaries with keys of several kinds or of kinds other than strings and integers.
c10::IValue load_torch_file(const std::string& path, const LoadTorchFileOptions& options = {});

/// Returns a dictionary with upstream's keys `state`, `data_groups` and `_container`. Shares the
/// tensors. With MaskFormat::kTorchAo, torch.ao's DataNormSparsifier.load_state_dict accepts it.
c10::IValue to_value(const DataSparsifierState& state);

/// Returns the same with the keys `defaults`, `fields` and `enable_mask_update`: the whole
/// sparsifier, for long-term storage. load_state_dict in Python accepts it as it accepts a state.
c10::IValue to_value(const DataSparsifierSnapshot& snapshot);

/// Returns a dictionary with upstream's keys `schedule_param`, `base_param`, `last_epoch`,
/// `_step_count` and `_last_param`, and the fields of the class.
c10::IValue to_value(const DataSchedulerState& state);

/// Return a dictionary with the same entries. Share the tensors.
c10::IValue to_value(const NamedValues& values);
c10::IValue to_value(const torch::OrderedDict<std::string, at::Tensor>& tensors);

/// Returns the values of a dictionary that to_value wrote, in their order. This function and those
/// below share the value's tensors. They throw c10::Error "Error loading", naming the entry, if
/// something is missing or of the wrong kind, if a dictionary for NamedValues has more than 4096
/// entries, or if a tensor is expanded: a few bytes of a file can describe an expanded tensor of
/// any size, which its user would copy.
NamedValues to_named_values(const c10::IValue& value);
/// Returns the tensors of a dictionary that to_value wrote, by name.
torch::OrderedDict<std::string, at::Tensor> to_tensors(const c10::IValue& value);
/// Returns the state of a sparsifier that to_value wrote.
DataSparsifierState to_sparsifier_state(const c10::IValue& value);
/// Returns the snapshot of a sparsifier that to_value wrote.
DataSparsifierSnapshot to_sparsifier_snapshot(const c10::IValue& value);
/// Returns the state of a scheduler that to_value wrote.
DataSchedulerState to_scheduler_state(const c10::IValue& value);

}  // namespace winnow
