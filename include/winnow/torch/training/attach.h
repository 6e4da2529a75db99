// Attaches the parameters of a model to a sparsifier, and tells how sparse they are.
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

namespace winnow {

/// Returns the name under which attach_model adds the parameter `fqn`: every '.' becomes '_'.
std::string valid_name(const std::string& fqn);

/// Returns every parameter of `model` once, under its first name. Construct optimizers from these
/// if modules share a weight: `parameters()` lists such a weight twice, and an optimizer would
/// update it twice.
std::vector<std::pair<std::string, at::Tensor>> distinct_parameters(const torch::nn::Module& model);

/// Which parameters take part, by fully qualified name.
using ParameterFilter = std::function<bool(const std::string& fqn, const at::Tensor& parameter)>;

/// A parameter that the default rule leaves alone, and why, in one line.
struct LeftAloneParameter {
  std::string fqn;
  std::string reason;
};

/// Returns the parameters of `model` that should not be masked, in the model's order: biases,
/// norms, scales of quantized weights, magnitudes and directions of weight_norm and the like. The
/// rule is that of `winnow prune` (core/default_selection.h, docs/selection.md), applied to name,
/// dtype and shape of all parameters and buffers.
std::vector<LeftAloneParameter> left_alone(const torch::nn::Module& model);

/// Returns a filter that accepts all other parameters of `model`. It keeps their names, not the
/// model.
ParameterFilter default_filter(const torch::nn::Module& model);

/// Options of attach_model.
struct AttachOptions {
  /// Overrides of the sparsifier's defaults, by valid_name.
  torch::OrderedDict<std::string, NamedValues> config{"config"};
  /// Which parameters are attached. If unset, all of them, as upstream does, with one warning that
  /// names those that default_filter would leave out.
  ParameterFilter filter = nullptr;
  /// Says that replacing names of the sparsifier is intended: no warnings, not even that of an
  /// unset filter.
  bool replace = false;
};

/// Adds every parameter of `module` that passes the filter, as the same tensor object, under its
/// valid_name. A shared parameter is added once, under its first name; the filter is called for all
/// of its names, and `config` may use any of them. Names that the sparsifier already has are
/// replaced, with add_data's warning unless `replace` is true; their masks and configurations are
/// kept.
///
/// Throws c10::ValueError if the filter accepts only some names of a shared parameter, if two
/// parameters have the same valid_name (`a.b` and `a_b`), if the module has no parameter or the
/// filter accepts none, or if `config` has a name that no parameter has; nothing is added then.
/// Also throws what add_data throws, which may be after other parameters were added.
///
/// Differs from torch.ao: a collision of names is an error; there the first tensor stays dense.
void attach_model(const torch::nn::Module& module, BaseDataSparsifier& sparsifier,
                  const AttachOptions& options = {});

/// The share of one parameter that its mask drops.
struct SparsityLevel {
  std::string fqn;
  double level = 0;  ///< 1 - mean(mask); 0 for a parameter without values
};

/// Returns the level of every parameter of `model` that the sparsifier has under its valid_name, in
/// the model's order.
std::vector<SparsityLevel> sparsity_levels(const torch::nn::Module& model,
                                           const BaseDataSparsifier& sparsifier);

/// Returns a text such as "Sparsity in layer users.weight = 90.00%".
std::string to_text(const SparsityLevel& level);

/// Returns a deep copy made by `module.clone()`. LibTorch's random generators are in the same state
/// afterwards as before.
///
/// Throws c10::ValueError if the model has two names for one parameter (tied weights), because
/// clone() would make two tensors of it. Throws LibTorch's c10::Error if a module cannot be cloned:
/// derive it from torch::nn::Cloneable.
std::shared_ptr<torch::nn::Module> clone_model(const torch::nn::Module& model);

}  // namespace winnow
