// PRIVATE. How the library reaches into a Parametrizable module: nothing here checks its arguments.
#pragma once

#include "winnow/torch/parametrization.h"

namespace winnow::internal {

struct FoundTensor {
  at::Tensor tensor;  ///< undefined: there is none of that name
  bool is_parameter = false;
};

/// The module's own parameter or buffer of that name, as it stands there.
FoundTensor find_tensor(const torch::nn::Module& module, const std::string& name);

class ParametrizationAccess {
 public:
  /// Whether the module has a parameter, buffer (undefined ones included), child or chain of that
  /// name.
  static bool has_name(const Parametrizable& target, const std::string& name);

  /// Appends `link` to the chain of `name`, which starts with the tensor of that name.
  static void append(Parametrizable& target, const std::string& name,
                     std::shared_ptr<Parametrization> link);

  /// Puts `chain` under `name`, which the module has not yet.
  static void attach(Parametrizable& target, const std::string& name,
                     std::shared_ptr<ParametrizationList> chain);

  /// Takes the chain of `name` off and puts its original back under the name.
  /// Precondition: there is a chain.
  static void restore(Parametrizable& target, const std::string& name);

  /// Takes the buffer `name` out of the module.
  static void erase_buffer(Parametrizable& target, const std::string& name);

  /// Takes the parameter or buffer `name` out of the module.
  static void erase_tensor(Parametrizable& target, const std::string& name);

  /// Puts `tensor` among the parameters or buffers, as it is.
  static void insert_tensor(Parametrizable& target, const std::string& name,
                            const at::Tensor& tensor, bool as_parameter);
};

/// Evaluates `link` on `before`, without gradient: c10::ValueError where it changes dtype or shape.
void check_evaluation(const at::Tensor& before, Parametrization& link);

/// Makes `mask`, the same tensor object, hold `values`: storage, sizes, strides and dtype. For
/// masks alone: what shares memory with the tensor would keep the old values.
void adopt_values(const at::Tensor& mask, const at::Tensor& values);

/// c10::ValueError, beginning with `what`, where the values of `tensor` cannot be changed one by
/// one in their place: expanded and otherwise overlapping views, lazy zeros.
void check_can_be_written(const at::Tensor& tensor, const std::string& what);

/// Writes what `chain` reads into its original, in the memory that it has, which whoever shares it
/// sees. Precondition: check_can_be_written holds.
/// Allocates no more than a few MB for a mask, and the tensor's size for other links.
void write_masked_values(const ParametrizationList& chain);

}  // namespace winnow::internal
