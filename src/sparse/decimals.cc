#include "sparse/decimals.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>

#include "base/status_macros.h"

namespace winnow::sparse {
namespace {

// F32 tells 6 significant digits apart, always; with 7 most floats would be decimals by chance.
constexpr unsigned kMinDigits = 3, kMaxDigits = 6;
// Powers of ten up to 10^22 are exact as F64. The product or quotient is then rounded once.
constexpr int kMaxPower = 22;
constexpr int kMinDecade = -12, kMaxDecade = 12;
constexpr size_t kSample = 256;
constexpr size_t kValuesPerException = 32;

constexpr std::array<double, kMaxPower + 1> kPowersOfTen = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

constexpr std::array<uint32_t, kMaxDigits + 1> kTens = {1, 10, 100, 1000, 10000, 100000, 1000000};

uint32_t bits_of(const uint8_t* values, size_t i) {
  uint32_t bits;
  std::memcpy(&bits, values + 4 * i, 4);
  return bits;
}

// The magnitude of significand x 10^power, rounded to F64 and then to F32.
float decimal(uint32_t significand, int power) {
  const auto whole = static_cast<double>(significand);
  return static_cast<float>(power < 0 ? whole / kPowersOfTen[static_cast<size_t>(-power)]
                                      : whole * kPowersOfTen[static_cast<size_t>(power)]);
}

// The decimal numbers of some digits, in the order of their size, from 10^first_decade on.
class DecimalLine {
 public:
  DecimalLine(unsigned digits, int first_decade)
      : digits_(static_cast<int>(digits)),
        first_decade_(first_decade),
        low_(kTens[digits - 1]),
        decade_(kTens[digits] - kTens[digits - 1]) {}

  float at(uint32_t index) const {
    const auto decade = static_cast<int>(index / decade_);
    return decimal(index % decade_ + low_, first_decade_ + decade - digits_ + 1);
  }

  // The index of a magnitude, unless it is no such number or smaller than the first.
  std::optional<uint32_t> index_of(float magnitude) const {
    if (!(magnitude >= 1e-12f && magnitude < 1e12f)) return std::nullopt;
    int decade = decade_of(magnitude);
    auto significand = scaled(magnitude, decade);
    if (significand == kTens[static_cast<size_t>(digits_)]) {  // rounded up to the next decade
      ++decade;
      significand = low_;
    }
    if (decade < first_decade_ || significand < low_) return std::nullopt;
    if (decimal(significand, decade - digits_ + 1) != magnitude) return std::nullopt;
    return static_cast<uint32_t>(decade - first_decade_) * decade_ + significand - low_;
  }

  // Indices below it have powers of ten that kPowersOfTen holds.
  uint32_t end() const { return static_cast<uint32_t>(kMaxPower - first_decade_) * decade_; }

  static int decade_of(float magnitude) {
    // log10 of the power of two below, then one comparison.
    const int exponent = static_cast<int>(std::bit_cast<uint32_t>(magnitude) >> 23) - 127;
    int decade = exponent * 1233 >> 12;
    const double next = decade + 1 < 0 ? 1 / kPowersOfTen[static_cast<size_t>(-(decade + 1))]
                                       : kPowersOfTen[static_cast<size_t>(decade + 1)];
    if (static_cast<double>(magnitude) >= next) ++decade;
    return decade;
  }

 private:
  uint32_t scaled(float magnitude, int decade) const {
    const int power = digits_ - 1 - decade;
    const double product = power < 0 ? magnitude / kPowersOfTen[static_cast<size_t>(-power)]
                                     : magnitude * kPowersOfTen[static_cast<size_t>(power)];
    return static_cast<uint32_t>(product + 0.5);
  }

