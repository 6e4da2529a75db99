#include "io/torch_payload.h"

#include <algorithm>
#include <array>
#include <compare>
#include <cstring>
#include <numeric>
#include <vector>

#include "base/status_macros.h"
#include "io/concat.h"
#include "winnow/io/error_codes.h"

namespace winnow::io {
namespace {

// Copies `count` elements that are `stride` apart.
template <size_t kBytes>
void copy_row(const std::byte* from, uint64_t stride, uint64_t count, std::byte* to) {
  for (uint64_t i = 0; i < count; ++i) {
    std::memcpy(to + i * kBytes, from + i * stride * kBytes, kBytes);
  }
}

void copy_row(const std::byte* from, uint64_t stride, uint64_t count, size_t bytes, std::byte* to) {
  if (stride == 1) {
    std::memcpy(to, from, count * bytes);
  } else if (bytes == 1) {
    copy_row<1>(from, stride, count, to);
  } else if (bytes == 2) {
    copy_row<2>(from, stride, count, to);
  } else if (bytes == 4) {
    copy_row<4>(from, stride, count, to);
  } else {
    copy_row<8>(from, stride, count, to);
  }
}

// The rows of a tensor in row-major order: where each begins in its storage.
class Rows {
 public:
  explicit Rows(const TorchTensor& tensor) : tensor_(tensor), at_(tensor.offset) {}

  uint64_t at() const { return at_; }

  void next() {
    for (size_t d = tensor_.shape.size() - 1; d-- > 0;) {
      at_ += tensor_.strides[d];
      if (++index_[d] < tensor_.shape[d]) return;
      at_ -= tensor_.strides[d] * tensor_.shape[d];
      index_[d] = 0;
    }
  }

 private:
  const TorchTensor& tensor_;
  uint64_t at_;
  std::array<uint64_t, kMaxTorchRank> index_ = {};
};

// One entry's indices stand in a column, `nnz` apart.
class Entries {
 public:
  Entries(std::span<const int64_t> indices, uint64_t nnz) : indices_(indices), nnz_(nnz) {}

  std::strong_ordering compare(uint64_t a, uint64_t b) const {
    for (uint64_t row = 0; row < indices_.size(); row += nnz_) {
      const auto order = indices_[row + a] <=> indices_[row + b];
      if (order != 0) return order;
    }
    return std::strong_ordering::equal;
  }

 private:
  std::span<const int64_t> indices_;
  uint64_t nnz_;
};

Status duplicate(uint64_t a, uint64_t b) {
  return {TorchArchiveError::kSparseDuplicate,
          concat("entries ", std::min(a, b), " and ", std::max(a, b),
                 " of a sparse tensor have the same indices")};
}

// Of entries that are not in order: sorted, equal ones stand side by side.
Status check_unordered(const Entries& entries, uint64_t nnz) {
  std::vector<uint64_t> order(nnz);
  std::iota(order.begin(), order.end(), uint64_t{0});
  std::ranges::sort(order, [&](uint64_t a, uint64_t b) { return entries.compare(a, b) < 0; });
  const auto twice = std::ranges::adjacent_find(
      order, [&](uint64_t a, uint64_t b) { return entries.compare(a, b) == 0; });
  return twice == order.end() ? Status() : duplicate(twice[0], twice[1]);
}

Status check_order(const TorchSparseTensor& tensor, const Entries& entries) {
  for (uint64_t i = 1; i < tensor.nnz(); ++i) {
    const auto order = entries.compare(i - 1, i);
    if (order < 0) continue;
    if (order == 0) return duplicate(i - 1, i);
    if (!tensor.is_coalesced) return check_unordered(entries, tensor.nnz());
    return {TorchArchiveError::kSparseOrder,
            concat("entry ", i, " of a sparse tensor that is said to be coalesced comes before ",
                   "the one in front of it")};
  }
  return {};
}

}  // namespace

bool is_whole_storage(const TorchTensor& tensor, const TorchStorage& storage) {
  uint64_t expected = 1;
  for (size_t d = tensor.shape.size(); d-- > 0;) {
    if (tensor.shape[d] != 1 && tensor.strides[d] != expected) return false;
    expected *= tensor.shape[d];
  }
  return tensor.offset == 0 && expected * (dtype_bits(tensor.dtype) / 8) == storage.bytes();
}

void gather(const TorchTensor& tensor, std::span<const std::byte> payload,
            std::span<std::byte> out) {
  const size_t bytes = dtype_bits(tensor.dtype) / 8;
  const uint64_t row_elements = tensor.shape.empty() ? 1 : tensor.shape.back();
  const uint64_t stride = tensor.shape.empty() ? 1 : tensor.strides.back();
  Rows rows(tensor);
  for (uint64_t done = 0; done < out.size(); done += row_elements * bytes) {
    if (done > 0) rows.next();
    copy_row(payload.data() + rows.at() * bytes, stride, row_elements, bytes, out.data() + done);
  }
}

Status check_indices(const TorchSparseTensor& tensor, std::span<const int64_t> indices) {
  const uint64_t nnz = tensor.nnz();
  for (size_t i = 0; i < indices.size(); ++i) {
    const uint64_t size = tensor.shape[i / nnz];
    if (static_cast<uint64_t>(indices[i]) < size) continue;  // negative ones are huge there
    return {TorchArchiveError::kSparseIndex,
            concat("the index ", indices[i], " in dimension ", i / nnz,
                   " of a sparse tensor, which has ", size)};
  }
  return check_order(tensor, Entries(indices, nnz));
}

}  // namespace winnow::io
