// PRIVATE. The module that holds a data sparsifier's tensors.
#pragma once

#include <string>
#include <vector>

#include "winnow/torch/parametrization.h"

namespace winnow {

/// Has no forward; its tensors are parametrized while they are masked. What it is handed is not
/// checked here.
class DataContainer final : public torch::nn::Module, public Parametrizable {
 public:
  DataContainer() : Module("DataContainer") {}

  /// Adds `tensor`, the object itself, read through `link`; without a link plainly.
  void add(const std::string& name, const at::Tensor& tensor, bool as_parameter,
           std::shared_ptr<Parametrization> link);

  /// Takes `name` out, its tensor left as it is.
  void remove(const std::string& name);

  /// Takes the chain of `name` off, its tensor left as it is.
  void unmask(const std::string& name);

  /// Whether `name` stands among the parameters.
  bool is_parameter(const std::string& name) const;

  /// Keys and tensors as upstream's container saves them: own parameters, own buffers, then the
  /// originals and what their links save. The tensors themselves, detached.
  torch::OrderedDict<std::string, at::Tensor> state() const;

 private:
  torch::nn::Module& module() noexcept override { return *this; }
  const torch::nn::Module& module() const noexcept override { return *this; }
  torch::OrderedDict<std::string, at::Tensor>& own_parameters() noexcept override {
    return parameters_;
  }
};

/// The key of a parametrized tensor's original in a container's state.
inline std::string original_key(const std::string& name) {
  return "parametrizations." + name + ".original";
}

/// The start of the keys of its link's own tensors.
inline std::string link_prefix(const std::string& name) {
  return "parametrizations." + name + ".0.";
}

}  // namespace winnow
