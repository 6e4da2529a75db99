#include "sparse/chunk.h"

#include <algorithm>
#include <functional>
#include <new>

#include "base/status_macros.h"
#include "winnow/kernels/simd_level.h"

namespace winnow {

using namespace sparse;

namespace {

// What follows a chunk, other tensors too, is at addresses that suit every type.
constexpr size_t kAlignment = 8;
// What the kernels read or write behind the last value.
constexpr size_t kSlack = 32;

// Fewer -0.0 than one of so many values are cheaper as values.
constexpr size_t kValuesPerNegativeZero = 24;

std::span<const uint8_t> bytes_of_bits(const std::vector<uint64_t>& words, size_t bits) {
  return {reinterpret_cast<const uint8_t*>(words.data()), (bits + 7) / 8};
}

Status out_of_memory() { return {ErrorCode::kOutOfMemory, "not enough memory for a chunk"}; }

// The values of the last group, which is cut off at the end of the chunk.
size_t group_size(size_t g, size_t group, size_t values) {
  return std::min(group, values - g * group);
}

// Calls visit(begin, count) for the values of each kept group.
template <typename Visit>
void for_each_kept(const GroupBits& groups, size_t group, size_t values, const Visit& visit) {
  for_each_bit(groups.words, [&](size_t g) { visit(g * group, group_size(g, group, values)); });
}

size_t kept_values(const GroupBits& groups, size_t group, size_t values) {
  if (groups.kept == 0) return 0;
  const size_t last = groups.groups - 1;
  const bool keeps_last = (groups.words[last / 64] >> last % 64 & 1) != 0;
  const size_t cut = keeps_last ? group - group_size(last, group, values) : 0;
  return groups.kept * group - cut;
}

// A codec with the kernels of the SIMD level that is active.
template <typename State>
Result<std::unique_ptr<State>> new_state() try {
  WINNOW_ASSIGN_OR_RETURN(const SimdLevel level, active_simd_level());
  return std::make_unique<State>(kernels::kernel_table(level));
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

// The fields in front of a chunk of `values` values, checked against each other.
Result<ChunkFront> read_front(ByteReader& from, DType dtype, size_t values) {
  ChunkFront front;
  WINNOW_ASSIGN_OR_RETURN(front.position_kind, from.number<uint8_t>("the kind of positions"));
  WINNOW_ASSIGN_OR_RETURN(front.value_kind, from.number<uint8_t>("the kind of values"));
  WINNOW_ASSIGN_OR_RETURN(const auto signs, from.number<uint8_t>("whether there are signs"));
  WINNOW_ASSIGN_OR_RETURN(const auto reserved, from.number<uint8_t>("a byte of 0"));
  WINNOW_ASSIGN_OR_RETURN(front.group, from.number<uint32_t>("the size of groups"));
  WINNOW_ASSIGN_OR_RETURN(front.kept_groups, from.number<uint32_t>("the kept groups"));
  const auto fault = [](StatusCode code, const auto&... text) {
    return Status(code, concat(text...));
  };
  if (reserved != 0) {
    return fault(SparseError::kSparseFront, "at byte 3: expected a byte of 0, found ", reserved);
  }
  if (signs > 1 || (signs == 1 && !is_prunable(dtype))) {
    return fault(SparseError::kSparseUnknownKind,
                 "at byte 2: expected signs of 0 or, of floats, 1, found ", signs, " of ",
                 dtype_name(dtype));
  }
  front.has_signs = signs == 1;
  if (front.group == 0 || front.group > values) {
    return fault(SparseError::kSparseFront, "at byte 4: expected groups of 1 to ", values,
                 " values, found ", front.group);
  }
  front.groups = (values + front.group - 1) / front.group;
  if (front.kept_groups > front.groups) {
    return fault(SparseError::kSparseFront, "at byte 8: expected at most ", front.groups,
                 " kept groups, found ", front.kept_groups);
  }
  if (front.kept_groups == 0 && (front.position_kind != 0 || front.value_kind != 0)) {
    return fault(SparseError::kSparseUnknownKind,
                 "at byte 0: expected kinds of 0 for a chunk of zeros");
  }
  return front;
}

}  // namespace

std::string encoding_text(std::span<const std::byte> front) {
  constexpr std::string_view kPositions[] = {"all", "gaps", "bitmask"};
  constexpr std::string_view kValues[] = {"planes", "window", "exponent", "decimal"};
  const auto kinds = as_numbers(front);
  if (kinds.size() < kFrontBytes) return "unknown";
  const auto is_kept = [](uint8_t byte) { return byte != 0; };
  if (std::none_of(kinds.begin() + 8, kinds.end(), is_kept)) return "zeros";
  if (kinds[0] >= std::size(kPositions) || kinds[1] >= std::size(kValues)) {
    return "unknown";
  }
  return concat(kPositions[kinds[0]], ", ", kValues[kinds[1]]);
}

std::span<const uint8_t> ChunkEncoder::State::gather(std::span<const uint8_t> values,
                                                     size_t itemsize, size_t group) {
  const size_t n = values.size() / itemsize;
  if (groups.kept == groups.groups) return values;
  const size_t size = kept_values(groups, group, n) * itemsize;
  kept.resize(size + kSlack);
  if (group == 1) {
    table.compact_values(values.data(), itemsize, groups.words.data(), n, kept.data());
  } else {
    uint8_t* to = kept.data();
    for_each_kept(groups, group, n, [&](size_t begin, size_t count) {
      std::memcpy(to, values.data() + begin * itemsize, count * itemsize);
      to += count * itemsize;
    });
  }
  return std::span(kept).first(size);
}

bool ChunkEncoder::State::find_nonzero(std::span<const uint8_t> values, size_t itemsize,
                                       bool has_signs) {
  const size_t n = values.size() / itemsize;
  nonzero.resize(words_for(n));
  table.nonzero_bits(values.data(), itemsize, n, kernels::ZeroSign::kCounts, nonzero.data());
  if (!has_signs) return false;
  signs.resize(words_for(n));
  table.nonzero_bits(values.data(), itemsize, n, kernels::ZeroSign::kIgnored, signs.data());
  const auto count = [&](const std::vector<uint64_t>& bits) {
    return table.count_bit_groups(bits.data(), bits.size(), 1);
  };
  // As a value, a -0.0 costs its position and a tail; as a sign, every value costs a bit.
  if ((count(nonzero) - count(signs)) * kValuesPerNegativeZero < n) return false;
  std::swap(nonzero, signs);
  for (size_t w = 0; w < signs.size(); ++w) signs[w] &= ~nonzero[w];
  return true;
}

// Those within kept groups are among the values already.
void ChunkEncoder::State::append_signs(size_t values, size_t group) {
  for_each_kept(groups, group, values, [&](size_t begin, size_t count) {
    for (size_t i = begin; i < begin + count; ++i) signs[i / 64] &= ~(uint64_t{1} << i % 64);
  });
  streams.append(bytes_of_bits(signs, values), StreamContent::kPatterns, out);
}

EncodedChunk ChunkEncoder::State::encode(std::span<const uint8_t> values, DType dtype, size_t row) {
  const size_t itemsize = element_bytes(dtype), n = values.size() / itemsize;
  const bool has_signs = find_nonzero(values, itemsize, is_prunable(dtype));
  const size_t group = choose_group(table, nonzero, n, row, likely_value_bits(dtype));
  group_bits(table, nonzero, n, group, groups);
  out.assign(kFrontBytes, 0);
  const auto put32 = [&](size_t at, size_t number) {
    const auto word = static_cast<uint32_t>(number);
    std::memcpy(out.data() + at, &word, sizeof(word));
  };
  put32(4, group);
  put32(8, groups.kept);
  uint32_t value_crc = 0;
  auto position_kind = PositionKind::kAll;
  auto value_kind = ValueKind::kPlanes;
  if (groups.kept < groups.groups) value_crc = crc32(groups.bytes());
  if (groups.kept > 0) {
    position_kind = positions.append(groups, streams, out);
    const std::span<const uint8_t> kept_bytes = gather(values, itemsize, group);
    value_crc = crc32(kept_bytes, value_crc);
    value_kind = append_values(kept_bytes, dtype, streams, scratch, out);
  }
  if (has_signs) {
    append_signs(n, group);
    value_crc = crc32(bytes_of_bits(signs, n), value_crc);
  }
  out.resize((out.size() + kAlignment - 1) / kAlignment * kAlignment);
  out[2] = has_signs;
  out[0] = static_cast<uint8_t>(position_kind);
  out[1] = static_cast<uint8_t>(value_kind);
  return {std::as_bytes(std::span(out)), value_crc};
}

Status ChunkDecoder::State::decode(std::span<const uint8_t> chunk, uint32_t value_crc, DType dtype,
                                   std::span<uint8_t> result) {
  const size_t itemsize = element_bytes(dtype), n = result.size() / itemsize;
  ByteReader from(chunk);
  WINNOW_ASSIGN_OR_RETURN(const ChunkFront front, read_front(from, dtype, n));
  const Result<uint32_t> found_crc = read_parts(front, dtype, from, result);
  if (!found_crc.ok()) {
    return found_crc.status().with_context(concat("at byte ", chunk.size() - from.left()));
  }
  if (*found_crc != value_crc) {
    return {SparseError::kSparseValueChecksum,
            concat("expected values with the CRC-32 ", value_crc, ", found ", *found_crc)};
  }
  if (front.drops_groups()) scatter(itemsize, front.group, result);
  if (front.has_signs) set_signs(itemsize, result);
  return Status();
}

Result<uint32_t> ChunkDecoder::State::read_parts(const ChunkFront& front, DType dtype,
                                                 ByteReader& from, std::span<uint8_t> result) {
  const size_t itemsize = element_bytes(dtype), n = result.size() / itemsize;
  WINNOW_RETURN_IF_ERROR(read_groups(front, from));
  std::span<uint8_t> values = result;
  uint32_t crc = 0;
  if (front.drops_groups()) {
    crc = crc32(groups.bytes());
    const size_t size = kept_values(groups, front.group, n) * itemsize;
    kept.resize(size + kSlack);
    values = std::span(kept).first(size);
  }
  if (front.kept_groups > 0) {
    WINNOW_RETURN_IF_ERROR(read_values(static_cast<ValueKind>(front.value_kind), dtype, from,
                                       streams, scratch, values));
  }
  if (front.has_signs) WINNOW_RETURN_IF_ERROR(read_signs(from, n, front.group));
  WINNOW_ASSIGN_OR_RETURN(const auto rest, from.take(from.left(), "padding"));
  if (rest.size() >= kAlignment || std::any_of(rest.begin(), rest.end(), std::identity())) {
    return Status(SparseError::kSparseTrailing,
                  concat(rest.size(), " bytes follow the last stream"));
  }
  crc = crc32(values, crc);
  return front.has_signs ? crc32(bytes_of_bits(signs, n), crc) : crc;
}

Status ChunkDecoder::State::read_groups(const ChunkFront& front, ByteReader& from) {
  groups.groups = front.groups;
  if (front.kept_groups > 0) {
    return positions.read(static_cast<PositionKind>(front.position_kind), front.kept_groups, from,
                          streams, groups);
  }
  groups.kept = 0;
  groups.words.assign(words_for(groups.groups), 0);
  return Status();
}

Status ChunkDecoder::State::read_signs(ByteReader& from, size_t values, size_t group) {
  WINNOW_ASSIGN_OR_RETURN(const auto bytes, streams.read(from, (values + 7) / 8, sign_bytes));
  signs.assign(words_for(values), 0);
  std::memcpy(signs.data(), bytes.data(), bytes.size());
  bool is_wrong = values % 64 != 0 && signs.back() >> values % 64 != 0;
  for_each_bit(signs, [&](size_t i) {
    const size_t g = i / group;
    is_wrong =
        is_wrong || groups.kept == groups.groups || (groups.words[g / 64] >> g % 64 & 1) != 0;
  });
  if (!is_wrong) return Status();
  return {SparseError::kSparsePositions, "a sign is set where no value was dropped"};
}

void ChunkDecoder::State::set_signs(size_t itemsize, std::span<uint8_t> out) const {
  for_each_bit(signs, [&](size_t i) { out[(i + 1) * itemsize - 1] = 0x80; });
}

void ChunkDecoder::State::scatter(size_t itemsize, size_t group, std::span<uint8_t> out) const {
  const size_t n = out.size() / itemsize;
  if (group == 1) {
    table.expand_values(kept.data(), itemsize, groups.words.data(), n, out.data(), is_streaming);
    if (is_streaming) table.fence();
    return;
  }
  const uint8_t* from = kept.data();
  std::memset(out.data(), 0, out.size());
  for_each_kept(groups, group, n, [&](size_t begin, size_t count) {
    std::memcpy(out.data() + begin * itemsize, from, count * itemsize);
    from += count * itemsize;
  });
}

ChunkEncoder::ChunkEncoder(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChunkEncoder::ChunkEncoder(ChunkEncoder&&) noexcept = default;
ChunkEncoder& ChunkEncoder::operator=(ChunkEncoder&&) noexcept = default;
ChunkEncoder::~ChunkEncoder() = default;

Result<ChunkEncoder> ChunkEncoder::create() {
  WINNOW_ASSIGN_OR_RETURN(auto state, new_state<State>());
  return ChunkEncoder(std::move(state));
}

Result<EncodedChunk> ChunkEncoder::encode(std::span<const std::byte> values, DType dtype,
                                          uint64_t row) try {
  return state_->encode(as_numbers(values), dtype, row);
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

ChunkDecoder::ChunkDecoder(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChunkDecoder::ChunkDecoder(ChunkDecoder&&) noexcept = default;
ChunkDecoder& ChunkDecoder::operator=(ChunkDecoder&&) noexcept = default;
ChunkDecoder::~ChunkDecoder() = default;

Result<ChunkDecoder> ChunkDecoder::create() {
  WINNOW_ASSIGN_OR_RETURN(auto state, new_state<State>());
  return ChunkDecoder(std::move(state));
}

void ChunkDecoder::write_around_caches(bool is_on) noexcept { state_->is_streaming = is_on; }

Status ChunkDecoder::decode(std::span<const std::byte> stored, const ChunkEntry& entry, DType dtype,
                            std::span<std::byte> out) {
  const uint32_t found = crc32(as_numbers(stored));
  if (found == entry.stored_crc) return decode_unchecked(stored, entry.value_crc, dtype, out);
  return {SparseError::kSparseStoredChecksum,
          concat("expected bytes with the CRC-32 ", entry.stored_crc, ", found ", found)};
}

Status ChunkDecoder::decode_unchecked(std::span<const std::byte> stored, uint32_t value_crc,
                                      DType dtype, std::span<std::byte> out) try {
  return state_->decode(as_numbers(stored), value_crc, dtype,
                        {reinterpret_cast<uint8_t*>(out.data()), out.size()});
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace winnow