  int digits_, first_decade_;
  uint32_t low_, decade_;
};

// The fewest digits under which nearly all of a sample are decimals.
std::optional<unsigned> find_digits(const uint8_t* values, size_t n) {
  const size_t stride = std::max<size_t>(1, n / kSample);
  for (unsigned digits = kMinDigits; digits <= kMaxDigits; ++digits) {
    const DecimalLine line(digits, kMinDecade);
    size_t tried = 0, found = 0;
    for (size_t i = 0; i < n; i += stride, ++tried) {
      found += line.index_of(std::bit_cast<float>(bits_of(values, i) & 0x7fffffffu)).has_value();
      if (tried == 16 && found < 8) break;  // ordinary floats are told apart at once
    }
    if (found * 16 >= tried * 15 && tried > 0) return digits;
  }
  return std::nullopt;
}

// The lowest decade of all values.
int first_decade_of(const uint8_t* values, size_t n) {
  uint32_t least = std::bit_cast<uint32_t>(1e11f);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t magnitude = bits_of(values, i) & 0x7fffffffu;
    if (magnitude >= std::bit_cast<uint32_t>(1e-12f)) least = std::min(least, magnitude);
  }
  return std::max(DecimalLine::decade_of(std::bit_cast<float>(least)), kMinDecade);
}

}  // namespace

bool append_decimals(std::span<const uint8_t> values, double bits_limit, StreamWriter& streams,
                     ValueScratch& scratch, Bytes& out) {
  const size_t n = values.size() / 4;
  const std::optional<unsigned> digits = find_digits(values.data(), n);
  if (!digits) return false;
  const int first_decade = first_decade_of(values.data(), n);
  const DecimalLine line(*digits, first_decade);
  auto& tails = scratch.tails<uint32_t>();
  tails.resize(n);
  scratch.indices.clear();
  uint32_t first = UINT32_MAX, last = 0;
  for (size_t i = 0; i < n; ++i) {
    const auto index = line.index_of(std::bit_cast<float>(bits_of(values.data(), i) & 0x7fffffffu));
    tails[i] = index.value_or(UINT32_MAX);
    if (!index) {
      scratch.indices.push_back(static_cast<uint32_t>(i));
      if (scratch.indices.size() * kValuesPerException > n) return false;
      continue;
    }
    first = std::min(first, *index);
    last = std::max(last, *index);
  }
  if (first > last) return false;
  const auto width = static_cast<unsigned>(std::bit_width(last - first));
  const unsigned shift = width > 8 ? width - 8 : 0;
  const uint32_t low = (1u << shift) - 1;
  scratch.heads.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const bool is_exception = tails[i] == UINT32_MAX;
    const uint32_t index = is_exception ? 0 : tails[i] - first;
    const uint32_t sign = is_exception ? 0 : bits_of(values.data(), i) >> 31;
    scratch.heads[i] = static_cast<uint8_t>(index >> shift);
    tails[i] = (index & low) | sign << shift;
  }
  const double exception_bits =
      64.0 * static_cast<double>(scratch.indices.size()) / static_cast<double>(n);
  if (sampled_entropy(scratch.heads) + shift + 1 + exception_bits >= bits_limit) return false;

  append_number(static_cast<uint8_t>(*digits), out);
  append_number(static_cast<int8_t>(first_decade), out);
  append_number(static_cast<uint8_t>(shift), out);
  append_number(first, out);
  append_number(static_cast<uint32_t>(scratch.indices.size()), out);
  streams.append(scratch.heads, StreamContent::kSymbols, out);
  append_tails<uint32_t>(tails, shift + 1, streams, scratch.plane, out);
  for (unsigned b = 0; b < 4; ++b) {
    scratch.plane.clear();
    for (const uint32_t i : scratch.indices)
      scratch.plane.push_back(static_cast<uint8_t>(i >> 8 * b));
    streams.append(scratch.plane, StreamContent::kSymbols, out);
  }
  for (unsigned b = 0; b < 4; ++b) {
    scratch.plane.clear();
    for (const uint32_t i : scratch.indices) scratch.plane.push_back(values[4 * i + b]);
    streams.append(scratch.plane, StreamContent::kSymbols, out);
  }
  return true;
}

