#include "sparse/positions.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/status_macros.h"
#include "sparse/tails.h"

namespace winnow::sparse {
namespace {

constexpr size_t kEscape = 255;    // "add 255 and go on"
constexpr unsigned kMaxShift = 8;  // what pack_bits takes; longer gaps have several escapes
constexpr double kGapsBelow =
    0.17;  // share of kept groups; bitmasks of more are as small, and faster

// Bit i of the result: whether one of bits [i, i + group) is set, for a power of two up to 64.
uint64_t fold_right(uint64_t word, size_t group) {
  for (size_t step = 1; step < group; step *= 2) word |= word >> step;
  return word;
}

// One bit for every `group` bits.
constexpr uint64_t first_bits(size_t group) {
  uint64_t mask = 0;
  for (size_t i = 0; i < 64; i += group) mask |= uint64_t{1} << i;
  return mask;
}

bool divides_word(size_t group) { return group <= 64 && std::has_single_bit(group); }

// Whether one of bits [begin, end) is set.
bool any_bit(std::span<const uint64_t> words, size_t begin, size_t end) {
  const size_t first = begin / 64, last = (end - 1) / 64;
  const uint64_t from = ~uint64_t{0} << begin % 64, to = ~uint64_t{0} >> (63 - (end - 1) % 64);
  if (first == last) return (words[first] & from & to) != 0;
  if ((words[first] & from) != 0 || (words[last] & to) != 0) return true;
  return std::any_of(words.begin() + first + 1, words.begin() + last,
                     [](uint64_t word) { return word != 0; });
}

size_t count_groups(const kernels::KernelTable& table, std::span<const uint64_t> nonzero,
                    size_t values, size_t group) {
  if (divides_word(group)) return table.count_bit_groups(nonzero.data(), nonzero.size(), group);
  size_t count = 0;
  for (size_t begin = 0; begin < values; begin += group) {
    count += any_bit(nonzero, begin, std::min(begin + group, values));
  }
  return count;
}

// Bits that say which `kept` of `groups` it is, at the entropy.
double position_bits(size_t kept, size_t groups) {
  if (kept == 0 || kept == groups) return 0;
  const double p = static_cast<double>(kept) / static_cast<double>(groups);
  return static_cast<double>(groups) * -(p * std::log2(p) + (1 - p) * std::log2(1 - p));
}

// Sets the bits of the groups behind the gaps, of which there are groups.kept. The low bits of gaps
// are in `low`, if kHasLow.
template <bool kHasLow>
Status set_gaps(std::span<const uint8_t> symbols, unsigned shift, std::span<const uint32_t> low,
                GroupBits& groups) {
  const size_t kept = groups.kept, end = groups.groups;
  const auto wrong_symbols = [kept] {
    return Status(SparseError::kSparsePositions,
                  concat("expected ", kept, " gaps, found other symbols"));
  };
  uint64_t* const words = groups.words.data();
  // The word that has the last bit stays in a register: to read back what was just written would
  // take longer than all the rest.
  uint64_t word = 0;
  size_t index = 0, group = 0, found = 0;
  for (const uint8_t symbol : symbols) {
    if (symbol == kEscape) {
      group += kEscape << shift;
      continue;
    }
    if (found == kept) return wrong_symbols();
    group += size_t{symbol} << shift;
    if constexpr (kHasLow) group += low[found];
    if (group >= end) {
      return {SparseError::kSparsePositions,
              concat("expected a kept group below ", end, ", found ", group)};
    }
    word = (group / 64 == index ? word : 0) | uint64_t{1} << group % 64;
    index = group / 64;
    words[index] = word;
    ++group;
    ++found;
  }
  const bool ends_in_escape = !symbols.empty() && symbols.back() == kEscape;
  return found == kept && !ends_in_escape ? Status() : wrong_symbols();
}

}  // namespace

size_t choose_group(const kernels::KernelTable& table, std::span<const uint64_t> nonzero,
                    size_t values, size_t row, double value_bits) {
  size_t best = 1;
  double least = 0;
  const auto consider = [&](size_t group) {
    const size_t kept = count_groups(table, nonzero, values, group);
    const double bits = position_bits(kept, (values + group - 1) / group) +
                        static_cast<double>(kept * group) * value_bits;
    if (group == 1 || bits < least) {
      best = group;
      least = bits;
    }
  };
  for (size_t group = 1; group <= 64; group *= 2) consider(group);
  if (row > 1 && row <= values && !divides_word(row)) consider(row);
  return best;
}

void group_bits(const kernels::KernelTable& table, std::span<const uint64_t> nonzero, size_t values,
                size_t group, GroupBits& out) {
  out.groups = (values + group - 1) / group;
  out.words.assign(words_for(out.groups), 0);
  const auto add = [&](size_t g) { out.words[g / 64] |= uint64_t{1} << g % 64; };
  if (group == 1) {
    std::copy(nonzero.begin(), nonzero.end(), out.words.begin());
  } else if (divides_word(group)) {
    const uint64_t firsts = first_bits(group);
    for (size_t w = 0; w < nonzero.size(); ++w) {
      for (uint64_t bits = fold_right(nonzero[w], group) & firsts; bits != 0; bits &= bits - 1) {
        add((w * 64 + static_cast<size_t>(std::countr_zero(bits))) / group);
      }
    }
  } else {
    for (size_t g = 0; g < out.groups; ++g) {
      if (any_bit(nonzero, g * group, std::min((g + 1) * group, values))) add(g);
    }
  }
  out.kept = table.count_bit_groups(out.words.data(), out.words.size(), 1);
}

PositionKind PositionCodec::append(const GroupBits& groups, StreamWriter& streams, Bytes& out) {
  if (groups.kept == groups.groups) return PositionKind::kAll;
  const double share = static_cast<double>(groups.kept) / static_cast<double>(groups.groups);
  if (share > kGapsBelow) {
    streams.append(groups.bytes(), StreamContent::kPatterns, out);
    return PositionKind::kBitmask;
  }
  // The symbols of gaps around the mean then stand in the middle of their range.
  const size_t mean = groups.kept == 0 ? 0 : groups.groups / groups.kept;
  const unsigned shift =
      mean < 32 ? 0 : std::min(static_cast<unsigned>(std::bit_width(mean)) - 5, kMaxShift);
  symbols_.clear();
  low_.clear();
  size_t next = 0;
  for_each_bit(groups.words, [&](size_t g) {
    const size_t gap = g - next;
    next = g + 1;
    size_t symbol = gap >> shift;
    for (; symbol >= kEscape; symbol -= kEscape) symbols_.push_back(kEscape);
    symbols_.push_back(static_cast<uint8_t>(symbol));
    if (shift > 0) low_.push_back(static_cast<uint32_t>(gap & ((size_t{1} << shift) - 1)));
  });
  append_number(static_cast<uint32_t>(symbols_.size()), out);
  append_number(static_cast<uint8_t>(shift), out);
  streams.append(symbols_, StreamContent::kPatterns, out);
  append_tails<uint32_t>(low_, shift, streams, low_bits_, out);
  return PositionKind::kGaps;
}

Status PositionCodec::read(PositionKind kind, size_t kept, ByteReader& from, StreamReader& streams,
                           GroupBits& groups) {
  groups.kept = kept;
  groups.words.assign(words_for(groups.groups), 0);
  switch (kind) {
    case PositionKind::kAll:
      if (kept == groups.groups) return Status();
      return {SparseError::kSparsePositions,
              concat("expected all of ", groups.groups, " groups, found ", kept)};
    case PositionKind::kGaps:
      return read_gaps(kept, from, streams, groups);
    case PositionKind::kBitmask: {
      WINNOW_ASSIGN_OR_RETURN(const auto bytes,
                              streams.read(from, (groups.groups + 7) / 8, symbols_));
      std::memcpy(groups.words.data(), bytes.data(), bytes.size());
      const size_t found = table_.count_bit_groups(groups.words.data(), groups.words.size(), 1);
      const size_t used = groups.groups % 64;
      if (used != 0 && groups.words.back() >> used != 0) {
        return {SparseError::kSparsePositions, "a bit is set behind the last group"};
      }
      if (found == kept) return Status();
      return {SparseError::kSparsePositions,
              concat("expected ", kept, " kept groups, found ", found)};
    }
  }
  return {SparseError::kSparseUnknownKind,
          concat("expected a kind of positions of 0 to 2, found ", static_cast<unsigned>(kind))};
}

Status PositionCodec::read_gaps(size_t kept, ByteReader& from, StreamReader& streams,
                                GroupBits& groups) {
  WINNOW_ASSIGN_OR_RETURN(const auto symbols, from.number<uint32_t>("the number of gap symbols"));
  WINNOW_ASSIGN_OR_RETURN(const auto shift, from.number<uint8_t>("the shift of gaps"));
  // Each escape skips 255 groups or more, so a true file cannot have more symbols than this.
  if (symbols < kept || symbols - kept > groups.groups / kEscape || shift > kMaxShift) {
    return {SparseError::kSparsePositions, concat("expected the symbols of ", kept, " gaps, found ",
                                                  symbols, " with a shift of ", shift)};
  }
  WINNOW_ASSIGN_OR_RETURN(const auto all_symbols, streams.read(from, symbols, symbols_));
  const auto read_low = [&]<unsigned kBits>(std::integral_constant<unsigned, kBits>) -> Status {
    if constexpr (kBits > 0) {
      low_.resize((kept + kNumbersAtOnce - 1) / kNumbersAtOnce * kNumbersAtOnce);
      WINNOW_ASSIGN_OR_RETURN(const auto planes,
                              (read_tails<kBits, uint32_t>(kept, from, streams, planes_)));
      for_each_block(kept, [&](size_t i, auto count) { planes.load(i, count, &low_[i]); });
    }
    return Status();
  };
  WINNOW_RETURN_IF_ERROR(with_bits<kMaxShift>(shift, read_low));
  return shift == 0 ? set_gaps<false>(all_symbols, shift, low_, groups)
                    : set_gaps<true>(all_symbols, shift, low_, groups);
}

}  // namespace winnow::sparse
