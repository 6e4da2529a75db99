// Writes tensors and modules to safetensors files and reads them back, to exchange them with the
// winnow tool and Python's safetensors. Files may be compressed, as `winnow compress` writes them:
// what is loaded is the same.
//
//   sparsifier.squash_mask();
//   winnow::save_safetensors("model.safetensors", *model);
//   winnow::load_safetensors("model.safetensors", *model);
//   auto tensors = winnow::load_safetensors("model.safetensors");   // by name, on the CPU
//   auto rows = winnow::load_safetensors_rows("model.safetensors", "emb.weight", 1000, 1010);
//
// Errors of the file and of the system are c10::Error with the message of io/safetensors.h, which
// starts with the path; invalid arguments are c10::ValueError. docs/safetensors.md describes the
// format. Thread-safety: calls on different files and modules are independent. If two writers write
// one file at the same time, the second fails.
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

/// Options of save_safetensors.
struct SaveSafetensorsOptions {
  /// The file's `__metadata__`, UTF-8. Python's transformers requires the default entry.
  Metadata metadata = {{"format", "pt"}};
  /// Whether an existing file is replaced, as torch::save does. If false, it is a c10::Error.
  bool overwrite = true;
  /// With `overwrite`: whether to replace even a file that is named by the hash of its content,
  /// such as those that the links in a Hugging Face cache point to. If false, it is a c10::Error.
  bool overwrite_blob = false;
  /// Whether the file is compressed, as `winnow compress` does it: without losing a bit. winnow
  /// loads it as any other; other loaders need what `winnow decompress` makes of it.
  bool compress = false;
};

/// Writes `tensors` under their names, in their order. The file is written completely or not at
/// all: after an error the old file is unchanged, unless the message says that a power cut may
/// bring back the old file; then the new one is in place.
///
/// Tensors may be on any device, have any strides and require grad. Tensors that share memory are
/// written once for each name. Memory: the header, and a copy of one tensor at a time if it is not
/// contiguous on the CPU; to compress, some chunks of about a million values for each thread. In
/// the file, wider types come first, so that every value is aligned. Compressing uses LibTorch's
/// threads; the bytes do not depend on their number.
///
/// Throws c10::ValueError, naming the tensor, if it is undefined, sparse, quantized, nested or
/// without data (meta); if safetensors has no such dtype (ComplexDouble, ComplexHalf, the bit and
/// sub-byte types except Float4_e2m1fn_x2); or if the name is "__metadata__" or not UTF-8. Also
/// for the metadata key `winnow.compressed`, which marks compressed files, and to compress for a
/// tensor named `__winnow_header__`.
void save_safetensors(const std::string& path,
                      const torch::OrderedDict<std::string, at::Tensor>& tensors,
                      const SaveSafetensorsOptions& options = {});

/// Writes the parameters and buffers of `module`, in the order of Python's state_dict. Children
/// whose is_serializable() is false are left out with everything below them, such as the masks of
/// FakeSparsity: a masked tensor is written as `parametrizations.NAME.original`, and after
/// squash_mask or remove_parametrizations as NAME.
void save_safetensors(const std::string& path, const torch::nn::Module& module,
                      const SaveSafetensorsOptions& options = {});

/// Returns all tensors of the file, in the order of its header, as contiguous tensors on the CPU
/// that do not require grad. Memory: the tensors. A byte of a bool tensor that is not 0 becomes
/// true.
///
/// Compressed tensors are decoded by LibTorch's threads, in chunks of about a million values.
///
/// Throws c10::Error if the file cannot be read, is malformed or damaged, or has a dtype that
/// LibTorch lacks (F6_E2M3, F6_E3M2, F4 with an odd last dimension); then the message names the
/// tensor.
torch::OrderedDict<std::string, at::Tensor> load_safetensors(const std::string& path);

/// Returns one tensor of the file, as the function above does; the others are not read. Throws
/// c10::Error if there is none of that name.
at::Tensor load_safetensors_tensor(const std::string& path, const std::string& name);

/// Returns the rows [start, stop) of one tensor: load_safetensors_tensor(path, name).slice(0,
/// start, stop), in memory of its own. Only these rows are read; of a compressed tensor the chunks
/// that have them are decoded.
///
/// Throws c10::IndexError unless 0 <= start <= stop <= the size of the first dimension,
/// c10::ValueError for a scalar, which has no rows, and what the functions above throw.
at::Tensor load_safetensors_rows(const std::string& path, const std::string& name, int64_t start,
                                 int64_t stop);

/// Options of load_safetensors into a module.
struct LoadSafetensorsOptions {
  /// Whether the names of file and module must be the same.
  bool strict = true;
};

/// The names that only one side has.
struct IncompatibleNames {
  std::vector<std::string> missing;     ///< in the module, not in the file
  std::vector<std::string> unexpected;  ///< in the file, not in the module
};

/// Copies the file's tensors into the parameters and buffers of `module` with the same names. The
/// tensor objects, their devices and their strides stay the same, so an optimizer keeps working.
/// Returns the names that were skipped: none if strict. Names are those of save_safetensors. A name
/// may be missing in the file if the module has the same tensor object under another name that is
/// there (tied tensors, which Python's save_model writes once).
///
/// All names, shapes and dtypes are checked and all data is read before the first tensor is
/// written: after an error the module is unchanged. Memory: one copy of the loaded tensors.
///
/// Throws c10::Error, listing all cases, for missing and unexpected names if strict; for shapes and
/// dtypes that differ (nothing is converted: call module.to(dtype) first); and for tensors of the
/// module that cannot be written, for example quantized or expanded ones. Also throws what the
/// function above throws.
IncompatibleNames load_safetensors(const std::string& path, torch::nn::Module& module,
                                   const LoadSafetensorsOptions& options = {});

}  // namespace winnow
