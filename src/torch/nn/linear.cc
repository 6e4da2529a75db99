#include "winnow/torch/nn/linear.h"

#include <ATen/ops/empty.h>
#include <torch/nn/init.h>
#include <torch/nn/modules/linear.h>

#include <cmath>
#include <ostream>

namespace winnow::nn {
namespace {

/// Returns an empty tensor that a clone fills, or an undefined one if the module has none.
at::Tensor placeholder(const at::Tensor& tensor) {
  return tensor.defined() ? at::empty({0}, tensor.options()) : at::Tensor();
}

bool requires_grad(const at::Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); }

}  // namespace

LinearImpl::LinearImpl(int64_t in_features, int64_t out_features)
    : LinearImpl(LinearOptions(in_features, out_features)) {}

// LibTorch draws the values, so they equal its own.
LinearImpl::LinearImpl(const LinearOptions& options) : LinearImpl(torch::nn::LinearImpl(options)) {}

LinearImpl::LinearImpl(const torch::nn::Linear& module) : LinearImpl(*module) {}

LinearImpl::LinearImpl(const torch::nn::LinearImpl& module) : options(module.options) {
  weight = register_parameter("weight", module.weight, requires_grad(module.weight));
  bias = register_parameter("bias", module.bias, requires_grad(module.bias));
  train(module.is_training());
}

// Called only for clones, which fill the tensors afterwards.
void LinearImpl::reset() {
  weight = register_parameter("weight", placeholder(weight), requires_grad(weight));
  bias = register_parameter("bias", placeholder(bias), requires_grad(bias));
}

void LinearImpl::reset_parameters() {
  // The formulas of torch::nn::LinearImpl, which would register other tensors.
  torch::nn::init::kaiming_uniform_(weight, std::sqrt(5.0));
  if (!bias.defined()) return;
  const double bound = 1 / std::sqrt(static_cast<double>(weight.size(1)));
  torch::nn::init::uniform_(bias, -bound, bound);
}

void LinearImpl::pretty_print(std::ostream& stream) const {
  stream << "winnow::nn::Linear(in_features=" << options.in_features()
         << ", out_features=" << options.out_features()
         << ", bias=" << (options.bias() ? "true" : "false") << ")";
}

at::Tensor LinearImpl::forward(const at::Tensor& input) {
  // Not read(), which lists all tensors to find one that has no chain.
  const auto bias_chain = parametrizations("bias");
  return storage()->linear(input, bias_chain != nullptr ? bias_chain->read() : bias);
}

std::shared_ptr<const WeightStorage> LinearImpl::storage() const {
  return make_storage(weight, parametrizations("weight"));
}

}  // namespace winnow::nn
