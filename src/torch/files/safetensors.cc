#include "winnow/torch/safetensors.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "torch/files/module_tensors.h"
#include "torch/support/dtype_map.h"
#include "torch/support/errors.h"
#include "torch/support/tensor_memory.h"
#include "winnow/base/checked.h"
#include "winnow/base/utf8.h"
#include "winnow/io/env.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/safetensors_writer.h"

namespace winnow {
using namespace internal;

namespace {

using Tensors = torch::OrderedDict<std::string, at::Tensor>;

/// Names in a message are escaped: those of a file may contain anything.
std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text.append(text.empty() ? "'" : ", '").append(escape_name(name)).append("'");
  }
  return text;
}

/// Returns why the bytes of `tensor` cannot be read or written directly, or null if they can.
const char* why_opaque(const at::Tensor& tensor) {
  if (!tensor.defined()) return "is undefined";
  if (tensor.is_quantized()) return "is quantized";
  if (tensor.is_nested()) return "is nested";
  if (tensor.layout() != at::kStrided) return "is sparse";
  if (tensor.is_meta()) return "is on the meta device and has no data";
  // A strided tensor may still be a wrapper without memory.
  if (!tensor.has_storage()) return "has no storage";
  return nullptr;
}

// ---- saving

// The format's header is JSON, which is UTF-8.
void check_utf8(const char* what, const std::string& text) {
  TORCH_CHECK_VALUE(find_invalid_utf8(text) == text.size(), what, " '", escape_name(text),
                    "' is not UTF-8");
}

// All tensors are checked before the file is created, so these errors leave no file behind.
void check_savable(const std::string& name, const at::Tensor& tensor) {
  check_utf8("the name", name);
  // The header has its metadata under this key.
  TORCH_CHECK_VALUE(name != "__metadata__",
                    "a tensor cannot be named '__metadata__' in a safetensors file");
  const char* why = why_opaque(tensor);
  TORCH_CHECK_VALUE(why == nullptr, "cannot save '", escape_name(name), "': it ", why);
  TORCH_CHECK_VALUE(dtype_of(tensor.scalar_type()), "cannot save '", escape_name(name),
                    "': safetensors has no dtype for ", tensor.scalar_type());
}

/// The shape of `tensor` in the file, which counts single F4 values; LibTorch packs two of them
/// into one element.
std::vector<uint64_t> file_shape(const std::string& name, const at::Tensor& tensor) {
  std::vector<uint64_t> shape(tensor.sizes().begin(), tensor.sizes().end());
  if (tensor.scalar_type() != c10::ScalarType::Float4_e2m1fn_x2) return shape;
  TORCH_CHECK_VALUE(!shape.empty(), "cannot save '", escape_name(name),
                    "': a scalar holds two values of Float4_e2m1fn_x2");
  shape.back() *= 2;
  return shape;
}

TensorInfo describe(const std::string& name, const at::Tensor& tensor) {
  check_savable(name, tensor);
  // An expanded tensor may have more values than any memory has bytes.
  const auto bytes = checked_mul(tensor.numel(), tensor.element_size());
  TORCH_CHECK_VALUE(bytes, "cannot save '", escape_name(name), "': it is too large");
  // The end is the size until lay_out gives offsets.
  return {name, *dtype_of(tensor.scalar_type()), file_shape(name, tensor), 0, *bytes};
}

/// Assigns offsets, wider types first: the header is padded to 8 bytes, so every value is then
/// aligned without gaps, which the format forbids. Returns the order of the data.
std::vector<size_t> lay_out(std::vector<TensorInfo>& tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // Stable, so that equal tensors always give equal files.
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [&](size_t i) { return dtype_bits(tensors[i].dtype); });
  uint64_t offset = 0;
  for (const size_t i : order) {
    const auto end = checked_add(offset, tensors[i].end);  // `end` is still the size
    TORCH_CHECK_VALUE(end, "the tensors together are too large for a file");
    tensors[i].begin = offset;
    tensors[i].end = offset = *end;
  }
  return order;
}

// ---- loading

/// The opposite of file_shape.
std::vector<int64_t> sizes_of(const TensorInfo& info) {
  std::vector<int64_t> sizes(info.shape.begin(), info.shape.end());
  if (info.dtype == DType::kF4 && !sizes.empty()) sizes.back() /= 2;
  return sizes;
}

// All tensors are checked before the first is read.
void check_loadable(const SafetensorsHeader& header) {
  for (const TensorInfo& info : header.tensors()) {
    TORCH_CHECK(scalar_type_of(info.dtype), "cannot load '", escape_name(info.name),
                "': LibTorch has no dtype for ", dtype_name(info.dtype));
    const bool packs =
        info.dtype != DType::kF4 || (!info.shape.empty() && info.shape.back() % 2 == 0);
    TORCH_CHECK(packs, "cannot load '", escape_name(info.name),
                "': LibTorch packs two values of F4, and its last dimension is odd");
  }
}

SafetensorsFile open(const std::string& path) {
  SafetensorsFile file = value_of(SafetensorsFile::open(Env::posix(), path));
  check_loadable(file.header());
  return file;
}

at::Tensor read(const SafetensorsFile& file, const TensorInfo& info) {
  at::Tensor tensor = at::empty(sizes_of(info), at::dtype(*scalar_type_of(info.dtype)));
  const std::span<std::byte> bytes = mutable_tensor_bytes(tensor);
  check_ok(file.read(info, 0, bytes));
  if (info.dtype == DType::kBool) {  // any other value would be no bool of C++
    for (std::byte& byte : bytes) byte = byte == std::byte{0} ? byte : std::byte{1};
  }
  return tensor;
}

