// Private: all names of a file's tensors, including aliases.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/checkpoint/tensor_aliases.h"

namespace winnow::checkpoint {

/// The names of each tensor: its own first, then its aliases in their order. The caller owns the
/// names.
class TensorNames {
 public:
  /// Precondition: each alias names one of `tensors`.
  TensorNames(std::span<const TensorInfo> tensors, std::span<const TensorAlias> aliases);

  size_t tensors() const noexcept { return begins_.size() - 1; }

  /// All names; those of one tensor are next to each other.
  std::span<const std::string_view> all() const noexcept { return names_; }

  /// The range of a tensor's names in all(): [begin, end).
  size_t begin(size_t tensor) const noexcept { return begins_[tensor]; }
  size_t end(size_t tensor) const noexcept { return begins_[tensor + 1]; }

  std::span<const std::string_view> of(size_t tensor) const noexcept {
    return all().subspan(begin(tensor), end(tensor) - begin(tensor));
  }

  /// Returns copies of the aliases of a tensor.
  std::vector<std::string> aliases_of(size_t tensor) const {
    const std::span<const std::string_view> aliases = of(tensor).subspan(1);
    return {aliases.begin(), aliases.end()};
  }

 private:
  std::vector<std::string_view> names_;
  std::vector<size_t> begins_;  // one more than tensors
};

}  // namespace winnow::checkpoint