namespace {

// The streams of one 32-bit number for each exception.
Status read_words(size_t count, ByteReader& from, StreamReader& streams, Bytes& buffer,
                  std::vector<uint32_t>& words) {
  words.assign(count, 0);
  for (unsigned b = 0; b < 4; ++b) {
    WINNOW_ASSIGN_OR_RETURN(const auto bytes, streams.read(from, count, buffer));
    for (size_t i = 0; i < count; ++i) words[i] |= uint32_t{bytes[i]} << 8 * b;
  }
  return Status();
}

constexpr unsigned kMaxShift = 24;

}  // namespace

Status read_decimals(ByteReader& from, StreamReader& streams, ValueScratch& scratch,
                     std::span<uint8_t> out) {
  const size_t n = out.size() / 4;
  WINNOW_ASSIGN_OR_RETURN(const auto digits, from.number<uint8_t>("the digits"));
  WINNOW_ASSIGN_OR_RETURN(const auto decade, from.number<int8_t>("the first decade"));
  WINNOW_ASSIGN_OR_RETURN(const auto shift, from.number<uint8_t>("the shift of indices"));
  WINNOW_ASSIGN_OR_RETURN(const auto first, from.number<uint32_t>("the first index"));
  WINNOW_ASSIGN_OR_RETURN(const auto exceptions, from.number<uint32_t>("the number of exceptions"));
  if (digits < kMinDigits || digits > kMaxDigits || decade < kMinDecade || decade >= kMaxDecade ||
      shift > kMaxShift || exceptions > n) {
    return {SparseError::kSparseValues,
            concat("decimals of ", digits, " digits from decade ", decade, " with a shift of ",
                   shift, " and ", exceptions, " exceptions are out of range")};
  }
  const DecimalLine line(digits, decade);
  WINNOW_ASSIGN_OR_RETURN(const auto heads, streams.read(from, n, scratch.heads));
  uint64_t highest = 0;
  for (const uint8_t head : heads) highest = std::max<uint64_t>(highest, head);
  if (first + ((highest + 1) << shift) > line.end()) {
    return {SparseError::kSparseValues,
            concat("expected indices below ", line.end(), ", found ", first + (highest << shift))};
  }
  const auto read_magnitudes =
      [&]<unsigned kBits>(std::integral_constant<unsigned, kBits>) -> Status {
    if constexpr (kBits > 0) {
      WINNOW_ASSIGN_OR_RETURN(const auto planes,
                              (read_tails<kBits, uint32_t>(n, from, streams, scratch.planes)));
      for_each_block(n, [&](size_t i, auto count) {
        uint32_t tails[kNumbersAtOnce];
        planes.load(i, count, tails);
        for (size_t j = 0; j < count; ++j) {
          const uint32_t low = tails[j] & ((1u << (kBits - 1)) - 1);
          const float magnitude = line.at(first + (uint32_t{heads[i + j]} << (kBits - 1) | low));
          tails[j] = std::bit_cast<uint32_t>(magnitude) | tails[j] >> (kBits - 1) << 31;
        }
        std::memcpy(out.data() + 4 * i, tails, 4 * count);
      });
    }
    return Status();
  };
  WINNOW_RETURN_IF_ERROR(with_bits<kMaxShift + 1>(shift + 1u, read_magnitudes));
  WINNOW_RETURN_IF_ERROR(read_words(exceptions, from, streams, scratch.plane, scratch.indices));
  auto& words = scratch.tails<uint32_t>();
  WINNOW_RETURN_IF_ERROR(read_words(exceptions, from, streams, scratch.plane, words));
  for (size_t e = 0; e < exceptions; ++e) {
    if (scratch.indices[e] >= n || (e > 0 && scratch.indices[e] <= scratch.indices[e - 1])) {
      return {SparseError::kSparseValues, concat("expected exceptions in their order, below ", n,
                                                 ", found ", scratch.indices[e])};
    }
    std::memcpy(out.data() + 4 * size_t{scratch.indices[e]}, &words[e], 4);
  }
  return Status();
}

}  // namespace winnow::sparse
