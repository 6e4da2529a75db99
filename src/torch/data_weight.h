// PRIVATE. Which tensor a piece of data means.
#pragma once

#include <ATen/core/Tensor.h>

#include "winnow/torch/data_sparsifier.h"

namespace winnow {

struct DataWeight {
  at::Tensor tensor;  ///< the object itself
  bool is_parameter = false;
};

/// AssertionError "specified data type ... not supported" for what cannot be sparsified.
DataWeight weight_of(const Data& data);

}  // namespace winnow
