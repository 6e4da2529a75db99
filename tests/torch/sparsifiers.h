// Small sparsifiers and helpers that several tests share.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <vector>

#include "winnow/torch/data_sparsifier.h"
#include "winnow/torch/parametrization.h"

namespace winnow::testing {

/// Drops the first row, and counts its steps in the state of each name.
class FirstRowSparsifier : public BaseDataSparsifier {
 public:
  explicit FirstRowSparsifier(NamedValues defaults = {})
      : BaseDataSparsifier(std::move(defaults)) {}

  std::unique_ptr<FirstRowSparsifier> clone() const {
    return std::unique_ptr<FirstRowSparsifier>(new FirstRowSparsifier(DeepCopyOf{*this}));
  }

 protected:
  explicit FirstRowSparsifier(DeepCopyOf other) : BaseDataSparsifier(other) {}
  void update_mask(const std::string& name, const at::Tensor&, const NamedValues&) override {
    get_mask(name)[0].zero_();
    const c10::IValue* count = state(name).find("step_count");
    state(name).set("step_count", count == nullptr ? 1 : count->toInt() + 1);
  }
};

/// A parametrization of a user's own, with a tensor in the state.
class Doubling : public Parametrization {
 public:
  explicit Doubling(at::Tensor mask) : mask_(std::move(mask)) {
    factor_ = register_buffer("factor", torch::full({1}, 2.0F));
  }
  at::Tensor forward(const at::Tensor& x) override { return mask_ * x * factor_; }

 private:
  at::Tensor mask_, factor_;
};

inline void register_doubling() {
  register_parametrization_type(
      "doubling", [](const at::Tensor& mask) { return std::make_shared<Doubling>(mask); });
}

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
