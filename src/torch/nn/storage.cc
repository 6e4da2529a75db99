#include "winnow/torch/nn/storage.h"

#include <torch/nn/functional/embedding.h>
#include <torch/nn/functional/linear.h>

#include <algorithm>

#include "winnow/torch/fake_sparsity.h"
#include "winnow/torch/parametrization.h"

namespace winnow::nn {
namespace {

namespace F = torch::nn::functional;

class FloatStorage final : public WeightStorage {
 public:
  FloatStorage(at::Tensor weight, std::shared_ptr<const ParametrizationList> chain)
      : weight_(std::move(weight)), chain_(std::move(chain)) {}

  std::string_view kind() const noexcept override {
    if (chain_ == nullptr) return "dense";
    // By any link: users may chain a scale of their own behind a mask.
    const bool masked = std::ranges::any_of(*chain_, [](const auto& link) {
      return dynamic_cast<const FakeSparsity*>(link.get()) != nullptr;
    });
    return masked ? "masked" : "parametrized";
  }

  at::Tensor weight() const override { return chain_ != nullptr ? chain_->read() : weight_; }

 private:
  at::Tensor weight_;
  std::shared_ptr<const ParametrizationList> chain_;  // null if the weight is read as it is
};

}  // namespace

at::Tensor WeightStorage::embedding(const at::Tensor& indices,
                                    const torch::nn::EmbeddingOptions& options) const {
  // LibTorch's function checks and computes, so errors equal its own.
  return F::embedding(indices, weight(),
                      F::EmbeddingFuncOptions()
                          .padding_idx(options.padding_idx())
                          .max_norm(options.max_norm())
                          .norm_type(options.norm_type())
                          .scale_grad_by_freq(options.scale_grad_by_freq())
                          .sparse(options.sparse()));
}

at::Tensor WeightStorage::embedding_bag(const at::Tensor& input, const at::Tensor& offsets,
                                        const at::Tensor& per_sample_weights,
                                        const torch::nn::EmbeddingBagOptions& options) const {
  return F::embedding_bag(input, weight(),
                          F::EmbeddingBagFuncOptions()
                              .offsets(offsets)
                              .max_norm(options.max_norm())
                              .norm_type(options.norm_type())
                              .scale_grad_by_freq(options.scale_grad_by_freq())
                              .mode(options.mode())
                              .sparse(options.sparse())
                              .per_sample_weights(per_sample_weights)
                              .include_last_offset(options.include_last_offset())
                              .padding_idx(options.padding_idx()));
}

at::Tensor WeightStorage::linear(const at::Tensor& input, const at::Tensor& bias) const {
  return F::linear(input, weight(), bias);
}

std::shared_ptr<const WeightStorage> make_storage(
    const at::Tensor& weight, std::shared_ptr<const ParametrizationList> chain) {
  return std::make_shared<FloatStorage>(weight, std::move(chain));
}

}  // namespace winnow::nn