/// A tensor of a module, and the tensor of the file to copy into it.
struct Load {
  const TensorInfo* from;
  at::Tensor to;
};

struct Match {
  std::vector<Load> loads;
  IncompatibleNames names;
};

// Python's save_model writes tied tensors under one name only; the others are not missing.
bool is_tied(const at::Tensor& tensor, const std::vector<Load>& loads) {
  return std::ranges::any_of(loads, [&](const Load& load) { return load.to.is_same(tensor); });
}

Match match(const SafetensorsHeader& header, const Tensors& tensors) {
  Match match;
  torch::OrderedDict<std::string, const TensorInfo*> file;
  for (const TensorInfo& info : header.tensors()) {
    file.insert(info.name, &info);
    // In the order of the file, as a message should list them.
    if (!tensors.contains(info.name)) match.names.unexpected.push_back(info.name);
  }
  for (const auto& item : tensors) {
    if (const TensorInfo* const* info = file.find(item.key())) {
      match.loads.push_back({*info, item.value()});
    }
  }
  for (const auto& item : tensors) {
    if (!file.contains(item.key()) && !is_tied(item.value(), match.loads)) {
      match.names.missing.push_back(item.key());
    }
  }
  return match;
}

/// Returns why nothing can be copied into `tensor`, or null if it can.
const char* why_read_only(const at::Tensor& tensor) {
  if (const char* why = why_opaque(tensor)) return why;
  if (at::has_internal_overlap(tensor) == at::MemOverlap::Yes) {
    return "is expanded: several elements share memory";
  }
  // LibTorch refuses to write to inference tensors outside of inference mode.
  const bool frozen = tensor.is_inference() && !c10::InferenceMode::is_enabled();
  return frozen ? "is an inference tensor" : nullptr;
}

/// Returns the line of the message that says why `load` is impossible; empty if it is possible.
std::string fault_of(const Load& load) {
  // One line a fault, under the first line of the message.
  const std::string name = "\n  '" + escape_name(load.from->name) + "' ";
  if (const char* why = why_read_only(load.to)) return name + why + " in the module";
  const std::vector<int64_t> sizes = sizes_of(*load.from);
  if (load.to.sizes() != sizes) {
    return c10::str(name, "has shape ", at::IntArrayRef(sizes), " in the file and ",
                    load.to.sizes(), " in the module");
  }
  const c10::ScalarType type = *scalar_type_of(load.from->dtype);
  if (load.to.scalar_type() == type) return "";
  return c10::str(name, "has dtype ", type, " in the file and ", load.to.scalar_type(),
                  " in the module");
}

// Lists all faults in one message, so that a file of another model is recognised as such.
void check(const Match& match, const std::string& path, bool strict) {
  std::string faults;
  const auto& [missing, unexpected] = match.names;
  if (strict && !missing.empty()) faults += "\n  missing in the file: " + joined(missing);
  if (strict && !unexpected.empty()) faults += "\n  not in the module: " + joined(unexpected);
  for (const Load& load : match.loads) faults += fault_of(load);
  TORCH_CHECK(faults.empty(), "cannot load '", escape_path(path), "' into the module:", faults);
}

// Reads everything before the module is touched: a failing read must leave it unchanged.
std::vector<at::Tensor> read_all(const SafetensorsFile& file, const std::vector<Load>& loads) {
  std::vector<at::Tensor> values;
  for (const Load& load : loads) values.push_back(read(file, *load.from));
  check_ok(file.check_unchanged());
  return values;
}

}  // namespace

void save_safetensors(const std::string& path, const Tensors& tensors,
                      const SaveSafetensorsOptions& options) {
  for (const auto& [key, value] : options.metadata) {
    check_utf8("the metadata's key", key);
    check_utf8("the metadata's value", value);
  }
  std::vector<TensorInfo> infos;
  for (const auto& item : tensors) infos.push_back(describe(item.key(), item.value()));
  const std::vector<size_t> order = lay_out(infos);
  const uint64_t data_bytes = order.empty() ? 0 : infos[order.back()].end;
  const std::string header = safetensors_header_text(infos, options.metadata);

  const at::NoGradGuard no_grad;
  SafetensorsWriter writer = value_of(SafetensorsWriter::create(
      Env::posix(), path, header, data_bytes,
      {.overwrite = options.overwrite, .overwrite_blob = options.overwrite_blob}));
  for (const size_t i : order) {
    // One at a time, so that at most one copy of a tensor exists.
    const at::Tensor dense = dense_on_cpu(tensors[i].value());
    check_ok(writer.append(tensor_bytes(dense)));
  }
  check_ok(writer.commit());
}

void save_safetensors(const std::string& path, const torch::nn::Module& module,
                      const SaveSafetensorsOptions& options) {
  save_safetensors(path, serializable_tensors(module), options);
}

Tensors load_safetensors(const std::string& path) {
  const SafetensorsFile file = open(path);
  Tensors tensors("Tensor");
  for (const TensorInfo& info : file.header().tensors()) {
    tensors.insert(info.name, read(file, info));
  }
  // A file that is written at the same time could give old and new values.
  check_ok(file.check_unchanged());
  return tensors;
}

IncompatibleNames load_safetensors(const std::string& path, torch::nn::Module& module,
                                   const LoadSafetensorsOptions& options) {
  const SafetensorsFile file = open(path);
  Match plan = match(file.header(), serializable_tensors(module));
  check(plan, path, options.strict);
  const std::vector<at::Tensor> values = read_all(file, plan.loads);

  // Nothing below fails: shapes, dtypes and memory were checked.
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < values.size(); ++i) plan.loads[i].to.copy_(values[i]);
  return std::move(plan.names);
}

}  // namespace winnow
