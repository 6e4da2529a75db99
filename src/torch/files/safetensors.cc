#include "winnow/torch/safetensors.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <span>
#include <utility>

#include "checkpoint/files/checkpoint_writer.h"
#include "checkpoint/files/container.h"
#include "torch/files/module_tensors.h"
#include "torch/support/at_parallel_for.h"
#include "torch/support/dtype_map.h"
#include "torch/support/errors.h"
#include "torch/support/tensor_memory.h"
#include "winnow/base/checked.h"
#include "winnow/base/utf8.h"
#include "winnow/checkpoint/checkpoint_reader.h"
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

void check_loadable(const TensorInfo& info) {
  TORCH_CHECK(scalar_type_of(info.dtype), "cannot load '", escape_name(info.name),
              "': LibTorch has no dtype for ", dtype_name(info.dtype));
  const bool packs =
      info.dtype != DType::kF4 || (!info.shape.empty() && info.shape.back() % 2 == 0);
  TORCH_CHECK(packs, "cannot load '", escape_name(info.name),
              "': LibTorch packs two values of F4, and its last dimension is odd");
}

std::unique_ptr<CheckpointReader> open(const std::string& path) {
  return value_of(open_checkpoint(Env::posix(), path));
}

// All tensors are checked before the first is read.
std::unique_ptr<CheckpointReader> open_all(const std::string& path) {
  std::unique_ptr<CheckpointReader> file = open(path);
  for (const TensorInfo& info : file->tensors()) check_loadable(info);
  return file;
}

// The index of the tensor of that name, which is checked.
size_t find(const CheckpointReader& file, const std::string& path, const std::string& name) {
  const auto found = std::ranges::find_if(
      file.tensors(), [&](const TensorInfo& info) { return info.name == name; });
  TORCH_CHECK(found != file.tensors().end(), "'", escape_path(path), "' has no tensor '",
              escape_name(name), "'");
  check_loadable(*found);
  return static_cast<size_t>(found - file.tensors().begin());
}

// Reads bytes of a tensor. Chunks that are decoded are independent, so each thread takes one.
void read_bytes(const CheckpointReader& file, size_t index, uint64_t begin,
                std::span<std::byte> bytes) {
  if (!file.is_compressed()) return check_ok(file.read(index, begin, bytes));
  const uint64_t step = file.read_bytes(index), first = begin / step;
  const uint64_t end = begin + bytes.size();
  std::vector<Status> statuses(bytes.empty() ? 0 : (end - 1) / step - first + 1);
  AtParallelFor().run(statuses.size(), [&](size_t i) {
    const uint64_t from = std::max(begin, (first + i) * step);
    const uint64_t to = std::min(end, (first + i + 1) * step);
    statuses[i] = file.read(index, from, bytes.subspan(from - begin, to - from));
  });
  for (const Status& status : statuses) check_ok(status);
}

// The bytes of a tensor from `begin` on, as many as the sizes ask for.
at::Tensor read(const CheckpointReader& file, size_t index, uint64_t begin, at::IntArrayRef sizes) {
  const DType dtype = file.tensors()[index].dtype;
  at::Tensor tensor = at::empty(sizes, at::dtype(*scalar_type_of(dtype)));
  const std::span<std::byte> bytes = mutable_tensor_bytes(tensor);
  read_bytes(file, index, begin, bytes);
  if (dtype == DType::kBool) {  // any other value would be no bool of C++
    for (std::byte& byte : bytes) byte = byte == std::byte{0} ? byte : std::byte{1};
  }
  return tensor;
}

at::Tensor read(const CheckpointReader& file, size_t index) {
  return read(file, index, 0, sizes_of(file.tensors()[index]));
}

