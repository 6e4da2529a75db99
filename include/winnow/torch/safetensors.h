// Tensors and modules to safetensors files and back: the way to the winnow tool, to Python's
// safetensors, and from there to C++ again.
//
//   sparsifier.squash_mask();
//   winnow::save_safetensors("model.safetensors", *model);
//   winnow::load_safetensors("model.safetensors", *model);
//   auto tensors = winnow::load_safetensors("model.safetensors");   // by name, on the CPU
//
// Errors of the file and of the system are c10::Error with the message of io/safetensors.h, which
// starts with the path; arguments that have no meaning are c10::ValueError. docs/safetensors.md
// describes the format. Thread-safety: calls on different files and modules do not meet; two
// writers of one file are an error of the second.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>  // before the next, which uses it
#include <torch/ordered_dict.h>

#include <string>
#include <vector>

#include "winnow/io/safetensors.h"

namespace torch::nn {
class Module;
}

namespace winnow {

struct SaveSafetensorsOptions {
  /// The file's `__metadata__`, UTF-8. Python's transformers ask for the entry of the default.
  Metadata metadata = {{"format", "pt"}};
  /// Whether an existing file is replaced, as torch::save does; without it, it is a c10::Error.
  bool overwrite = true;
  /// With `overwrite`: also a file that is named by the hash of its content, as those are that links
  /// in a cache of Hugging Face lead to; without it, that is a c10::Error.
  bool overwrite_blob = false;
};

/// Writes `tensors` under their names, in their order. The file appears whole or not at all: after
/// an error the old file is as it was. (Where the message speaks of what a power cut may bring
/// back, the new one is in place.)
///
/// Tensors may be on any device, strided in any way and require grad. Those that share memory are
/// written once for each name. Memory: at most one copy of one tensor at a time, and none of those
/// that are contiguous on the CPU; besides, the header. In the file, wider types stand first, so
/// that every value is aligned.
///
/// c10::ValueError naming the tensor: it is undefined, sparse, quantized, nested or without data
/// (meta); its dtype is unknown to safetensors (ComplexDouble, ComplexHalf, the bit and sub-byte
/// types but Float4_e2m1fn_x2); the name is "__metadata__", or is not UTF-8.
void save_safetensors(const std::string& path,
                      const torch::OrderedDict<std::string, at::Tensor>& tensors,
                      const SaveSafetensorsOptions& options = {});

/// Writes the parameters and buffers of `module`, module by module as Python's state_dict lists
/// them. Children whose is_serializable() is false are left out with all that is below them, hence
/// the masks of FakeSparsity: what is masked is written as `parametrizations.NAME.original`, and
/// after squash_mask or remove_parametrizations as NAME.
void save_safetensors(const std::string& path, const torch::nn::Module& module,
                      const SaveSafetensorsOptions& options = {});

/// All tensors of the file, in the order of its header, as contiguous tensors on the CPU that do
/// not require grad. Memory: the tensors. A byte of a bool tensor that is not 0 becomes true.
///
/// c10::Error: the file cannot be read, is malformed, or holds a dtype that LibTorch lacks
/// (F6_E2M3, F6_E3M2, F4 with an odd last dimension); the last by the tensor's name.
torch::OrderedDict<std::string, at::Tensor> load_safetensors(const std::string& path);

struct LoadSafetensorsOptions {
  /// Whether the names of file and module must be the same.
  bool strict = true;
};

/// The names that only one side has.
struct IncompatibleNames {
  std::vector<std::string> missing;     ///< in the module, not in the file
  std::vector<std::string> unexpected;  ///< in the file, not in the module
};

/// Copies the file's tensors into the parameters and buffers of `module` that have their names: the
/// tensor objects, their devices and strides stay, so an optimizer goes on working. Returns the
/// names that were skipped: none if strict. Names are as save_safetensors gives them; one that is
/// missing counts as there where the same tensor object stands under a name that is (tied tensors,
/// which Python's save_model writes once).
///
/// All names, shapes and dtypes are checked and all data is read before the first tensor is
/// written: after an error the module is as it was. Memory: the tensors that are loaded, once.
///
/// c10::Error, listing all of them: missing and unexpected names if strict; shapes and dtypes that
/// differ (nothing is converted: call module.to(dtype) first); tensors of the module that cannot be
/// written, for example because they are quantized or expanded. The errors of the call above too.
IncompatibleNames load_safetensors(const std::string& path, torch::nn::Module& module,
                                   const LoadSafetensorsOptions& options = {});

}  // namespace winnow
