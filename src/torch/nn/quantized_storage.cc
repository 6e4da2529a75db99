#include "torch/nn/quantized_storage.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>
#include <torch/nn/functional/embedding.h>
#include <torch/nn/options/embedding.h>

#include <optional>
#include <variant>

#include "torch/nn/bags.h"
#include "torch/support/inference_mode.h"

namespace winnow::nn {
using namespace internal;

namespace {

namespace F = torch::nn::functional;
using torch::nn::EmbeddingBagOptions;

// ---- the layout: the codes of a row, then its scale and its bias (-zero_point * scale), in F32

constexpr int64_t kTailBytes = 2 * sizeof(float);

at::Tensor codes_in(const at::Tensor& rows) { return rows.narrow(1, 0, rows.size(1) - kTailBytes); }

void write_tails(const at::Tensor& rows, const QuantizedWeight& weight) {
  const at::Tensor bias = (weight.zero_points * weight.scales).neg_();
  rows.narrow(1, rows.size(1) - kTailBytes, kTailBytes)
      .copy_(at::stack({weight.scales, bias}, 1).view(at::kByte));
}

at::Tensor laid_out(const QuantizedWeight& weight) {
  const at::Tensor& codes = weight.codes;
  at::Tensor rows = at::empty({codes.size(0), codes.size(1) + kTailBytes}, at::kByte);
  // Codes may have any strides; a row of the kernel is contiguous.
  codes_in(rows).copy_(codes);
  write_tails(rows, weight);
  return rows;
}

bool same_view(const at::Tensor& a, const at::Tensor& b) {
  // The same memory is not enough: a view may have moved within it.
  return b.defined() && a.is_alias_of(b) && a.storage_offset() == b.storage_offset() &&
         a.sizes() == b.sizes() && a.strides() == b.strides() && a.scalar_type() == b.scalar_type();
}

/// Inference tensors, which set_data may have put in, have no version counter.
uint32_t version_of(const at::Tensor& tensor) {
  const auto& counter = tensor.unsafeGetTensorImpl()->version_counter();
  return counter.enabled() ? counter.current_version() : 0;
}

// ---- the kernel

/// Returns the sums of the rows of each bag. A row adds fma(scale, code, sum + bias), so an exact 0
/// adds nothing to a sum of 0. The kernel's per-sample weights are not used, because they round
/// scale and bias separately. The kernel takes plain tensors, so no quantized tensor is made, which
/// would warn of deprecation.
///
/// @param bounds [bags + 1], the start of each bag and the end of the last
at::Tensor bag_sums(const at::Tensor& rows, const at::Tensor& indices, const at::Tensor& bounds) {
  using Tensor = at::Tensor;
  using Optional = std::optional<at::Tensor>;
  // Looked up once: finding a schema takes a lock and a hash.
  static const auto kernel =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("quantized::embedding_bag_byte_rowwise_offsets", "")
          .typed<Tensor(const Tensor&, const Tensor&, const Optional&, bool, int64_t, bool,
                        const Optional&, const Optional&, bool)>();
  // With more than one thread, the kernel fails for a table without columns.
  if (rows.size(1) == kTailBytes) return at::empty({bounds.numel() - 1, 0}, at::kFloat);
  constexpr int64_t kSum = 0;
  return kernel.call(rows, indices.contiguous(), bounds.contiguous(), /*scale_grad_by_freq=*/false,
                     kSum, /*pruned_weights=*/false, /*per_sample_weights=*/std::nullopt,
                     /*compressed_indices_mapping=*/std::nullopt, /*include_last_offset=*/true);
}

/// Returns the rows of `indices`, which are flat, as bags of one row each: [indices, cols].
at::Tensor gather(const at::Tensor& rows, const at::Tensor& indices) {
  return bag_sums(rows, indices, at::arange(indices.numel() + 1, indices.options()));
}

// ---- bags

/// The mean of an empty bag is 0, as in LibTorch.
at::Tensor means(const at::Tensor& sums, const at::Tensor& bounds) {
  return sums / bounds.diff().clamp_min(1).to(at::kFloat).unsqueeze(1);
}

/// Computes what the kernel cannot with LibTorch's float bag, on only the rows that are looked up.
at::Tensor bag_of_floats(const at::Tensor& rows, const Bags& bags,
                         const EmbeddingBagOptions& options) {
  return F::embedding_bag(at::arange(bags.indices.numel(), bags.indices.options()),
                          gather(rows, bags.indices),
                          F::EmbeddingBagFuncOptions()
                              .offsets(bags.bounds)
                              .mode(options.mode())
                              .sparse(options.sparse())
                              .scale_grad_by_freq(options.scale_grad_by_freq())
                              .per_sample_weights(bags.per_sample_weights)
                              .include_last_offset(true));
}

class QuantizedStorage final : public WeightStorage {
 public:
  explicit QuantizedStorage(std::shared_ptr<QuantizedTable> table) : table_(std::move(table)) {}

