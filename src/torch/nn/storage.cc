#include "winnow/torch/nn/storage.h"

#include <torch/nn/functional/embedding.h>
#include <torch/nn/functional/linear.h>

#include <algorithm>

#include "winnow/torch/fake_sparsity.h"
#include "winnow/torch/parametrization.h"

namespace winnow::nn {
namespace {

namespace F = torch::nn::functional;

class DenseStorage final : public WeightStorage {
 public:
  explicit DenseStorage(at::Tensor weight) : weight_(std::move(weight)) {}
  std::string_view kind() const noexcept override { return "dense"; }
  at::Tensor weight() const override { return weight_; }

 private:
  at::Tensor weight_;
};

class ParametrizedStorage final : public WeightStorage {
 public:
  explicit ParametrizedStorage(std::shared_ptr<const ParametrizationList> chain)
      : chain_(std::move(chain)) {}

  std::string_view kind() const noexcept override {
    const bool masked = std::ranges::any_of(*chain_, [](const auto& link) {
      return dynamic_cast<const FakeSparsity*>(link.get()) != nullptr;
    });
    return masked ? "masked" : "parametrized";
  }

  at::Tensor weight() const override { return chain_->read(); }

 private:
  std::shared_ptr<const ParametrizationList> chain_;
};

}  // namespace

at::Tensor WeightStorage::embedding(const at::Tensor& indices,
                                    const torch::nn::EmbeddingOptions& options) const {
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
  if (chain != nullptr) return std::make_shared<ParametrizedStorage>(std::move(chain));
  return std::make_shared<DenseStorage>(weight);
}

}  // namespace winnow::nn
