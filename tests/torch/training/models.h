// Small models that the training tests share.
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

namespace winnow::testing {

/// Two Linears, as upstream's tests of the callbacks have them.
struct LinearsImpl : torch::nn::Cloneable<LinearsImpl> {
  explicit LinearsImpl(bool bias = false) : bias(bias) { reset(); }

  void reset() override {
    namespace nn = torch::nn;
    linears = register_module(
        "linears", nn::Sequential(nn::Linear(nn::LinearOptions(8, 4).bias(bias)), nn::ReLU(),
                                  nn::Linear(nn::LinearOptions(4, 2).bias(bias))));
  }
  at::Tensor forward(const at::Tensor& x) { return linears->forward(x); }

  bool bias;
  torch::nn::Sequential linears{nullptr};
};
TORCH_MODULE(Linears);

/// Sets every parameter to 1, 2, 3, ...
inline void count_up(torch::nn::Module& model) {
  const torch::NoGradGuard no_grad;
  for (at::Tensor parameter : model.parameters()) {
    parameter.copy_(torch::arange(1, parameter.numel() + 1).reshape(parameter.sizes()));
  }
}

/// The values, row by row.
inline std::vector<double> values_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(at::kDouble).contiguous().view(-1);
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

inline int64_t zeros_in(const at::Tensor& tensor) {
  return tensor.numel() - tensor.count_nonzero().item<int64_t>();
}

}  // namespace winnow::testing
