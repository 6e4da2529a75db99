// Values and tensors to files that Python's torch.load(weights_only=True) reads, and back.
//
//   winnow::save_torch_file("sparsifier.pt", winnow::to_value(sparsifier.state_dict()));
//   other.load_state_dict(winnow::to_sparsifier_state(winnow::load_torch_file("sparsifier.pt")));
//
// torch::pickle_save cannot be used for this: it tags dictionaries in a way that Python refuses,
// and its sparse tensors load nowhere. The reader is strict and runs nothing of a file;
// docs/torch_archive.md has the format and what is refused. Thread-safety: as torch/safetensors.h.
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

struct SaveTorchFileOptions {
  /// Whether an existing file is replaced, as torch::save does; without it, it is a c10::Error.
  bool overwrite = true;
  /// With `overwrite`: also a file that is named by the hash of its content, as those are that
  /// links in a cache of Hugging Face lead to; without it, that is a c10::Error.
  bool overwrite_blob = false;
};

struct LoadTorchFileOptions {
  /// Whether a file without checksums is read: one that torch.save wrote after
  /// torch.serialization.set_crc32_options(False). A flipped bit in it goes unnoticed; all else is
  /// checked as ever.
  bool allow_missing_checksums = false;
};

/// Writes `value`: None, bool, int, double, string, tensor, and of these tuples, lists and
/// dictionaries with strings or integers as keys, nested up to 500 deep. The file appears whole or
/// not at all.
///
/// Tensors may be on any device and strided in any way; sparse COO is written coalesced. Each is
/// stored by itself, densely; the same tensor in several places is stored once and is one again
/// when loaded. Memory: copies of those that are not contiguous on the CPU, besides the tree.
///
/// c10::ValueError naming the place, for example ['state']['users'], of a value or a tensor that
/// cannot be written: other kinds, an undefined, quantized or meta tensor, a dtype that torch.save
/// has no storage for. c10::Error of the system.
void save_torch_file(const std::string& path, const c10::IValue& value,
                     const SaveTorchFileOptions& options = {});

/// The value in a file of save_torch_file or of Python's torch.save: plain data, tensors on the CPU
/// that do not require grad. dict and OrderedDict become dictionaries with their order kept
/// (without attributes such as `_metadata`), torch.Size a tuple, a Parameter its tensor. Tensors
/// that share memory in the file do so when loaded. Memory: the storages, read once.
///
/// c10::Error with the path: the file cannot be read, is malformed (each fault with a code and a
/// message of io/torch_archive.h), or holds what has no c10::IValue: sets, dtypes, dictionaries
/// with keys of several kinds or other than strings and integers.
c10::IValue load_torch_file(const std::string& path, const LoadTorchFileOptions& options = {});

/// As a dictionary with upstream's keys `state`, `data_groups` and `_container`. Shares the
/// tensors. With MaskFormat::kTorchAo, torch.ao's DataNormSparsifier.load_state_dict takes it.
c10::IValue to_value(const DataSparsifierState& state);

/// The same with `defaults`, `fields` and `enable_mask_update` besides: all of a sparsifier, for a
/// file that outlasts the program. load_state_dict in Python takes it as it takes a state.
c10::IValue to_value(const DataSparsifierSnapshot& snapshot);

/// As a dictionary with upstream's keys: `schedule_param`, `base_param`, `last_epoch`,
/// `_step_count`, `_last_param`, and the fields of the class.
c10::IValue to_value(const DataSchedulerState& state);

/// As dictionaries; and back, as are the two below. Those share the value's tensors and throw
/// c10::Error "Error loading" naming what is missing or of the wrong kind, dictionaries for
/// NamedValues with more than 4096 entries, and expanded tensors: a few bytes of a file can be a
/// view of any size, which whoever takes it over would copy.
c10::IValue to_value(const NamedValues& values);
c10::IValue to_value(const torch::OrderedDict<std::string, at::Tensor>& tensors);
/// The same values back: entries in their order, tensors by name, the states that to_value wrote.
NamedValues to_named_values(const c10::IValue& value);
torch::OrderedDict<std::string, at::Tensor> to_tensors(const c10::IValue& value);
DataSparsifierState to_sparsifier_state(const c10::IValue& value);
DataSparsifierSnapshot to_sparsifier_snapshot(const c10::IValue& value);
DataSchedulerState to_scheduler_state(const c10::IValue& value);

}  // namespace winnow
