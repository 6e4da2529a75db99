// PRIVATE. The library's access to the inside of Parametrizable modules. Arguments are not checked.
#pragma once

#include "winnow/torch/parametrization.h"

namespace winnow::internal {

struct FoundTensor {
  at::Tensor tensor;  ///< undefined if there is none of that name
  bool is_parameter = false;
};

/// Returns the module's own parameter or buffer of that name, without its parametrizations.
FoundTensor find_tensor(const torch::nn::Module& module, const std::string& name);

class ParametrizationAccess {
 public:
  /// Returns true if the module has a parameter or buffer, even an undefined one, a child or a
  /// chain of that name.
  static bool has_name(const Parametrizable& target, const std::string& name);

  /// Appends `link` to the chain of `name`, which starts with the tensor of that name.
  static void append(Parametrizable& target, const std::string& name,
                     std::shared_ptr<Parametrization> link);

  /// Registers `chain` under `name`. Precondition: the module does not have the name yet.
  static void attach(Parametrizable& target, const std::string& name,
                     std::shared_ptr<ParametrizationList> chain);

  /// Removes the chain of `name` and registers its original under the name again. Precondition:
  /// there is a chain.
  static void restore(Parametrizable& target, const std::string& name);

  /// Removes the parameter or buffer `name` from the module.
  static void erase_tensor(Parametrizable& target, const std::string& name);

  /// Adds `tensor` to the parameters or buffers, without changing it.
  static void insert_tensor(Parametrizable& target, const std::string& name,
                            const at::Tensor& tensor, bool as_parameter);
};

/// Evaluates `link` on `before`, without gradient. Throws c10::ValueError if it changes dtype or
/// shape.
void check_evaluation(const at::Tensor& before, Parametrization& link);

/// Gives the tensor object `mask` the storage, sizes, strides and dtype of `values`. Only for
/// masks, because views of the tensor keep the old values.
void adopt_values(const at::Tensor& mask, const at::Tensor& values);

/// Throws c10::ValueError, beginning with `what`, if the values of `tensor` cannot be changed one
/// by one in their place: expanded and otherwise overlapping views, lazy zeros.
void check_can_be_written(const at::Tensor& tensor, const std::string& what);

/// Writes the read of `chain` into the memory of its original, where all views see it.
/// Precondition: check_can_be_written. Allocates at most a few MB for a mask, and the tensor's size
/// for other links.
void write_masked_values(const ParametrizationList& chain);

}  // namespace winnow::internal
