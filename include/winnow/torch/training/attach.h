// From a model to a sparsifier: its parameters as data, and how sparse they are.
//
//   winnow::DataNormSparsifier sparsifier({.sparsity_level = 0.9});
//   winnow::attach_model(*model, sparsifier, {.filter = [](const std::string& name, const auto&) {
//     return name.starts_with("embeddings.");
//   }});
//   winnow::attach_model(*model, sparsifier, {.filter = winnow::default_filter(*model)});
//
// Source: torch.ao.pruning's lightning.callbacks._data_sparstity_utils. Thread-safety: none.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>  // before the next, which uses it
#include <torch/ordered_dict.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "winnow/torch/data_sparsifier.h"

namespace torch::nn {
class Module;
}

namespace winnow {

/// The name under which attach_model adds the parameter `fqn`: every '.' becomes '_'.
std::string valid_name(const std::string& fqn);

/// Of every parameter of `model` once, by its first name: what an optimizer should be made of where
/// modules share a weight. `parameters()` has such a weight twice, and an optimizer moves it twice.
std::vector<std::pair<std::string, at::Tensor>> distinct_parameters(const torch::nn::Module& model);

/// Which parameters take part, by fully qualified name.
using ParameterFilter = std::function<bool(const std::string& fqn, const at::Tensor& parameter)>;

/// A parameter that the default rule leaves alone, and why, in one line.
struct LeftAloneParameter {
  std::string fqn;
  std::string reason;
};

/// The parameters of `model` that masks should not be held on: biases, norms, scales of quantized
/// weights, magnitudes and directions of weight_norm and the like. The rule is that of
/// `winnow prune` (core/default_selection.h, docs/selection.md) and goes by name, dtype and shape
/// of all parameters and buffers; in the model's order.
std::vector<LeftAloneParameter> left_alone(const torch::nn::Module& model);

/// A filter that takes in all other parameters of `model`. It keeps their names, not the model.
ParameterFilter default_filter(const torch::nn::Module& model);

struct AttachOptions {
  /// Overrides of the sparsifier's defaults, by valid_name.
  torch::OrderedDict<std::string, NamedValues> config{"config"};
  /// Which parameters take part. Unset: all of them, as upstream has it, with one warning that
  /// names those that default_filter would leave out.
  ParameterFilter filter = nullptr;
  /// Says that names which the sparsifier has already are meant: no warning, of the filter neither.
  bool replace = false;
};

/// Adds every parameter of `module` that passes the filter, as the same tensor object, under its
/// valid_name. A parameter that is shared is added once, by its first name; the filter is asked for
/// all of its names, and `config` may use any of them.
///
/// c10::ValueError where the filter takes in one name of a shared parameter and not another, two
/// parameters have one valid_name (`a.b` and `a_b`), the module has no parameter, the filter takes
/// in none of them, or `config` has a name that no parameter has. Errors of add_data. All but the
/// last are found before anything is added. Names that the sparsifier has already are replaced,
/// with add_data's warning unless `replace`; their masks and configurations are kept.
///
/// Differs from torch.ao: a collision of names is an error; there the first tensor stays dense.
void attach_model(const torch::nn::Module& module, BaseDataSparsifier& sparsifier,
                  const AttachOptions& options = {});

/// How much of one parameter its mask drops.
struct SparsityLevel {
  std::string fqn;
  double level = 0;  ///< 1 - mean(mask); 0 where it has no values
};

/// Of every parameter of `model` that the sparsifier has under its valid_name, in the model's
/// order.
std::vector<SparsityLevel> sparsity_levels(const torch::nn::Module& model,
                                           const BaseDataSparsifier& sparsifier);

/// "Sparsity in layer users.weight = 90.00%"
std::string to_text(const SparsityLevel& level);

/// A deep copy by `module.clone()`. LibTorch's random numbers go on as if none had been made.
///
/// c10::ValueError where the copy would lose what the model has: two names for one parameter
/// (tied weights), which clone() gives two tensors. c10::Error of LibTorch where a module cannot be
/// cloned: derive it from torch::nn::Cloneable.
std::shared_ptr<torch::nn::Module> clone_model(const torch::nn::Module& model);

}  // namespace winnow
