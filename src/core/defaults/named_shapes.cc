#include "core/defaults/named_shapes.h"

#include <algorithm>
#include <string>

namespace winnow {
namespace {

// An end without its '*'.
std::string_view plain(std::string_view end) noexcept {
  return end.starts_with('*') ? end.substr(1) : end;
}

}  // namespace

bool ends_as(std::string_view name, std::string_view end) noexcept {
  const std::string_view text = plain(end);
  if (!name.ends_with(text)) return false;
  if (end.starts_with('*') || name.size() == text.size()) return true;
  // Whole parts of a name: "weight" is not the end of "my_weight".
  const char before = name[name.size() - text.size() - 1];
  return before == '.' || before == '/';
}

size_t large_dimensions(std::span<const uint64_t> shape) noexcept {
  return static_cast<size_t>(
      std::count_if(shape.begin(), shape.end(), [](uint64_t size) { return size > 1; }));
}

bool is_empty(std::span<const uint64_t> shape) noexcept {
  return std::find(shape.begin(), shape.end(), uint64_t{0}) != shape.end();
}

bool holds_codes(DType dtype) noexcept {
  return !is_prunable(dtype) && dtype != DType::kBool && dtype != DType::kC64;
}

SliceShape whole(std::span<const uint64_t> shape) noexcept {
  SliceShape slices;
  for (const uint64_t size : shape) slices.inner *= size;
  return slices;
}

std::optional<SliceShape> rows_of(std::span<const uint64_t> shape,
                                  std::span<const uint64_t> magnitude) noexcept {
  const size_t scaled = large_dimensions(magnitude);
  if (scaled > 1 || is_empty(magnitude)) return std::nullopt;
  if (scaled == 0) return whole(shape);  // one magnitude for all
  if (magnitude.size() != shape.size()) return std::nullopt;
  SliceShape slices;
  bool before = true;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (magnitude[d] > 1) {
      if (magnitude[d] != shape[d]) return std::nullopt;
      slices.slices = shape[d];
      before = false;
    } else {
      (before ? slices.outer : slices.inner) *= shape[d];
    }
  }
  return slices;
}

NamedShapes::NamedShapes(std::span<const TensorFacts> tensors) {
  // Sorted once, because each tensor asks for its siblings; pointers, because names may be long.
  tensors_.reserve(tensors.size());
  for (const TensorFacts& tensor : tensors) tensors_.push_back(&tensor);
  std::ranges::stable_sort(tensors_, {}, &TensorFacts::name);
}

const TensorFacts* NamedShapes::sibling(std::string_view name, std::string_view end,
                                        std::string_view other) const {
  if (!ends_as(name, end)) return nullptr;
  std::string wanted(name.substr(0, name.size() - plain(end).size()));
  wanted += plain(other);
  const auto found =
      std::ranges::lower_bound(tensors_, std::string_view(wanted), {}, &TensorFacts::name);
  return found == tensors_.end() || (*found)->name != wanted ? nullptr : *found;
}

}  // namespace winnow