  std::string_view kind() const noexcept override { return "quantized"; }
  at::Tensor weight() const override { return dequantize_rows(table_->weight()); }

  at::Tensor embedding(const at::Tensor& indices,
                       const torch::nn::EmbeddingOptions& options) const override {
    check_max_norm(options.max_norm());
    const at::Tensor rows = table_->rows();
    check_indices(indices, rows.size(0));
    // The kernel knows flat indices only; the shape is put back afterwards.
    std::vector<int64_t> sizes = indices.sizes().vec();
    sizes.push_back(options.embedding_dim());
    return gather(rows, indices.reshape(-1)).view(sizes);
  }

  at::Tensor embedding_bag(const at::Tensor& input, const at::Tensor& offsets,
                           const at::Tensor& per_sample_weights,
                           const EmbeddingBagOptions& options) const override {
    check_max_norm(options.max_norm());
    const at::Tensor rows = table_->rows();
    const Bags bags = make_bags(input, offsets, per_sample_weights, options, rows.size(0));
    // The kernel has no maximum, and its weights round otherwise.
    const bool has_maxima = std::holds_alternative<torch::enumtype::kMax>(options.mode());
    if (has_maxima || per_sample_weights.defined()) return bag_of_floats(rows, bags, options);
    const at::Tensor sums = bag_sums(rows, bags.indices, bags.bounds);
    const bool has_means = std::holds_alternative<torch::enumtype::kMean>(options.mode());
    return has_means ? means(sums, bags.bounds) : sums;
  }

 private:
  static void check_max_norm(const std::optional<double>& max_norm) {
    TORCH_CHECK_VALUE(!max_norm, "max_norm scales rows in place, which a quantized table cannot");
  }

  std::shared_ptr<QuantizedTable> table_;
};

}  // namespace

QuantizedTable::Seen::Seen(const at::Tensor& tensor)
    : alias_(tensor.detach()), version_(version_of(tensor)) {}

bool QuantizedTable::Seen::is_still(const at::Tensor& tensor) const {
  return same_view(alias_, tensor) && version_of(tensor) == version_;
}

QuantizedTable::QuantizedTable(const QuantizedWeight& values, QuantizedWeight objects)
    : weight_(std::move(objects)) {
  assign(values);
}

void QuantizedTable::assign(const QuantizedWeight& values) {
  // Everything that may throw comes before the first set_data.
  values.check();
  const InMode normal(/*inference=*/false);
  const at::NoGradGuard no_grad;
  const at::Tensor rows = laid_out(values);
  const at::Tensor scales = values.scales.clone(), zero_points = values.zero_points.clone();
  // set_data keeps the tensor objects, which the module has registered as its buffers.
  const std::scoped_lock lock(mutex_);
  weight_.codes.set_data(codes_in(rows));
  weight_.scales.set_data(scales);
  weight_.zero_points.set_data(zero_points);
  rows_ = rows;
  see();
}

at::Tensor QuantizedTable::rows() {
  const std::scoped_lock lock(mutex_);
  // The buffers are public: load, copy_ and set_data may have changed them since the last lookup.
  const bool fresh = seen_->codes.is_still(weight_.codes) &&
                     seen_->scales.is_still(weight_.scales) &&
                     seen_->zero_points.is_still(weight_.zero_points);
  if (!fresh) follow();
  return rows_;
}

void QuantizedTable::follow() {
  weight_.check();
  const InMode normal(/*inference=*/false);
  const at::NoGradGuard no_grad;
  if (same_view(codes_in(rows_), weight_.codes)) {
    write_tails(rows_, weight_);  // the codes are a view of the rows, so they are there already
  } else {
    rows_ = laid_out(weight_);
  }
  see();
}

void QuantizedTable::see() {
  seen_ = {Seen(weight_.codes), Seen(weight_.scales), Seen(weight_.zero_points)};
}

QuantizedWeight make_placeholders() {
  const InMode normal(/*inference=*/false);
  return {at::empty({0, 0}, at::kByte), at::empty({0}, at::kFloat), at::empty({0}, at::kFloat)};
}

std::shared_ptr<QuantizedTable> make_quantized_table(const QuantizedWeight& weight) {
  return std::make_shared<QuantizedTable>(weight, make_placeholders());
}

std::shared_ptr<const WeightStorage> make_quantized_storage(std::shared_ptr<QuantizedTable> table) {
  return std::make_shared<QuantizedStorage>(std::move(table));
}

}  // namespace winnow::nn
