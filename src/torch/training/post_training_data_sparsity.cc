#include <c10/util/Exception.h>
#include <torch/nn/module.h>

#include "torch/training/callback_parts.h"

namespace winnow {
using namespace internal;

PostTrainingDataSparsity::PostTrainingDataSparsity(PostTrainingOptions options)
    : options_(std::move(options)) {
  TORCH_CHECK_VALUE(options_.make_sparsifier != nullptr, "make_sparsifier is missing");
  TORCH_CHECK_VALUE(options_.copy_model != nullptr, "copy_model is missing");
}

void PostTrainingDataSparsity::on_fit_end(torch::nn::Module& model) {
  const auto copy = checked_copy(model, options_.copy_model);
  copy->eval();
  auto sparsifier = made_sparsifier(options_.make_sparsifier);
  attach_model(*copy, *sparsifier, options_.attach);
  sparsifier->step();
  sparsifier->squash_mask();
  log_levels(*copy, *sparsifier, options_.log);
  sparsified_ = copy;
  data_sparsifier_ = std::move(sparsifier);
}

}  // namespace winnow
