// PRIVATE. The texts of LibTorch's modules, in our namespace.
#pragma once

#include <torch/nn/module.h>

#include <sstream>
#include <string>
#include <string_view>

namespace winnow::nn {

/// Returns the module's text with "winnow::nn::Name(...)" for "torch::nn::Name(...)".
inline std::string libtorch_text(const torch::nn::Module& module) {
  std::ostringstream text;
  module.pretty_print(text);
  return "winnow" + text.str().substr(std::string_view("torch").size());
}

/// Returns the module's text with "QuantizedName(...)" for it, as Python prints quantized modules.
inline std::string quantized_text(const torch::nn::Module& module) {
  return "Quantized" + libtorch_text(module).substr(std::string_view("winnow::nn::").size());
}

}  // namespace winnow::nn
