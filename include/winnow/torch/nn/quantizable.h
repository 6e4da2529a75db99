// Modules whose weight can be quantized in place: winnow::nn::Embedding and EmbeddingBag.
//
//   embedding->quantize(winnow::nn::quantize_rows(embedding->storage()->weight()));
//   embedding(indices);                                  // F32 rows, from an int8 table
//   assert(embedding->storage()->kind() == "quantized");
//
//   // To load a quantized module from a file, quantize a new one first:
//   winnow::nn::Embedding loaded(1000, 64);
//   loaded->quantize(winnow::nn::QuantizedWeight::zeros(1000, 64));
//   torch::load(loaded, "embedding.pt");
//
// Thread-safety: that of the modules; quantize and load need exclusive access.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <iosfwd>
#include <memory>
#include <optional>

#include "winnow/torch/nn/quantized_weight.h"
#include "winnow/torch/parametrization.h"

namespace winnow::nn {

class WeightStorage;

/// The tensors of a quantized module, in the layout of LibTorch's kernels. Opaque; threads that
/// look up rows may share it.
class QuantizedTable;

/// Copies `weight` into a table for lookups. Memory: rows * (cols + 16) bytes. Throws
/// c10::ValueError if weight.check() fails.
std::shared_ptr<QuantizedTable> make_quantized_table(const QuantizedWeight& weight);

/// A module whose weight can be quantized. While it is quantized,
///   - `weight` is undefined and not a parameter; instead there are buffers `codes`, `scales` and
///     `zero_points`, which are what archives and safetensors files contain;
///   - storage() computes on the codes: each value of a lookup equals that of dequantize_rows, up
///     to a rounding under ZeroPolicy::kUpstream, and has no gradient;
///   - the module stays on the CPU, and to(dtype) has no effect;
///   - it prints as QuantizedEmbedding or QuantizedEmbeddingBag, and a clone has its own tensors.
///
/// Bags give the results of float bags. Sums and means without per-sample weights are computed by
/// LibTorch's quantized kernel, which adds fma(scale, code, sum + bias) for each row: a value that
/// is pruned in all rows of a bag is exactly 0; other sums may differ in their last bits from those
/// of floats. Maxima and weighted sums are computed from the F32 values of the rows that are looked
/// up, and take memory for them.
class Quantizable {
 public:
  virtual ~Quantizable() = default;

  /// Replaces the weight and its parametrizations by a copy of `weight`. If the module is quantized
  /// already, its buffers stay the same tensor objects and get new values. The old weight's tensor
  /// and the training flag are not changed.
  ///
  /// Throws c10::ValueError, with nothing changed, if the module has a max_norm, which would have
  /// to scale rows; if a derived class has a tensor or a child with the name of one of the buffers;
  /// if the shape is not [num_embeddings, embedding_dim]; or if weight.check() fails.
  void quantize(const QuantizedWeight& weight);
  /// Does the same with `table` itself, without a copy, so that it cannot fail for lack of memory:
  /// for converting several modules all or nothing. Modules with the same table share its tensors,
  /// so quantizing or loading one of them again changes all of them. A module that is quantized
  /// already keeps its buffers: it copies the table's values and shares nothing with `table`.
  void quantize(std::shared_ptr<QuantizedTable> table);

  /// Throws what quantize would throw because of the module, whatever the table. Changes nothing.
  void check_quantizable() const;
  /// Throws what quantize(table) would throw. Changes nothing.
  void check_quantizable(const QuantizedTable& table) const;

  /// Returns true if the weight is quantized.
  bool is_quantized() const noexcept { return table_ != nullptr; }

  /// Returns the buffers themselves: lookups see changes that are made in place. `codes` is
  /// strided, since the kernels keep scales and biases between its rows. Throws c10::ValueError if
  /// the module is not quantized.
  QuantizedWeight quantized_weight() const;

  /// Returns how the weight is stored now.
  virtual std::shared_ptr<const WeightStorage> storage() const = 0;

 protected:
  Quantizable() = default;
  Quantizable(const Quantizable&) = default;
  Quantizable& operator=(const Quantizable&) = default;

