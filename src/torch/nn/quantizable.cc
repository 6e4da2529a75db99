#include "winnow/torch/nn/quantizable.h"

#include <c10/util/Exception.h>
#include <torch/serialize/input-archive.h>
#include <torch/serialize/output-archive.h>

#include "torch/nn/quantized_storage.h"
#include "torch/parametrize/parametrization_access.h"
#include "torch/support/inference_mode.h"

namespace winnow::nn {
using namespace internal;

namespace {

constexpr const char* kWeight = "weight";
constexpr const char* kCodes = "codes";
constexpr const char* kScales = "scales";
constexpr const char* kZeroPoints = "zero_points";

// Names that LibTorch would refuse only when half of the module is converted.
void check_names(const Parametrizable& module) {
  for (const char* name : {kCodes, kScales, kZeroPoints}) {
    TORCH_CHECK_VALUE(!ParametrizationAccess::has_name(module, name),
                      "cannot quantize a module that has a '", name,
                      "' of its own: it would be in the place of a buffer of the table");
  }
}

/// Removes the weight from the module, with its parametrizations.
void remove_weight(Parametrizable& module) {
  if (module.parametrizations(kWeight) != nullptr) ParametrizationAccess::restore(module, kWeight);
  ParametrizationAccess::erase_tensor(module, kWeight);
}

void insert_buffers(Parametrizable& module, const QuantizedWeight& weight) {
  ParametrizationAccess::insert_tensor(module, kCodes, weight.codes, /*as_parameter=*/false);
  ParametrizationAccess::insert_tensor(module, kScales, weight.scales, /*as_parameter=*/false);
  ParametrizationAccess::insert_tensor(module, kZeroPoints, weight.zero_points,
                                       /*as_parameter=*/false);
}

}  // namespace

void Quantizable::check_quantizable() const {
  TORCH_CHECK_VALUE(!table_options().has_max_norm,
                    "cannot quantize a module with max_norm, which scales rows at every lookup: "
                    "scale them once, and take max_norm out of its options");
  // Once it is quantized, the names are those of its own buffers.
  if (!is_quantized()) check_names(dynamic_cast<const Parametrizable&>(*this));
}

void Quantizable::check_quantizable(const QuantizedTable& table) const {
  check_quantizable();
  check_shape(table.weight());
}

void Quantizable::check_shape(const QuantizedWeight& weight) const {
  weight.check();
  const TableOptions options = table_options();
  const at::IntArrayRef sizes = weight.codes.sizes();
  TORCH_CHECK_VALUE(sizes[0] == options.rows && sizes[1] == options.cols, "a module of ",
                    options.rows, " x ", options.cols, " cannot have a quantized table of ",
                    sizes[0], " x ", sizes[1]);
}

void Quantizable::quantize(const QuantizedWeight& weight) {
  check_quantizable();
  quantize(make_quantized_table(weight));
}

void Quantizable::quantize(std::shared_ptr<QuantizedTable> table) {
  TORCH_CHECK_VALUE(table != nullptr, "cannot quantize a module by a table that is null");
  check_quantizable(*table);
  // Keep the buffer objects, which the caller or an archive may refer to.
  if (is_quantized()) return table_->assign(table->weight());
  auto& module = dynamic_cast<Parametrizable&>(*this);
  remove_weight(module);
  insert_buffers(module, table->weight());
  // Only the member: others may still hold the tensor, which is not changed.
  forget_weight();
  table_ = std::move(table);
}

QuantizedWeight Quantizable::quantized_weight() const {
  TORCH_CHECK_VALUE(is_quantized(), "the module is not quantized");
  return table_->weight();
}

std::shared_ptr<const WeightStorage> Quantizable::quantized_storage() const {
  return make_quantized_storage(table_);
}

void Quantizable::check_device(const at::Device& device) {
  TORCH_CHECK_VALUE(device.is_cpu(), "a quantized module cannot go to ", device,
                    ": LibTorch's kernels for it are for the CPU");
}

void Quantizable::register_placeholders() {
  insert_buffers(dynamic_cast<Parametrizable&>(*this), make_placeholders());
}

// A shallow copy shares the table of the original; a clone gets one for its own buffers.
void Quantizable::adopt_buffers(const torch::OrderedDict<std::string, at::Tensor>& buffers) {
  const QuantizedWeight objects{buffers[kCodes], buffers[kScales], buffers[kZeroPoints]};
  table_ = std::make_shared<QuantizedTable>(objects, objects);
}

void Quantizable::save_table(torch::serialize::OutputArchive& archive) const {
  const QuantizedWeight& weight = table_->weight();
  // Contiguous, or the file would also contain the scales and biases between the rows.
  archive.write(kCodes, weight.codes.contiguous(), /*is_buffer=*/true);
  archive.write(kScales, weight.scales, /*is_buffer=*/true);
  archive.write(kZeroPoints, weight.zero_points, /*is_buffer=*/true);
}

void Quantizable::load_table(torch::serialize::InputArchive& archive) {
  const InMode normal(/*inference=*/false);
  // Into new tensors first: a file with other shapes must leave the table unchanged.
  QuantizedWeight read;
  // Buffers by the names under which save_table wrote them.
  archive.read(kCodes, read.codes, /*is_buffer=*/true);
  archive.read(kScales, read.scales, /*is_buffer=*/true);
  archive.read(kZeroPoints, read.zero_points, /*is_buffer=*/true);
  check_shape(read);
  table_->assign(read);
}

}  // namespace winnow::nn
