// Small sparsifiers and helpers that several tests share.
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "winnow/torch/data_sparsifier.h"

namespace winnow::testing {

/// Drops the first row, and counts its steps in the state of each name.
class FirstRowSparsifier : public BaseDataSparsifier {
 public:
  explicit FirstRowSparsifier(NamedValues defaults = {})
      : BaseDataSparsifier(std::move(defaults)) {}
  FirstRowSparsifier(const FirstRowSparsifier&) = default;

 protected:
  void update_mask(const std::string& name, const at::Tensor&, const NamedValues&) override {
    get_mask(name)[0].zero_();
    const c10::IValue* count = state(name).find("step_count");
    state(name).set("step_count", count == nullptr ? 1 : count->toInt() + 1);
  }
};

/// What a failing call says, without where it stands; empty where it does not throw `Error`.
template <typename Error, typename Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what_without_backtrace();
  }
  return "";
}

/// 1, 2, ... in the given shape.
inline at::Tensor counting(at::IntArrayRef shape) {
  return torch::arange(1, c10::multiply_integers(shape) + 1, torch::kFloat).reshape(shape);
}

}  // namespace winnow::testing
