// Writes masked values into the memory of their original.
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "torch/masks/mask_targets.h"
#include "torch/parametrize/parametrization_access.h"
#include "torch/support/inference_mode.h"
#include "winnow/torch/fake_sparsity.h"

namespace winnow::internal {
namespace {

constexpr int64_t kPieceValues = int64_t{1} << 17;

/// Computes tensor *= mask. LibTorch copies the mask to the tensor's dtype, so large tensors are
/// done in pieces to bound that copy.
void multiply_in_pieces(at::Tensor tensor, const at::Tensor& mask) {
  if (tensor.numel() <= kPieceValues || tensor.dim() == 0) {
    tensor.mul_(mask);
    return;
  }
  const int64_t rows = tensor.size(0);
  const int64_t step = std::max<int64_t>(1, kPieceValues / (tensor.numel() / rows));
  for (int64_t row = 0; row < rows; row += step) {
    const int64_t count = std::min(step, rows - row);
    const at::Tensor piece = tensor.narrow(0, row, count), of_mask = mask.narrow(0, row, count);
    // A single row may itself be too large: go on along its own rows.
    if (count == 1) {
      multiply_in_pieces(piece.select(0, 0), of_mask.select(0, 0));
    } else {
      at::Tensor(piece).mul_(of_mask);
    }
  }
}

/// Returns the mask if it is the only parametrization, as in a data sparsifier; otherwise null.
const at::Tensor* only_mask(const ParametrizationList& chain) {
  if (chain.size() != 1) return nullptr;
  const auto* fake = dynamic_cast<const FakeSparsity*>(chain[0].get());
  return fake == nullptr ? nullptr : &fake->mask;
}

}  // namespace

void check_can_be_written(const at::Tensor& tensor, const std::string& what) {
  // Autograd makes such tensors for zeros, without memory.
  TORCH_CHECK_VALUE(!tensor._is_zerotensor(), what,
                    " is a lazy zero, which has no memory to write the masked values to");
  TORCH_CHECK_VALUE(layout_of(tensor).has_distinct_places(), what,
                    " holds several of its values in one place (strides ", tensor.strides(),
                    " for sizes ", tensor.sizes(),
                    "), so masked values cannot be written back; add a clone() of it");
}

void write_masked_values(const ParametrizationList& chain) {
  const at::Tensor& original = chain.original();
  const InMode mode(original);
  const at::NoGradGuard no_grad;  // second, because leaving inference mode turns gradients on
  if (const at::Tensor* mask = only_mask(chain)) {
    multiply_in_pieces(original, *mask);
  } else {
    original.copy_(chain.read());
  }
}

}  // namespace winnow::internal
