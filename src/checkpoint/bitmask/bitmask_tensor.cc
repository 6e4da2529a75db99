#include "checkpoint/bitmask/bitmask_tensor.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/status_macros.h"
#include "checkpoint/masks/chunks.h"
#include "winnow/base/concat.h"
#include "winnow/sparse/error_codes.h"

namespace winnow::checkpoint {
namespace {

constexpr uint64_t kStepBytes = 8 << 10;          // of bitmask, from one count to the next
constexpr uint64_t kPieceBytes = 8 * kStepBytes;  // of bitmask, read together

uint64_t count_ones(std::span<const uint8_t> bits) noexcept {
  uint64_t ones = 0;
  while (bits.size() >= sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, bits.data(), sizeof(word));
    ones += static_cast<uint64_t>(std::popcount(word));
    bits = bits.subspan(sizeof(word));
  }
  for (const uint8_t byte : bits) ones += static_cast<uint64_t>(std::popcount(byte));
  return ones;
}

// Copies a value to the place of each set bit. Bit 0 of the first byte stands for value `at` of
// `out`, which wraps below 0 where the lowest bits are not set.
template <size_t kBytes>
const std::byte* scatter(std::span<const uint8_t> bits, const std::byte* values, std::byte* out,
                         uint64_t at) {
  for (const uint8_t byte : bits) {
    for (unsigned left = byte; left != 0; left &= left - 1) {
      const uint64_t place = at + static_cast<uint64_t>(std::countr_zero(left));
      std::memcpy(out + place * kBytes, values, kBytes);
      values += kBytes;
    }
    at += 8;
  }
  return values;
}

const std::byte* scatter(std::span<const uint8_t> bits, const std::byte* values, std::byte* out,
                         uint64_t at, uint64_t value_bytes) {
  switch (value_bytes) {
    case 1:
      return scatter<1>(bits, values, out, at);
    case 2:
      return scatter<2>(bits, values, out, at);
    case 4:
      return scatter<4>(bits, values, out, at);
    default:
      return scatter<8>(bits, values, out, at);
  }
}

bool has_two_of_four(uint8_t byte) noexcept {
  return std::popcount<unsigned>(byte & 15U) == 2 && std::popcount<unsigned>(byte >> 4U) == 2;
}

}  // namespace

BitmaskTensor::BitmaskTensor(const CheckpointReader& file, BitmaskParts parts)
    : file_(file),
      parts_(std::move(parts)),
      value_bytes_(dtype_bits(parts_.weight.dtype) / 8),
      columns_(parts_.weight.shape.back()),
      rows_(columns_ == 0 ? 0 : parts_.weight.numel() / columns_),
      row_bytes_(columns_ / 8 + (columns_ % 8 != 0)) {}

// The byte of the bitmask with the bit of a value, and the reverse for its lowest bit.
uint64_t BitmaskTensor::byte_of(uint64_t value) const noexcept {
  return value / columns_ * row_bytes_ + value % columns_ / 8;
}
uint64_t BitmaskTensor::value_at(uint64_t byte) const noexcept {
  return byte / row_bytes_ * columns_ + byte % row_bytes_ * 8;
}

Status BitmaskTensor::read(uint64_t offset, std::span<std::byte> out) const {
  std::call_once(indexed_, [this] { status_ = index_bits(); });
  WINNOW_RETURN_IF_ERROR(status_);
  if (out.empty()) return Status();
  const uint64_t end = offset + out.size(), skipped = offset % value_bytes_;
  const Range range{offset / value_bytes_, (end + value_bytes_ - 1) / value_bytes_};
  if (skipped == 0 && end % value_bytes_ == 0) return read_values(range, out);
  std::vector<std::byte> whole((range.last - range.first) * value_bytes_);
  WINNOW_RETURN_IF_ERROR(read_values(range, whole));
  std::copy_n(whole.begin() + static_cast<ptrdiff_t>(skipped), out.size(), out.begin());
  return Status();
}

// Counts the set bits and checks them, once, before any value is given out: the format has no
// checksum.
Status BitmaskTensor::index_bits() const {
  const uint64_t bytes = bitmask_bytes();
  ones_.reserve(bytes / kStepBytes + 1);
  std::vector<uint8_t> bits(std::min(bytes, kPieceBytes));
  uint64_t ones = 0;
  for (uint64_t begin = 0; begin < bytes; begin += kPieceBytes) {
    const auto piece = std::span(bits).first(std::min(kPieceBytes, bytes - begin));
    WINNOW_RETURN_IF_ERROR(file_.read(parts_.bitmask, begin, std::as_writable_bytes(piece)));
    WINNOW_RETURN_IF_ERROR(check_rows(piece, begin, ones));
    for (size_t at = 0; at < piece.size(); at += kStepBytes) {
      ones_.push_back(ones);
      ones += count_ones(piece.subspan(at, std::min<size_t>(kStepBytes, piece.size() - at)));
    }
  }
  const uint64_t values = file_.tensors()[parts_.values].numel();
  if (ones == values) return Status();
  return {BitmaskError::kBitmaskCount,
          concat("expected as many values as bits are set, which is ", ones, ", found ", values)};
}

