// Private: all names of a file's tensors, their aliases among them.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/checkpoint/tensor_aliases.h"

namespace winnow {

/// The names of each tensor: its own first, then its aliases in their order. Names stay the
/// caller's.
class TensorNames {
 public:
  /// Precondition: each alias is of one of `tensors`.
  TensorNames(std::span<const TensorInfo> tensors, std::span<const TensorAlias> aliases);

  size_t tensors() const noexcept { return begins_.size() - 1; }

  /// All names, those of a tensor one after the other.
  std::span<const std::string_view> all() const noexcept { return names_; }

  /// Where the names of a tensor begin in all(), and where they end.
  size_t begin(size_t tensor) const noexcept { return begins_[tensor]; }
  size_t end(size_t tensor) const noexcept { return begins_[tensor + 1]; }

  std::span<const std::string_view> of(size_t tensor) const noexcept {
    return all().subspan(begin(tensor), end(tensor) - begin(tensor));
  }

  /// Copies of the aliases of a tensor.
  std::vector<std::string> aliases_of(size_t tensor) const {
    const std::span<const std::string_view> aliases = of(tensor).subspan(1);
    return {aliases.begin(), aliases.end()};
  }

 private:
  std::vector<std::string_view> names_;
  std::vector<size_t> begins_;  // one more than tensors
};

}  // namespace winnow
