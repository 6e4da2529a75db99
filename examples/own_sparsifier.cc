// A custom sparsifier: it drops every value below a threshold.
//
// The base class keeps the data, the masks and the configuration, and saves and loads them. A
// sparsifier adds its defaults and one function, update_mask.
#include <torch/torch.h>

#include <iostream>
#include <string>

#include "winnow/torch/data_sparsifier.h"

namespace {

class ThresholdSparsifier : public winnow::BaseDataSparsifier {
 public:
  /// @param threshold  for data that are added without one
  explicit ThresholdSparsifier(double threshold) : BaseDataSparsifier({{"threshold", threshold}}) {}

 protected:
  /// step() calls this for every name, without gradient. It changes the mask in place, because the
  /// sparsifier keeps that tensor. A value that was dropped in an earlier step stays dropped.
  void update_mask(const std::string& name, const at::Tensor& data,
                   const winnow::NamedValues& config) override {
    get_mask(name).masked_fill_(data.abs() < config.get<double>("threshold"), 0);
  }
};

/// Prints the share of zeros. Returns false if a value other than 0 is below `threshold`.
bool report(const std::string& name, const at::Tensor& data, double threshold) {
  const at::Tensor zeros = data.eq(0);
  std::cout << name << ": " << 100 * zeros.to(torch::kDouble).mean().item<double>()
            << " % of the values are 0, all others at least " << threshold << '\n';
  return zeros.any().item<bool>() && zeros.logical_or(data.abs() >= threshold).all().item<bool>();
}

}  // namespace

int main() {
  torch::manual_seed(1);
  const at::Tensor tensor1 = torch::randn({100, 100});
  const at::Tensor param1 = torch::randn({200, 32}, torch::requires_grad());

  ThresholdSparsifier sparsifier(0.2);
  sparsifier.add_data("tensor1", tensor1, {.config = {{"threshold", 0.5}}});
  sparsifier.add_data("param1", param1);
  sparsifier.step();         // computes the masks
  sparsifier.squash_mask();  // applies them to tensor1 and param1, and stops masking

  const bool tensor_is_right = report("tensor1", tensor1, 0.5);
  const bool param_is_right = report("param1", param1, 0.2);
  return tensor_is_right && param_is_right ? 0 : 1;
}
