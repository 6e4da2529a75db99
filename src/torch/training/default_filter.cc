// The default rule for the parameters of a model.
#include <c10/util/Exception.h>
#include <torch/nn/module.h>

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "torch/support/dtype_map.h"
#include "winnow/core/default_selection.h"
#include "winnow/torch/training/attach.h"

namespace winnow {
using namespace internal;

namespace {

/// The rule treats dtypes that files cannot have, such as quantized ones, as codes, like bytes.
DType rule_dtype(c10::ScalarType type) { return dtype_of(type).value_or(DType::kU8); }

/// The tensors of a model in the form of the rule. Owns the names and shapes that facts refer to.
class ModelFacts {
 public:
  explicit ModelFacts(const torch::nn::Module& model)
      : parameters_(model.named_parameters()), buffers_(model.named_buffers()) {
    shapes_.reserve(parameters_.size() + buffers_.size());
    for (const auto* tensors : {&parameters_, &buffers_}) {
      for (const auto& item : *tensors) {
        const at::IntArrayRef sizes = item.value().sizes();
        shapes_.emplace_back(sizes.begin(), sizes.end());
        facts_.push_back({item.key(), rule_dtype(item.value().scalar_type()), shapes_.back()});
      }
    }
  }

  /// The parameters to leave alone. A tensor that the rule leaves alone under one of its names,
  /// which may be that of a buffer, is left alone under all of them.
  std::vector<LeftAloneParameter> left_alone() const {
    const std::vector<DefaultChoice> choices = default_selection(facts_);
    std::unordered_map<const at::TensorImpl*, LeftAlone> reasons;
    for (size_t i = 0; i < choices.size(); ++i) {
      const auto& reason = choices[i].in_training;
      if (reason) reasons.emplace(tensor(i).unsafeGetTensorImpl(), *reason);
    }
    std::vector<LeftAloneParameter> left;
    for (const auto& item : parameters_) {
      const auto reason = reasons.find(item.value().unsafeGetTensorImpl());
      if (reason == reasons.end()) continue;
      left.push_back({item.key(), std::string(left_alone_text(reason->second))});
    }
    return left;
  }

 private:
  const at::Tensor& tensor(size_t i) const {
    return i < parameters_.size() ? parameters_[i].value()
                                  : buffers_[i - parameters_.size()].value();
  }

  const torch::OrderedDict<std::string, at::Tensor> parameters_, buffers_;
  std::vector<std::vector<uint64_t>> shapes_;
  std::vector<TensorFacts> facts_;
};

}  // namespace

std::vector<LeftAloneParameter> left_alone(const torch::nn::Module& model) {
  return ModelFacts(model).left_alone();
}

ParameterFilter default_filter(const torch::nn::Module& model) {
  std::unordered_set<std::string> left;
  for (LeftAloneParameter& parameter : left_alone(model)) left.insert(std::move(parameter.fqn));
  return [left = std::move(left)](const std::string& fqn, const at::Tensor&) {
    return !left.contains(fqn);
  };
}

}  // namespace winnow