  /// The options of the module that matter for the table.
  struct TableOptions {
    int64_t rows, cols;
    bool has_max_norm;
  };
  virtual TableOptions table_options() const = 0;
  /// Makes the member `weight` an undefined tensor.
  virtual void forget_weight() noexcept = 0;

  std::shared_ptr<const WeightStorage> quantized_storage() const;
  /// Throws c10::ValueError unless `device` is the CPU: the kernels run nowhere else.
  static void check_device(const at::Device& device);

  // For cloning, saving and loading a quantized module.
  void register_placeholders();
  void adopt_buffers(const torch::OrderedDict<std::string, at::Tensor>& buffers);
  void save_table(torch::serialize::OutputArchive& archive) const;
  void load_table(torch::serialize::InputArchive& archive);

 private:
  void check_shape(const QuantizedWeight& weight) const;

  std::shared_ptr<QuantizedTable> table_;
};

/// The base of Embedding and EmbeddingBag, which is all of them but forward. Options, initial
/// values, parameter names, archives and errors are those of `LibTorchImpl`. No module here derives
/// from LibTorch's, because a call through that type would not see a mask.
///
/// Differs from LibTorch: a clone has tensors of its own even if the weight was passed in, and
/// keeps requires_grad.
template <typename Derived, typename LibTorchImpl, typename Options>
class QuantizableModule : public ParametrizableModule<Derived>, public Quantizable {
 public:
  /// Initializes the weight as torch::nn does: the same values for the same seed.
  QuantizableModule(int64_t num_embeddings, int64_t embedding_dim)
      : QuantizableModule(Options(num_embeddings, embedding_dim)) {}
  explicit QuantizableModule(Options options);

  /// Converts a module of LibTorch, with its options, training flag and weight. The weight is the
  /// same tensor object, so both modules and an optimizer see each other's changes.
  explicit QuantizableModule(const LibTorchImpl& module);
  /// Does the same from its holder.
  explicit QuantizableModule(const torch::nn::ModuleHolder<LibTorchImpl>& module)
      : QuantizableModule(*module) {}

  void reset() override;
  /// Initializes the original anew. Throws c10::ValueError if the module is quantized.
  void reset_parameters();
  void pretty_print(std::ostream& stream) const override;

  /// Returns how the weight is stored now.
  std::shared_ptr<const WeightStorage> storage() const override;

  /// Returns a copy with its own tensors. If this module is quantized, so is the copy; any device
  /// other than the CPU is a c10::ValueError then.
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<at::Device>& device = std::nullopt) const override {
    if (is_quantized() && device) check_device(*device);
    auto copy = ParametrizableModule<Derived>::clone(device);
    if (is_quantized()) dynamic_cast<Derived&>(*copy).adopt_buffers(copy->named_buffers());
    return copy;
  }

  /// For a quantized module, a dtype has no effect, and any device other than the CPU is a
  /// c10::ValueError.
  void to(at::Device device, at::ScalarType dtype, bool non_blocking = false) override {
    if (!is_quantized()) return torch::nn::Module::to(device, dtype, non_blocking);
    check_device(device);
  }
  void to(at::ScalarType dtype, bool non_blocking = false) override {
    if (!is_quantized()) torch::nn::Module::to(dtype, non_blocking);
  }
  void to(at::Device device, bool non_blocking = false) override {
    if (!is_quantized()) return torch::nn::Module::to(device, non_blocking);
    check_device(device);
  }

  /// Saves the buffers of a quantized module under their names.
  void save(torch::serialize::OutputArchive& archive) const override {
    is_quantized() ? save_table(archive) : torch::nn::Module::save(archive);
  }
  /// Loads them. If it throws, a quantized module is unchanged.
  void load(torch::serialize::InputArchive& archive) override {
    is_quantized() ? load_table(archive) : torch::nn::Module::load(archive);
  }

  /// The options of the constructor, without `_weight`, which became `weight`.
  Options options;

  /// The original: [num_embeddings, embedding_dim]. Masking does not change the tensor object; do
  /// not assign another while it is masked. Undefined once the module is quantized.
  at::Tensor weight;

 protected:
  TableOptions table_options() const override {
    return {options.num_embeddings(), options.embedding_dim(), options.max_norm().has_value()};
  }
  void forget_weight() noexcept override { weight = at::Tensor(); }
};

}  // namespace winnow::nn
