// Parametrized tensors: a module keeps an *original* and every read of the tensor goes through a
// chain of parametrizations, for example a mask. What torch.nn.utils.parametrize is in Python.
//
//   winnow::nn::Embedding embedding(1000, 64);
//   winnow::register_parametrization(*embedding, "weight", std::make_shared<MyScale>(0.5));
//   embedding(indices);                       // forward and autograd see 0.5 * weight
//   winnow::remove_parametrizations(*embedding, "weight");   // weight now holds the scaled values
//
// LibTorch modules read their members directly, so nothing can be put in between: only modules that
// derive from ParametrizableModule can be parametrized. Those are winnow::nn::Embedding,
// EmbeddingBag and Linear, the container of a data sparsifier, and modules of your own.
//
// Source: torch.nn.utils.parametrize. Thread-safety: a module may be read from several threads;
// registering and removing needs exclusive access.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/module.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace winnow {

namespace internal {
class ParametrizationAccess;
}

/// One link of a chain. Derive from it and write forward; register tensors of its own in the
/// constructor. To be cloned together with a module, override clone() too.
class Parametrization : public torch::nn::Module {
 public:
  using Module::Module;

  /// The tensor as it is read: called at every read, with the original or the result of the link
  /// before. Must keep the shape and the dtype.
  virtual at::Tensor forward(const at::Tensor& original) = 0;
};

/// The original of one tensor and its chain; the child module `parametrizations.NAME`. Its state is
/// `original` (a parameter or a buffer, as the tensor was) and the links' own, named 0, 1, ...
class ParametrizationList : public torch::nn::Module {
 public:
  /// A chain without links. Registers `original` as a parameter or a buffer, with the requires_grad
  /// that it has.
  ParametrizationList(at::Tensor original, bool original_is_parameter);

  /// The tensor as it was handed over: the same object.
  const at::Tensor& original() const noexcept { return original_; }
  /// Whether it is a parameter; else a buffer.
  bool original_is_parameter() const noexcept { return original_is_parameter_; }

  /// The original through every link, in order.
  at::Tensor read() const;

  /// The links, in the order in which a read applies them.
  size_t size() const noexcept { return links_.size(); }
  const std::shared_ptr<Parametrization>& operator[](size_t i) const { return links_[i]; }
  auto begin() const noexcept { return links_.begin(); }
  auto end() const noexcept { return links_.end(); }

  /// Adds a link at the end. Nothing is checked: register_parametrization does that.
  void append(std::shared_ptr<Parametrization> link);

 private:
  at::Tensor original_;
  bool original_is_parameter_;
  std::vector<std::shared_ptr<Parametrization>> links_;
};

/// The part of a module that lets its tensors be parametrized. Modules of your own derive
/// from ParametrizableModule below, which implements it, and read their tensors by `read`.
class Parametrizable {
 public:
  virtual ~Parametrizable() = default;

  /// The parameter or buffer `name` as forward is to see it: through its chain if it has one.
  /// KeyError if the module has no such tensor.
  at::Tensor read(const std::string& name) const;

  /// The chain of `name`, or null if it has none.
  std::shared_ptr<ParametrizationList> parametrizations(std::string_view name) const noexcept;

  /// The names that have a chain, in the order of registration.
  std::vector<std::string> parametrized_names() const;

 protected:
  Parametrizable() = default;
  Parametrizable(const Parametrizable&) = default;
  Parametrizable& operator=(const Parametrizable&) = default;

  /// Tells that `name` received its first link, or lost its chain: the place to change what was
  /// derived from it. Must not throw.
  virtual void parametrization_changed(const std::string& name) { (void)name; }

  // The parts of ParametrizableModule::clone. The first clones the chains onto `to`, which has
  // the same tensors and no chains; the second takes every chain off a shallow copy, without
  // touching a tensor.
  void clone_chains(Parametrizable& to, const std::optional<at::Device>& device) const;
  void forget_chains();

  // How the functions below move tensors between the module and its chains.
  virtual torch::nn::Module& module() noexcept = 0;
  virtual const torch::nn::Module& module() const noexcept = 0;
  virtual torch::OrderedDict<std::string, at::Tensor>& own_parameters() noexcept = 0;

 private:
  friend class internal::ParametrizationAccess;
  std::vector<std::pair<std::string, std::shared_ptr<ParametrizationList>>> lists_;
};

/// Base of a module whose tensors can be parametrized; in the place of torch::nn::Cloneable.
///
///   class ScaledImpl : public winnow::ParametrizableModule<ScaledImpl> {
///    public:
///     ScaledImpl() { reset(); }
///     void reset() override { weight = register_parameter("weight", torch::ones({3})); }
///     at::Tensor forward(const at::Tensor& x) { return x * read("weight"); }
///     at::Tensor weight;   // the original, always
///   };
///
/// clone() clones the chains too (each link by its own clone).
template <typename Derived>
class ParametrizableModule : public torch::nn::Cloneable<Derived>, public Parametrizable {
 public:
  using torch::nn::Cloneable<Derived>::Cloneable;

  /// A deep copy, on `device` if that is given; its chains hold clones of the links.
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<at::Device>& device = std::nullopt) const override {
    // Cloneable::clone compares tensors by name with what reset() makes, which knows no chains.
    Derived plain(static_cast<const Derived&>(*this));
    plain.forget_chains();
    auto copy = plain.torch::nn::template Cloneable<Derived>::clone(device);
    clone_chains(dynamic_cast<Derived&>(*copy), device);
    return copy;
  }

 protected:
  torch::nn::Module& module() noexcept override { return *this; }
  const torch::nn::Module& module() const noexcept override { return *this; }
  torch::OrderedDict<std::string, at::Tensor>& own_parameters() noexcept override {
    return this->parameters_;
  }
};

/// Puts `link` at the end of the chain of `module`'s tensor `tensor_name`. From the first link on
/// the tensor stands in the module's state as `parametrizations.NAME.original`: the same tensor
/// object, so an optimizer that holds it goes on working.
///
/// The link is evaluated once, without gradient, to check it. Errors: c10::TypeError, naming the
/// replacement, if the module is not Parametrizable; KeyError if it has no such parameter or
/// buffer; c10::ValueError if the link changes the dtype or the shape. What the link itself
/// throws passes through. (LibTorch cannot unregister a buffer: if one is parametrized,
/// undefined buffers of the module lose their names.)
void register_parametrization(torch::nn::Module& module, const std::string& tensor_name,
                              std::shared_ptr<Parametrization> link);

/// Whether any tensor of the module itself (not its children) is parametrized.
bool is_parametrized(const torch::nn::Module& module);

/// Whether that tensor is.
bool is_parametrized(const torch::nn::Module& module, std::string_view tensor_name);

/// Takes the whole chain off. The original goes back under its name, the same tensor object: with
/// `leave_parametrized` the values as last read are written into its memory, which views and
/// whatever else shares it see; else it keeps its own.
///
/// c10::ValueError "does not have a parametrization on NAME" if there is none; for an original
/// whose values share a place, as those of expanded views do: nothing is changed then. Differs from
/// torch: there the tensor gets another storage.
void remove_parametrizations(torch::nn::Module& module, const std::string& tensor_name,
                             bool leave_parametrized = true);

/// Makes a type of parametrization known by name, so that a data sparsifier's
/// `config = {{"parametrization", NAME}}` and files can say which one data has. `make` gets the
/// mask. Registering a name again replaces it. Thread-safe.
void register_parametrization_type(
    const std::string& name,
    std::function<std::shared_ptr<Parametrization>(const at::Tensor& mask)> make);

}  // namespace winnow
