#include "winnow/checkpoint/tensor_aliases.h"

#include <algorithm>
#include <numeric>
#include <optional>

namespace winnow {
namespace {

// Tensors by name. A sorted list and not a hash table, because names from a file could collide on
// purpose.
class TensorIndex {
 public:
  explicit TensorIndex(std::span<const TensorInfo> tensors)
      : tensors_(tensors), order_(tensors.size()) {
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::sort(order_.begin(), order_.end(),
              [&](size_t a, size_t b) { return tensors_[a].name < tensors_[b].name; });
  }

  std::optional<size_t> find(std::string_view name) const {
    const auto at =
        std::lower_bound(order_.begin(), order_.end(), name,
                         [&](size_t index, auto wanted) { return tensors_[index].name < wanted; });
    if (at == order_.end() || tensors_[*at].name != name) return std::nullopt;
    return *at;
  }

 private:
  std::span<const TensorInfo> tensors_;
  std::vector<size_t> order_;
};

// Whether the value of an entry is the name of a tensor. May say so of many entries without a look.
bool any_names_a_tensor(std::span<const TensorInfo> tensors, const Metadata& metadata) {
  constexpr size_t kFew = 16;
  if (metadata.size() > kFew) return true;
  return std::any_of(metadata.begin(), metadata.end(), [&](const auto& entry) {
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](const TensorInfo& tensor) { return tensor.name == entry.second; });
  });
}

}  // namespace

std::vector<TensorAlias> tensor_aliases(std::span<const TensorInfo> tensors,
                                        const Metadata& metadata) {
  std::vector<TensorAlias> aliases;
  // Mostly none: then no name has to be sorted.
  if (!any_names_a_tensor(tensors, metadata)) return aliases;
  const TensorIndex index(tensors);
  for (const auto& [key, value] : metadata) {
    const std::optional<size_t> tensor = index.find(value);
    if (tensor && !index.find(key)) aliases.push_back({key, *tensor});
  }
  return aliases;
}

}  // namespace winnow
