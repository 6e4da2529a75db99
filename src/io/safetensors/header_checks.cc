#include "io/safetensors/header_checks.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status_macros.h"
#include "winnow/base/checked.h"
#include "winnow/base/concat.h"
#include "winnow/base/dtype.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

// The indices 0 to count - 1; 32 bits do, since a header of 10^8 bytes has fewer entries.
std::vector<uint32_t> indices(size_t count) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  return order;
}

struct HashedText {
  size_t hash;
  uint32_t index;
};

// The second of two equal texts, if any. Sorted and not put into a hash table: names that were made
// to collide cannot make a sort quadratic.
template <typename TextOf>
std::optional<size_t> find_repeated(size_t count, const TextOf& text_of) {
  std::vector<HashedText> order(count);
  for (size_t i = 0; i < count; ++i) {
    order[i] = {std::hash<std::string_view>()(text_of(i)), static_cast<uint32_t>(i)};
  }
  std::sort(order.begin(), order.end(), [&](const HashedText& a, const HashedText& b) {
    // Names that differ seldom share a hash, so few texts are compared to the end.
    return a.hash != b.hash ? a.hash < b.hash : text_of(a.index) < text_of(b.index);
  });
  for (size_t i = 1; i < count; ++i) {
    const HashedText& a = order[i - 1];
    const HashedText& b = order[i];
    if (a.hash == b.hash && text_of(a.index) == text_of(b.index)) {
      // The later one in the file, whatever the order of the sort.
      return std::max(a.index, b.index);
    }
  }
  return std::nullopt;
}

// Bits of a tensor of that shape; nothing if the product of the dimensions other than 0 does not
// fit, so that no product of some dimensions wraps behind a 0 either.
std::optional<uint64_t> bits_of(const TensorInfo& tensor) {
  // In bits: the smallest types have less than a byte.
  std::optional<uint64_t> bits = dtype_bits(tensor.dtype);
  bool empty = false;
  for (const uint64_t dimension : tensor.shape) {
    empty |= dimension == 0;
    if (bits && dimension != 0) bits = checked_mul(*bits, dimension);
  }
  return bits && empty ? std::optional<uint64_t>(0) : bits;
}

std::string range(const TensorInfo& tensor) {
  return concat("bytes [", tensor.begin, ", ", tensor.end, ")");
}

// Indices in the order of the data section; of tensors at one place the empty ones first.
std::vector<uint32_t> data_order(std::span<const TensorInfo> tensors) {
  std::vector<uint32_t> order = indices(tensors.size());
  const auto before = [&](uint32_t a, uint32_t b) {
    const TensorInfo& x = tensors[a];
    const TensorInfo& y = tensors[b];
    // Else an empty tensor behind one with bytes would seem to overlap it.
    return x.begin != y.begin ? x.begin < y.begin : x.end < y.end;
  };
  // Most writers list the tensors in the order of their data.
  if (!std::is_sorted(order.begin(), order.end(), before)) {
    std::sort(order.begin(), order.end(), before);
  }
  return order;
}

// `tensor` has to begin at `expected`, where the one before it ended.
Status check_place(const TensorInfo& tensor, uint64_t expected, uint64_t data_bytes) {
  if (tensor.begin < expected) {
    return {SafetensorsError::kOverlap, concat(shown(tensor), " has ", range(tensor),
                                               ", but the tensor before it ends at ", expected)};
  }
  if (tensor.begin > expected) {
    return {SafetensorsError::kHole,
            concat("bytes [", expected, ", ", tensor.begin, ") of the data before ", shown(tensor),
                   " belong to no tensor")};
  }
  if (tensor.end > data_bytes) {
    return {SafetensorsError::kDataPastEnd,
            concat(shown(tensor), " has ", range(tensor), ", but the file holds ", data_bytes,
                   " bytes of data")};
  }
  return {};
}

}  // namespace

std::string shown(const TensorInfo& tensor) {
  return concat("tensor \"", escape_name(tensor.name), "\"");
}

Status check_tensor(const TensorInfo& tensor) {
  // First: bytes() subtracts the two.
  if (tensor.begin > tensor.end) {
    return {SafetensorsError::kOffsetOrder,
            concat(shown(tensor), ": data_offsets begin at ", tensor.begin,
                   " and end before that, at ", tensor.end)};
  }
  const std::optional<uint64_t> bits = bits_of(tensor);
  if (!bits) {
    return {ErrorCode::kShapeOverflow,
            concat(shown(tensor), ": the bits of its shape do not fit into 64 bits")};
  }
  // Else the last byte would belong to two tensors, or to none.
  if (*bits % 8 != 0) {
    return {SafetensorsError::kPartialByte,
            concat(shown(tensor), ": ", *bits, " bits of ", dtype_name(tensor.dtype),
                   " do not end on a byte")};
  }
  if (*bits / 8 != tensor.bytes()) {
    return {SafetensorsError::kSizeMismatch,
            concat(shown(tensor), ": its shape and dtype ask for ", *bits / 8,
                   " bytes, its data_offsets hold ", tensor.bytes())};
  }
  return {};
}

Status check_unique_names(std::span<const TensorInfo> tensors) {
  const auto name_of = [&](size_t i) -> std::string_view { return tensors[i].name; };
  const std::optional<size_t> repeated = find_repeated(tensors.size(), name_of);
  if (!repeated) return {};
  return {SafetensorsError::kDuplicateTensor,
          concat(shown(tensors[*repeated]), " has two entries")};
}

Status check_unique_keys(const Metadata& metadata) {
  const auto key_of = [&](size_t i) -> std::string_view { return metadata[i].first; };
  const std::optional<size_t> repeated = find_repeated(metadata.size(), key_of);
  if (!repeated) return {};
  return {SafetensorsError::kDuplicateMetadataKey,
          concat("__metadata__ has two entries \"", escape_name(metadata[*repeated].first), "\"")};
}

Status check_layout(std::span<const TensorInfo> tensors, uint64_t data_bytes) {
  uint64_t expected = 0;
  // One pass in the order of the data finds overlaps, holes and what is behind the end.
  for (const uint32_t index : data_order(tensors)) {
    WINNOW_RETURN_IF_ERROR(check_place(tensors[index], expected, data_bytes));
    expected = tensors[index].end;
  }
  // Bytes that no tensor owns could hide another file.
  if (expected == data_bytes) return {};
  return {SafetensorsError::kTrailingData,
          concat(data_bytes - expected, " bytes of data after byte ", expected,
                 ", where the last tensor ends")};
}

}  // namespace winnow::io