/// A tensor of a module, and the tensor of the file to copy into it.
struct Load {
  const TensorInfo* from;
  size_t index;  // of it in the file
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

Match match(std::span<const TensorInfo> infos, const Tensors& tensors) {
  Match match;
  torch::OrderedDict<std::string, size_t> file;
  for (size_t i = 0; i < infos.size(); ++i) {
    file.insert(infos[i].name, i);
    // In the order of the file, as a message should list them.
    if (!tensors.contains(infos[i].name)) match.names.unexpected.push_back(infos[i].name);
  }
  for (const auto& item : tensors) {
    if (const size_t* index = file.find(item.key())) {
      match.loads.push_back({&infos[*index], *index, item.value()});
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
std::vector<at::Tensor> read_all(const CheckpointReader& file, const std::vector<Load>& loads) {
  std::vector<at::Tensor> values;
  for (const Load& load : loads) values.push_back(read(file, load.index));
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
  TORCH_CHECK_VALUE(!checkpoint::is_container(options.metadata), "the metadata's key '",
                    checkpoint::kCompressedKey, "' marks compressed files");
  std::vector<TensorInfo> infos;
  for (const auto& item : tensors) infos.push_back(describe(item.key(), item.value()));
  const std::vector<size_t> order = lay_out(infos);
  const uint64_t data_bytes = order.empty() ? 0 : infos[order.back()].end;
  const std::string header = safetensors_header_text(infos, options.metadata);

  const at::NoGradGuard no_grad;
  AtParallelFor threads;
  const checkpoint::WriterInputs inputs{
      Env::posix(), path, header, data_bytes,
      AtomicFileOptions{.overwrite = options.overwrite, .overwrite_blob = options.overwrite_blob}};
  const auto writer =
      value_of(checkpoint::create_file_writer(inputs, options.compress, {}, threads));
  for (const size_t i : order) {
    // One at a time, so that at most one copy of a tensor exists.
    const at::Tensor dense = dense_on_cpu(tensors[i].value());
    check_ok(writer->append(tensor_bytes(dense)));
  }
  check_ok(writer->commit());
}

void save_safetensors(const std::string& path, const torch::nn::Module& module,
                      const SaveSafetensorsOptions& options) {
  save_safetensors(path, serializable_tensors(module), options);
}

Tensors load_safetensors(const std::string& path) {
  const std::unique_ptr<CheckpointReader> file = open_all(path);
  Tensors tensors("Tensor");
  for (size_t i = 0; i < file->tensors().size(); ++i) {
    tensors.insert(file->tensors()[i].name, read(*file, i));
  }
  // A file that is written at the same time could give old and new values.
  check_ok(file->check_unchanged());
  return tensors;
}

at::Tensor load_safetensors_tensor(const std::string& path, const std::string& name) {
  const std::unique_ptr<CheckpointReader> file = open(path);
  at::Tensor tensor = read(*file, find(*file, path, name));
  check_ok(file->check_unchanged());
  return tensor;
}

at::Tensor load_safetensors_rows(const std::string& path, const std::string& name, int64_t start,
                                 int64_t stop) {
  const std::unique_ptr<CheckpointReader> file = open(path);
  const size_t index = find(*file, path, name);
  std::vector<int64_t> sizes = sizes_of(file->tensors()[index]);
  TORCH_CHECK_VALUE(!sizes.empty(), "tensor '", escape_name(name),
                    "': expected a tensor with rows, found a scalar");
  TORCH_CHECK_INDEX(0 <= start && start <= stop && stop <= sizes[0], "tensor '", escape_name(name),
                    "': expected rows within 0 to ", sizes[0], ", found ", start, " to ", stop);
  const uint64_t rows = sizes[0], row_bytes = rows == 0 ? 0 : file->tensors()[index].bytes() / rows;
  sizes[0] = stop - start;
  at::Tensor tensor = read(*file, index, static_cast<uint64_t>(start) * row_bytes, sizes);
  check_ok(file->check_unchanged());
  return tensor;
}

IncompatibleNames load_safetensors(const std::string& path, torch::nn::Module& module,
                                   const LoadSafetensorsOptions& options) {
  const std::unique_ptr<CheckpointReader> file = open_all(path);
  Match plan = match(file->tensors(), serializable_tensors(module));
  check(plan, path, options.strict);
  const std::vector<at::Tensor> values = read_all(*file, plan.loads);

  // Nothing below fails: shapes, dtypes and memory were checked.
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < values.size(); ++i) plan.loads[i].to.copy_(values[i]);
  return std::move(plan.names);
}

}  // namespace winnow
