#include "checkpoint/patterns/tensor_names.h"

#include <numeric>

namespace winnow::checkpoint {

TensorNames::TensorNames(std::span<const TensorInfo> tensors, std::span<const TensorAlias> aliases)
    : names_(tensors.size() + aliases.size()), begins_(tensors.size() + 1) {
  // Counts, then their running sum: a counting sort that keeps the order of the aliases.
  for (size_t i = 0; i < tensors.size(); ++i) begins_[i + 1] = 1;
  for (const TensorAlias& alias : aliases) ++begins_[alias.tensor + 1];
  std::partial_sum(begins_.begin(), begins_.end(), begins_.begin());
  std::vector<size_t> next(begins_.begin(), begins_.end() - 1);
  for (size_t i = 0; i < tensors.size(); ++i) names_[next[i]++] = tensors[i].name;
  for (const TensorAlias& alias : aliases) names_[next[alias.tensor]++] = alias.name;
}

}  // namespace winnow::checkpoint
