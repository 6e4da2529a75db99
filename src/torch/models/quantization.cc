#include "winnow/torch/quantization.h"

#include <ATen/core/grad_mode.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/embedding.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "torch/models/child_setter.h"
#include "torch/support/errors.h"
#include "torch/support/inference_mode.h"
#include "winnow/torch/module_utils.h"
#include "winnow/torch/nn/quantizable.h"
#include "winnow/torch/nn/storage.h"

namespace winnow {
using namespace internal;

namespace {

using nn::Quantizable;
using nn::QuantizedTable;
using nn::QuantizedWeight;
using torch::nn::AnyModule;
using torch::nn::Module;
using ModulePtr = std::shared_ptr<Module>;

// ---- which modules

// Exact types only: replacing a derived class would lose its forward.
bool is_libtorch_embedding(const Module& module) {
  return typeid(module) == typeid(torch::nn::EmbeddingImpl) ||
         typeid(module) == typeid(torch::nn::EmbeddingBagImpl);
}

bool is_convertible(const Module& module) {
  const auto* quantizable = dynamic_cast<const Quantizable*>(&module);
  return is_libtorch_embedding(module) || (quantizable != nullptr && !quantizable->is_quantized());
}

/// A child, with its parent and its name there.
struct Child {
  Module* parent;
  std::string name;
  ModulePtr module;
};

/// Returns all children below the model, once for each of their places, in upstream's order. It
/// becomes the order of the data in the sparsifier, and decides which of two equal names gets a
/// suffix.
std::vector<Child> walk(Module& model) {
  std::vector<Child> found;
  // A stack and no recursion: upstream's order comes from its stack.
  std::vector<Module*> stack = {&model};
  std::set<const Module*> entered = {&model};
  while (!stack.empty()) {
    Module* parent = stack.back();
    stack.pop_back();
    for (const auto& child : parent->named_children()) {
      found.push_back({parent, child.key(), child.value()});
      // A module with several parents is listed for each of them, but entered only once.
      const bool is_leaf = is_convertible(*child.value());
      if (!is_leaf && entered.insert(child.value().get()).second) {
        stack.push_back(child.value().get());
      }
    }
  }
  return found;
}

void add_once(std::vector<ModulePtr>& modules, const ModulePtr& module) {
  if (std::ranges::find(modules, module) == modules.end()) modules.push_back(module);
}

std::vector<ModulePtr> all_embeddings(const Module& model, const std::vector<Child>& children) {
  WINNOW_CHECK_KEY(
      !is_convertible(model), "the model itself is a ", model.name(),
      ", which has no name in a model: call its quantize, or put it into a Sequential");
  std::vector<ModulePtr> modules;
  for (const Child& child : children) {
    if (is_convertible(*child.module)) add_once(modules, child.module);
  }
  return modules;
}

void check_selected(const Data& data, const Module& model, const std::vector<Child>& children) {
  const Module* module = data.module().get();
  const auto* quantizable = dynamic_cast<const nn::Quantizable*>(module);
  // First: a quantized module is not convertible either, but that message would say less.
  WINNOW_CHECK_ASSERTION(quantizable == nullptr || !quantizable->is_quantized(),
                         "select_embeddings has a ", module->name(), " that is quantized already");
  WINNOW_CHECK_ASSERTION(module != nullptr && is_convertible(*module),
                         "select_embeddings: expected an embedding or embedding bag of floats, of "
                         "torch::nn itself or of winnow::nn, found ",
                         module != nullptr ? module->name() : "a tensor or null");
  WINNOW_CHECK_KEY(module != &model,
                   "the model itself cannot be selected, because it has no name: call "
                   "its quantize, or put it into a Sequential");
  const bool inside = std::ranges::any_of(
      children, [&](const Child& child) { return child.module.get() == module; });
  WINNOW_CHECK_ASSERTION(inside, "select_embeddings must be part of input model: a ",
                         module->name(), " is not");
}

std::vector<ModulePtr> selected_embeddings(const std::vector<Data>& selected, const Module& model,
                                           const std::vector<Child>& children) {
  std::vector<ModulePtr> modules;
  for (const Data& data : selected) {
    check_selected(data, model, children);
    add_once(modules, data.module());
  }
  return modules;
}

// ---- what is done to each

/// A module to convert: itself, or its replacement.
struct Target {
  std::string name;                  ///< for the sparsifier
  AnyModule replacement;             ///< for a module of LibTorch; otherwise empty
  Quantizable* quantizable;          ///< the replacement, or the module itself
  std::vector<ChildSetter> setters;  ///< of the replacement, for each of its places
  std::shared_ptr<QuantizedTable> table = nullptr;
};

/// Adds the name of the weight to errors of `call`.
template <typename Call>
auto naming(const std::string& name, const Call& call) {
  try {
    return call();
  } catch (c10::Error& error) {
    // Added to the error itself, so that its type stays what callers catch.
    error.add_context(c10::str("in post_training_sparse_quantize, of '", name, "'"));
    throw;
  }
}

// Different fully qualified names can become equal, as `a.b` and `a_b` do.
std::string unique_name(std::string fqn, const std::set<std::string>& taken) {
  std::ranges::replace(fqn, '.', '_');
  if (!taken.contains(fqn)) return fqn;
  int64_t suffix = 1;
  while (taken.contains(c10::str(fqn, "_", suffix))) ++suffix;
  return c10::str(fqn, "_", suffix);
}

Target make_target(const ModulePtr& module, const std::vector<Child>& children) {
  if (!is_libtorch_embedding(*module)) {
    return {{}, {}, dynamic_cast<Quantizable*>(module.get()), {}};
  }
  // The replacement shares the weight until it is quantized, so nothing is copied here.
  AnyModule replacement = default_swap_mapping().at(typeid(*module))(*module);
  auto* quantizable = dynamic_cast<Quantizable*>(replacement.ptr().get());
  Target target{{}, std::move(replacement), quantizable, {}};
  for (const Child& child : children) {
    if (child.module != module) continue;
    target.setters.push_back(
        child_setter(*child.parent, child.name, target.replacement.type_info()));
  }
  return target;
}

std::vector<Target> make_targets(Module& model, const std::vector<ModulePtr>& modules,
                                 const std::vector<Child>& children) {
  std::vector<Target> targets;
  std::set<std::string> names = {"parametrizations"};  // add_data does not accept this name
  for (const ModulePtr& module : modules) {
    const std::string fqn = module_to_fqn(model, *module).value();
    targets.push_back(naming(fqn, [&] {
      Target target = make_target(module, children);
      target.quantizable->check_quantizable();
      return target;
    }));
    // Distinct names, since add_data would replace one by the other.
    targets.back().name = *names.insert(unique_name(fqn, names)).first;
  }
  return targets;
}

at::Tensor weight_of(const Target& target) {
  return target.quantizable->storage()->weight().detach();
}

at::Tensor masked(const BaseDataSparsifier& sparsifier, const Target& target) {
  return sparsifier.get_data(target.name, /*return_original=*/false).detach();
}

void sparsify_then_quantize(std::vector<Target>& targets, BaseDataSparsifier& sparsifier,
                            nn::ZeroPolicy policy) {
  for (const Target& target : targets) sparsifier.add_data(target.name, weight_of(target));
  sparsifier.step();
  // A masked read is as large as its weight, so only one of them exists at a time.
  for (Target& target : targets) {
    target.table = naming(target.name, [&] {
      return nn::make_quantized_table(nn::quantize_rows(masked(sparsifier, target), policy));
    });
  }
}

// The sparsifier scores the rounded values, and a row keeps the scale of its dense values: pruning
// must not change the codes of kept values.
void quantize_then_sparsify(std::vector<Target>& targets, BaseDataSparsifier& sparsifier,
                            nn::ZeroPolicy policy) {
  // Kept until after the step: they have the scales.
  std::vector<QuantizedWeight> dense;
  for (const Target& target : targets) {
    dense.push_back(
        naming(target.name, [&] { return nn::quantize_rows(weight_of(target), policy); }));
    sparsifier.add_data(target.name, nn::dequantize_rows(dense.back()));
  }
  sparsifier.step();
  for (size_t i = 0; i < targets.size(); ++i) {
    targets[i].table =
        nn::make_quantized_table(nn::requantize_rows(masked(sparsifier, targets[i]), dense[i]));
  }
}

/// forward also works with a weight whose shape differs from the options; a table does not.
void check_tables(const std::vector<Target>& targets) {
  for (const Target& target : targets) {
    naming(target.name, [&] { target.quantizable->check_quantizable(*target.table); });
  }
}

/// After check_tables, nothing here can fail, except for lack of memory for a few names.
void put_in_place(const std::vector<Target>& targets) {
  for (const Target& target : targets) {
    target.quantizable->quantize(target.table);
    for (const ChildSetter& set : target.setters) set(target.replacement);
  }
}

std::unique_ptr<BaseDataSparsifier> make_checked(const SparsifierFactory& make_sparsifier) {
  TORCH_CHECK_VALUE(make_sparsifier != nullptr, "make_sparsifier: expected a function, found none");
  auto sparsifier = make_sparsifier();
  // step would also compute masks for data of the caller's own.
  TORCH_CHECK_VALUE(sparsifier != nullptr && sparsifier->names().empty(),
                    "the function has to make a sparsifier without data");
  return sparsifier;
}

}  // namespace

void post_training_sparse_quantize(Module& model, const SparsifierFactory& make_sparsifier,
                                   const PostTrainingSparseQuantizeOptions& options) {
  const InMode normal(/*inference=*/false);
  const at::NoGradGuard no_grad;
  const auto sparsifier = make_checked(make_sparsifier);
  const std::vector<Child> children = walk(model);
  std::vector<Target> targets = make_targets(
      model,
      options.select_embeddings ? selected_embeddings(*options.select_embeddings, model, children)
                                : all_embeddings(model, children),
      children);
  if (options.sparsify_first) {
    sparsify_then_quantize(targets, *sparsifier, options.zero_policy);
  } else {
    quantize_then_sparsify(targets, *sparsifier, options.zero_policy);
  }
  // Nothing has been changed so far: everything that can fail comes before put_in_place.
  check_tables(targets);
  put_in_place(targets);
}

void post_training_sparse_quantize(Module& model, const DataNormSparsifierOptions& sparsifier,
                                   const PostTrainingSparseQuantizeOptions& options) {
  const SparsifierFactory make = [&] { return std::make_unique<DataNormSparsifier>(sparsifier); };
  post_training_sparse_quantize(model, make, options);
}

}  // namespace winnow
