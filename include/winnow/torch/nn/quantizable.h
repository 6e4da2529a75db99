// Modules whose weight can be quantized in place: winnow::nn::Embedding and EmbeddingBag.
//
//   embedding->quantize(winnow::nn::quantize_rows(embedding->storage()->weight()));
//   embedding(indices);                                  // F32 rows, from a table of bytes
//   assert(embedding->storage()->kind() == "quantized");
//
//   // To load a file of a quantized module, make one first:
//   winnow::nn::Embedding loaded(1000, 64);
//   loaded->quantize(winnow::nn::QuantizedWeight::zeros(1000, 64));
//   torch::load(loaded, "embedding.pt");
//
// Thread-safety: that of the modules; quantize needs exclusive access.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <memory>
#include <optional>

#include "winnow/torch/nn/quantized_weight.h"
#include "winnow/torch/parametrization.h"

namespace winnow::nn {

class WeightStorage;

/// The tensors of a quantized module and what LibTorch's kernels read. Opaque; safe to share
/// between threads that look rows up.
class QuantizedTable;

/// Lays a copy of `weight` out for lookups. Memory: rows * (cols + 16) bytes. c10::ValueError where
/// its check() fails.
std::shared_ptr<QuantizedTable> make_quantized_table(const QuantizedWeight& weight);

/// What a module is in which the weight can be quantized. While it is,
///   - `weight` is undefined and no parameter; there are buffers `codes`, `scales` and
///     `zero_points`, by which archives and safetensors files know it;
///   - storage() computes on the codes: each value of a lookup is that of dequantize_rows, up to a
///     rounding under ZeroPolicy::kUpstream, and without gradient;
///   - the module stays on the CPU, and to(dtype) leaves it as it is;
///   - it prints as QuantizedEmbedding or QuantizedEmbeddingBag, and clones with tensors of its
///     own.
/// Bags are computed as a bag of floats would be. Sums and means, where indices have no weights,
/// are those of LibTorch's quantized kernel, which adds fma(scale, code, sum + bias) for each row:
/// what is pruned in all rows of a bag is exactly 0, other sums may differ in their last bits from
/// those of floats. Maxima and weighted sums are computed from the rows that are looked up, which
/// takes their memory in F32.
class Quantizable {
 public:
  virtual ~Quantizable() = default;

  /// Puts a copy of `weight` in the place of the weight and its parametrizations, or of what it was
  /// quantized to before: then the buffers stay the same tensor objects. The old weight's tensor is
  /// left as it is. The training flag stays.
  /// c10::ValueError where the module has a max_norm, which would have to scale rows; where a
  /// derived class has a tensor or a child of its own by the name of one of the buffers; where the
  /// shape is not [num_embeddings, embedding_dim]; where weight.check() fails. Nothing is changed.
  void quantize(const QuantizedWeight& weight);
  /// The same by `table` itself, without a copy, and without what could fail for want of memory:
  /// for all or nothing over several modules. Modules that get the same table share its tensors:
  /// what one of them is quantized to afterwards, or loads, the others are too. A module that is
  /// quantized already keeps its buffers, so it gets a copy of the table's values, as above, and
  /// shares nothing with `table`.
  void quantize(std::shared_ptr<QuantizedTable> table);

  /// Throws what quantize throws for the module, whatever the table, and changes nothing.
  void check_quantizable() const;
  /// Throws what quantize(table) throws, and changes nothing.
  void check_quantizable(const QuantizedTable& table) const;

  /// Whether the weight is a table of bytes.
  bool is_quantized() const noexcept { return table_ != nullptr; }

  /// The buffers: the very tensors. Change them in place, and lookups see it. `codes` is strided:
  /// its rows lie between those of the kernels. c10::ValueError where the module is not quantized.
  QuantizedWeight quantized_weight() const;

  /// How the weight is stored now.
  virtual std::shared_ptr<const WeightStorage> storage() const = 0;

 protected:
  Quantizable() = default;
  Quantizable(const Quantizable&) = default;
  Quantizable& operator=(const Quantizable&) = default;

  /// What of the module's options concerns the table.
  struct TableOptions {
    int64_t rows, cols;
    bool has_max_norm;
  };
  virtual TableOptions table_options() const = 0;
  /// Makes the member `weight` undefined.
  virtual void forget_weight() noexcept = 0;

  std::shared_ptr<const WeightStorage> quantized_storage() const;
  /// c10::ValueError unless `device` is the CPU, where the kernels are.
  static void check_device(const at::Device& device);

  // How a module is cloned, saved and loaded while it is quantized.
  void register_placeholders();
  void adopt_buffers(const torch::OrderedDict<std::string, at::Tensor>& buffers);
  void save_table(torch::serialize::OutputArchive& archive) const;
  void load_table(torch::serialize::InputArchive& archive);

 private:
  void check_shape(const QuantizedWeight& weight) const;

  std::shared_ptr<QuantizedTable> table_;
};

/// Base of Embedding and EmbeddingBag: what a module does otherwise while it is quantized.
template <typename Derived>
class QuantizableModule : public ParametrizableModule<Derived>, public Quantizable {
 public:
  using ParametrizableModule<Derived>::ParametrizableModule;

  /// With buffers of its own, quantized like this one. c10::ValueError for a device but the CPU.
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<at::Device>& device = std::nullopt) const override;

  /// Bytes stay bytes on the CPU: a dtype changes nothing, another device is a c10::ValueError.
  void to(at::Device device, at::ScalarType dtype, bool non_blocking = false) override;
  void to(at::ScalarType dtype, bool non_blocking = false) override;
  void to(at::Device device, bool non_blocking = false) override;

  /// The buffers, under their names.
  void save(torch::serialize::OutputArchive& archive) const override;
  /// Where it throws, a quantized module is as it was.
  void load(torch::serialize::InputArchive& archive) override;

 protected:
  TableOptions table_options() const override {
    const auto& options = static_cast<const Derived&>(*this).options;
    return {options.num_embeddings(), options.embedding_dim(), options.max_norm().has_value()};
  }
  void forget_weight() noexcept override { static_cast<Derived&>(*this).weight = at::Tensor(); }
};

template <typename Derived>
std::shared_ptr<torch::nn::Module> QuantizableModule<Derived>::clone(
    const std::optional<at::Device>& device) const {
  if (is_quantized() && device) check_device(*device);
  auto copy = ParametrizableModule<Derived>::clone(device);
  if (is_quantized()) dynamic_cast<Derived&>(*copy).adopt_buffers(copy->named_buffers());
  return copy;
}

template <typename Derived>
void QuantizableModule<Derived>::to(at::Device device, at::ScalarType dtype, bool non_blocking) {
  if (!is_quantized()) return torch::nn::Module::to(device, dtype, non_blocking);
  check_device(device);
}

template <typename Derived>
void QuantizableModule<Derived>::to(at::ScalarType dtype, bool non_blocking) {
  if (!is_quantized()) torch::nn::Module::to(dtype, non_blocking);
}

template <typename Derived>
void QuantizableModule<Derived>::to(at::Device device, bool non_blocking) {
  if (!is_quantized()) return torch::nn::Module::to(device, non_blocking);
  check_device(device);
}

template <typename Derived>
void QuantizableModule<Derived>::save(torch::serialize::OutputArchive& archive) const {
  if (!is_quantized()) return torch::nn::Module::save(archive);
  save_table(archive);
}

template <typename Derived>
void QuantizableModule<Derived>::load(torch::serialize::InputArchive& archive) {
  if (!is_quantized()) return torch::nn::Module::load(archive);
  load_table(archive);
}

}  // namespace winnow::nn