// What a row's bits must be. `bits` are those from byte `begin` of the bitmask on.
Status BitmaskTensor::check_rows(std::span<const uint8_t> bits, uint64_t begin,
                                 uint64_t ones_before) const {
  const unsigned in_last = columns_ % 8;  // bits of a row's last byte; 0: all
  const uint64_t end = begin + bits.size();
  std::vector<uint64_t> ones_by_row;  // before each row that begins here
  uint64_t at = begin;
  while (at < end) {
    const uint64_t row = at / row_bytes_, row_end = std::min(end, (row + 1) * row_bytes_);
    const auto part = bits.subspan(at - begin, row_end - at);
    if (at % row_bytes_ == 0) ones_by_row.push_back(ones_before);
    ones_before += count_ones(part);
    const bool ends_short = in_last != 0 && row_end == (row + 1) * row_bytes_;
    if (ends_short && part.back() >> in_last != 0) {
      return {BitmaskError::kBitmaskPadding,
              concat("row ", row, " has bits set behind its ", columns_, " values")};
    }
    if (!parts_.row_offsets && columns_ % 4 == 0) {
      const auto full = part.first(part.size() - ends_short);
      const bool is_24 = std::all_of(full.begin(), full.end(), has_two_of_four) &&
                         (!ends_short || std::popcount(part.back()) == 2);
      if (!is_24) {
        return {BitmaskError::kBitmaskPattern,
                concat("row ", row, ": expected 2 bits of every 4 set")};
      }
    }
    at = row_end;
  }
  return check_offsets(ones_by_row, (begin + row_bytes_ - 1) / row_bytes_);
}

// Of a weight of more than two dimensions the writer's offsets are sums of another kind, which
// nothing reads.
Status BitmaskTensor::check_offsets(std::span<const uint64_t> ones_by_row,
                                    uint64_t first_row) const {
  if (!parts_.row_offsets || parts_.weight.shape.size() > 2 || ones_by_row.empty()) {
    return Status();
  }
  std::vector<uint64_t> offsets(ones_by_row.size());
  WINNOW_RETURN_IF_ERROR(file_.read(*parts_.row_offsets, first_row * sizeof(uint64_t),
                                    std::as_writable_bytes(std::span(offsets))));
  const auto [found, expected] = std::mismatch(offsets.begin(), offsets.end(), ones_by_row.begin());
  if (found == offsets.end()) return Status();
  const uint64_t row = first_row + static_cast<uint64_t>(found - offsets.begin());
  return {BitmaskError::kBitmaskRowOffsets,
          concat("row_offsets of row ", row, ": expected ", *expected, ", found ",
                 static_cast<int64_t>(*found))};
}

Status BitmaskTensor::read_values(Range range, std::span<std::byte> out) const {
  std::fill(out.begin(), out.end(), std::byte{0});
  std::vector<uint8_t> bits;
  const uint64_t last_byte = byte_of(range.last - 1) + 1;
  while (range.first < range.last) {
    const uint64_t begin = byte_of(range.first) / kStepBytes * kStepBytes;
    const uint64_t end = std::min(begin + kPieceBytes, last_byte);
    bits.resize(end - begin);
    WINNOW_RETURN_IF_ERROR(
        file_.read(parts_.bitmask, begin, std::as_writable_bytes(std::span(bits))));
    const uint64_t next = end == last_byte ? range.last : value_at(end);
    const size_t bytes = (next - range.first) * value_bytes_;
    WINNOW_RETURN_IF_ERROR(read_piece({range.first, next}, begin, bits, out.first(bytes)));
    range.first = next;
    out = out.subspan(bytes);
  }
  return Status();
}

// `bits` are those from byte `begin` of the bitmask on, a multiple of the step, to the byte of the
// range's last value.
Status BitmaskTensor::read_piece(Range range, uint64_t begin, std::span<uint8_t> bits,
                                 std::span<std::byte> out) const {
  const uint64_t first_byte = byte_of(range.first);
  uint64_t ones = ones_[begin / kStepBytes] + count_ones(bits.first(first_byte - begin));
  bits = bits.subspan(first_byte - begin);
  const auto below = static_cast<uint8_t>((1U << (range.first - value_at(first_byte))) - 1);
  ones += static_cast<uint64_t>(std::popcount(static_cast<unsigned>(bits.front() & below)));
  bits.front() &= static_cast<uint8_t>(~below);
  const uint64_t in_last = range.last - value_at(first_byte + bits.size() - 1);
  if (in_last < 8) bits.back() &= static_cast<uint8_t>((1U << in_last) - 1);
  std::vector<std::byte> values(count_ones(bits) * value_bytes_);
  WINNOW_RETURN_IF_ERROR(file_.read(parts_.values, ones * value_bytes_, values));

  const std::byte* next = values.data();
  for (size_t at = 0; at < bits.size();) {
    const uint64_t byte = first_byte + at;
    const size_t end = std::min(bits.size(), (byte / row_bytes_ + 1) * row_bytes_ - first_byte);
    next = scatter(bits.subspan(at, end - at), next, out.data(), value_at(byte) - range.first,
                   value_bytes_);
    at = end;
  }
  return Status();
}

}  // namespace winnow::checkpoint
