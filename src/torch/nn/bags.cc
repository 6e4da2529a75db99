#include "torch/nn/bags.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <variant>

namespace winnow::nn {
namespace {

using torch::nn::EmbeddingBagOptions;

// The checks and their messages follow LibTorch's float bag, so that a module that is quantized
// refuses the same arguments as before.
void check_type(const at::Tensor& tensor, const char* name) {
  const auto type = tensor.scalar_type();
  TORCH_CHECK(type == at::kLong || type == at::kInt, "Expected ", name,
              " to have one of the following scalar types: Long, Int; but got ", type);
  TORCH_CHECK_VALUE(tensor.device().is_cpu(), "a quantized table is on the CPU, the ", name,
                    " are on ", tensor.device());
}

void check_shapes(const at::Tensor& input, const at::Tensor& offsets) {
  TORCH_CHECK(input.dim() == 1 || input.dim() == 2,
              "input has to be 1D or 2D Tensor, but got Tensor of dimension ", input.dim());
  if (input.dim() == 2) {
    TORCH_CHECK(!offsets.defined(),
                "if input is 2D, then offsets has to be null, as each of its rows is a bag");
    TORCH_CHECK(input.size(1) > 0,
                "input: expected at least one index in each bag of a 2D input, found the shape ",
                input.sizes());
  } else {
    TORCH_CHECK(offsets.defined() && offsets.dim() == 1,
                "offsets has to be a 1D Tensor where input is one");
    check_type(offsets, "offsets");
  }
}

void check_weights(const at::Tensor& weights, const at::Tensor& input,
                   const EmbeddingBagOptions& options) {
  if (!weights.defined()) return;
  TORCH_CHECK(weights.sizes() == input.sizes(), "expected per_sample_weights to have the shape ",
              input.sizes(), " of input, but got ", weights.sizes());
  TORCH_CHECK_NOT_IMPLEMENTED(std::holds_alternative<torch::enumtype::kSum>(options.mode()),
                              "per_sample_weights is only supported for mode kSum");
  TORCH_CHECK(weights.scalar_type() == at::kFloat,
              "expected per_sample_weights of the type of the rows, Float, but got ",
              weights.scalar_type());
}

void check_padding(const std::optional<int64_t>& padding, int64_t rows) {
  TORCH_CHECK(!padding || (*padding >= -rows && *padding < rows),
              "padding_idx must be within the number of embeddings, ", -rows, " through ", rows - 1,
              ", but got ", padding.value_or(0));
}

// LibTorch's kernel trusts the offsets: any that is out of order would make it read elsewhere.
void check_bounds(const at::Tensor& bounds, int64_t count) {
  TORCH_CHECK(bounds.numel() > 0, "with include_last_offset, offsets needs at least one element");
  const auto first = bounds[0].item<int64_t>(), last = bounds[-1].item<int64_t>();
  TORCH_CHECK(first == 0, "offsets[0] has to be 0, where the first bag starts, but got ", first);
  TORCH_CHECK(last <= count, "offsets[-1] can not be greater than input's length ", count,
              " but got ", last);
  TORCH_CHECK(bounds.le(count).all().item<bool>(), "an offset is beyond the ", count,
              " indices of input: the largest is ", bounds.max().item<int64_t>());
  TORCH_CHECK(bounds.diff().ge(0).all().item<bool>(),
              "offsets must not decrease: a bag cannot end before it starts");
}

at::Tensor make_bounds(const at::Tensor& input, const at::Tensor& offsets, at::ScalarType type,
                       bool include_last_offset) {
  const auto options = at::TensorOptions(type);
  at::Tensor starts =
      offsets.defined() ? offsets.to(type) : at::arange(0, input.numel(), input.size(1), options);
  if (include_last_offset) return starts;
  // Without bags, the only bound is 0: no bag has an end.
  const int64_t end = starts.numel() == 0 ? 0 : input.numel();
  return at::cat({starts, at::full({1}, end, options)});
}

/// Removes the indices after the last bag.
void drop_rest(Bags& bags) {
  const auto end = bags.bounds[-1].item<int64_t>();
  bags.indices = bags.indices.narrow(0, 0, end);
  if (!bags.per_sample_weights.defined()) return;
  bags.per_sample_weights = bags.per_sample_weights.narrow(0, 0, end);
}

/// Removes the indices that equal `padding`, which the quantized kernel does not know. A bound
/// becomes the number of indices kept before it.
void drop_padding(Bags& bags, int64_t padding) {
  const at::Tensor keep = bags.indices.ne(padding);
  const at::Tensor places = at::cat({at::zeros({1}, at::kLong), keep.cumsum(0)});
  bags.bounds = places.index_select(0, bags.bounds).to(bags.bounds.scalar_type());
  bags.indices = bags.indices.masked_select(keep);
  if (!bags.per_sample_weights.defined()) return;
  bags.per_sample_weights = bags.per_sample_weights.masked_select(keep);
}

}  // namespace

void check_indices(const at::Tensor& indices, int64_t rows) {
  check_type(indices, "indices");
  if (indices.numel() == 0) return;
  // Both ends in one pass, before the kernel sees an index.
  const auto [low, high] = at::aminmax(indices);
  const auto least = low.item<int64_t>(), most = high.item<int64_t>();
  TORCH_CHECK_INDEX(least >= 0 && most < rows, "index out of range in self: the table has ", rows,
                    " rows, found ", least < 0 ? least : most);
}

Bags make_bags(const at::Tensor& input, const at::Tensor& offsets,
               const at::Tensor& per_sample_weights, const EmbeddingBagOptions& options,
               int64_t rows) {
  check_shapes(input, offsets);
  check_weights(per_sample_weights, input, options);
  check_indices(input, rows);
  check_padding(options.padding_idx(), rows);
  // The kernel wants one type for both, as LibTorch's does.
  const auto type = offsets.defined()
                        ? at::promote_types(input.scalar_type(), offsets.scalar_type())
                        : input.scalar_type();
  Bags bags{input.to(type).reshape(-1),
            make_bounds(input, offsets, type, options.include_last_offset()),
            {}};
  if (per_sample_weights.defined()) bags.per_sample_weights = per_sample_weights.reshape(-1);
  check_bounds(bags.bounds, input.numel());
  drop_rest(bags);
  // After drop_rest: padding behind the last bag is gone already.
  if (const auto padding = options.padding_idx()) {
    drop_padding(bags, *padding < 0 ? *padding + rows : *padding);
  }
  return bags;
}

}  // namespace winnow::nn
