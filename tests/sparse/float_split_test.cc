// The kinds window and exponent: heads and escapes against a loop over single values, and back by
// the kernels of every level.
#include "sparse/float_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "winnow/kernels/simd_level.h"

namespace winnow::sparse {
namespace {

// The sizes of the parts of a value, as docs/formats.md has them.
struct Format {
  DType dtype;
  unsigned exponent_bits, mantissa_bits;

  size_t bytes() const { return (1 + exponent_bits + mantissa_bits) / 8; }
  unsigned exponents() const { return 1u << exponent_bits; }
  unsigned exponent(uint64_t value) const { return value >> mantissa_bits & (exponents() - 1); }
  // The highest `bits` bits of the mantissa.
  unsigned top(uint64_t value, unsigned bits) const {
    return static_cast<unsigned>(value >> (mantissa_bits - bits)) & ((1u << bits) - 1);
  }
};

constexpr Format kFormats[] = {
    {DType::kF16, 5, 10}, {DType::kBF16, 8, 7}, {DType::kF32, 8, 23}, {DType::kF64, 11, 52}};

Bytes bytes_of(const Format& format, const std::vector<uint64_t>& values) {
  Bytes bytes(values.size() * format.bytes());
  for (size_t i = 0; i < values.size(); ++i) {
    std::memcpy(&bytes[i * format.bytes()], &values[i], format.bytes());
  }
  return bytes;
}

// A value of that exponent, of any sign and mantissa.
uint64_t value_of(const Format& format, unsigned exponent, uint64_t& state) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  const uint64_t sign_and_mantissa = state >> 1;
  const uint64_t mantissa = sign_and_mantissa & ((uint64_t{1} << format.mantissa_bits) - 1);
  const uint64_t sign = state >> 63;
  return sign << (format.exponent_bits + format.mantissa_bits) |
         uint64_t{exponent} << format.mantissa_bits | mantissa;
}

// n values, most of three exponents and `escapes` of others, the lowest and highest among them,
// spread over all places.
std::vector<uint64_t> window_values(const Format& format, size_t n, size_t escapes) {
  const unsigned middle = format.exponents() / 2, highest = format.exponents() - 1;
  const unsigned others[] = {0, highest, middle + 2, 1, highest - 1};
  std::vector<uint64_t> values;
  uint64_t state = n + escapes;
  for (size_t i = 0; i < n; ++i) {
    const bool is_escape = i >= n - escapes;
    const unsigned usual = middle - (i % 7 < 4 ? 0 : i % 7 < 6 ? 1 : 2);
    const unsigned exponent = is_escape ? others[(i - (n - escapes)) % 5] : usual;
    values.push_back(value_of(format, exponent, state));
  }
  for (size_t i = n; i > 1; --i) std::swap(values[i - 1], values[state % i]);
  return values;
}

struct Appended {
  Bytes bytes;
  ValueKind kind = ValueKind::kPlanes;
  bool fits = false;
};

Appended appended(const Format& format, const std::vector<uint64_t>& values) {
  StreamWriter streams;
  ValueScratch scratch(kernels::kernel_table(SimdLevel::kScalar));
  Appended result;
  result.fits = append_split(bytes_of(format, values), format.dtype, streams, scratch, result.bytes,
                             result.kind);
  return result;
}

Status read_as(ValueKind kind, const Format& format, const Bytes& bytes, SimdLevel level,
               Bytes& out) {
  StreamReader streams;
  ValueScratch scratch(kernels::kernel_table(level));
  ByteReader from(bytes);
  const auto read = kind == ValueKind::kWindow ? read_window : read_exponent;
  const Status status = read(format.dtype, from, streams, scratch, out);
  EXPECT_TRUE(!status.ok() || from.left() == 0) << "bytes are left";
  return status;
}

void expect_back(const Format& format, const std::vector<uint64_t>& values,
                 const Appended& stored) {
  const Bytes expected = bytes_of(format, values);
  for (const SimdLevel level : available_simd_levels()) {
    Bytes out(expected.size(), 0xAA);
    const Status status = read_as(stored.kind, format, stored.bytes, level, out);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(out, expected) << simd_level_name(level);
  }
}

// The three exponents that most values have; of equally many, the lower first.
std::vector<unsigned> frequent_exponents(const Format& format,
                                         const std::vector<uint64_t>& values) {
  std::map<unsigned, size_t> counts;
  for (unsigned e = 0; e < 3; ++e) counts[e] = 0;  // at least three
  for (const uint64_t value : values) ++counts[format.exponent(value)];
  std::vector<std::pair<unsigned, size_t>> order(counts.begin(), counts.end());
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return {order[0].first, order[1].first, order[2].first};
}

void check_window(const Format& format, const std::vector<uint64_t>& values, size_t escapes) {
  const Appended stored = appended(format, values);
  ASSERT_TRUE(stored.fits);
  ASSERT_EQ(stored.kind, ValueKind::kWindow);
  const std::vector<unsigned> exponents = frequent_exponents(format, values);
  Bytes heads, escape_bytes[2];
  for (const uint64_t value : values) {
    const unsigned exponent = format.exponent(value);
    const auto found = std::find(exponents.begin(), exponents.end(), exponent);
    heads.push_back(static_cast<uint8_t>((found - exponents.begin()) << 6 | format.top(value, 6)));
    if (found != exponents.end()) continue;
    escape_bytes[0].push_back(static_cast<uint8_t>(exponent));
    escape_bytes[1].push_back(static_cast<uint8_t>(exponent >> 8));
  }
  ASSERT_EQ(escape_bytes[0].size(), escapes);

  ByteReader from(stored.bytes);
  StreamReader streams;
  Bytes scratch;
  const auto stream = [&](size_t size) {
    const auto bytes = streams.read(from, size, scratch).value();
    return Bytes(bytes.begin(), bytes.end());
  };
  for (const unsigned exponent : exponents) {
    EXPECT_EQ(from.number<uint16_t>("an exponent").value(), exponent);
  }
  EXPECT_EQ(from.number<uint32_t>("escapes").value(), escapes);
  EXPECT_EQ(stream(values.size()), heads);
  for (unsigned byte = 0; byte < (format.exponent_bits + 7) / 8; ++byte) {
    EXPECT_EQ(stream(escapes), escape_bytes[byte]);
  }
  expect_back(format, values, stored);
}

TEST(FloatSplit, WindowsHaveTheHeadsAndEscapesOfALoopOverValues) {
  for (const Format& format : kFormats) {
    for (const size_t n : {64, 65, 127, 320, 323, 1000, 5003}) {
      for (size_t escapes = 0; escapes <= n / 64; escapes += 1 + escapes / 4) {
        SCOPED_TRACE(testing::Message() << dtype_name(format.dtype) << " " << n << " " << escapes);
        check_window(format, window_values(format, n, escapes), escapes);
      }
    }
  }
}

TEST(FloatSplit, FewValuesHaveNoEscapes) {
  for (const Format& format : kFormats) {
    for (size_t n = 1; n < 64; ++n) check_window(format, window_values(format, n, 0), 0);
  }
}

TEST(FloatSplit, OneEscapeMoreThanInSixtyFourMakesItAnotherKind) {
  for (const Format& format : kFormats) {
    const std::vector<uint64_t> values = window_values(format, 323, 6);
    const Appended stored = appended(format, values);
    if (format.dtype == DType::kF64) {
      EXPECT_FALSE(stored.fits) << "its exponents are too far apart";
      EXPECT_TRUE(stored.bytes.empty());
      continue;
    }
    ASSERT_EQ(stored.kind, ValueKind::kExponent);
    expect_back(format, values, stored);
  }
}

TEST(FloatSplit, ExponentsHaveTheHeadsOfALoopOverValues) {
  for (const Format& format : kFormats) {
    const unsigned count = std::min(format.exponents(), 256u);
    for (const unsigned base : {0u, 1u, format.exponents() - count}) {
      if (base + count > format.exponents()) continue;
      SCOPED_TRACE(testing::Message() << dtype_name(format.dtype) << " " << base);
      std::vector<uint64_t> values;
      uint64_t state = base;
      for (unsigned i = 0; i < 3 * count + 5; ++i) {
        values.push_back(value_of(format, base + i % count, state));
      }
      const Appended stored = appended(format, values);
      ASSERT_TRUE(stored.fits);
      ASSERT_EQ(stored.kind, ValueKind::kExponent);
      const unsigned head_bits = format.exponent_bits < 8 ? 8 - format.exponent_bits : 0;
      Bytes heads;
      for (const uint64_t value : values) {
        const unsigned head = (format.exponent(value) - base) << head_bits;
        heads.push_back(static_cast<uint8_t>(head | format.top(value, head_bits)));
      }
      ByteReader from(stored.bytes);
      StreamReader streams;
      Bytes scratch;
      EXPECT_EQ(from.number<uint16_t>("the base").value(), base);
      const auto found = streams.read(from, values.size(), scratch).value();
      EXPECT_TRUE(std::equal(found.begin(), found.end(), heads.begin(), heads.end()));
      expect_back(format, values, stored);
    }
  }
}

TEST(FloatSplit, AnEscapeBehindTheLastExponentIsRefused) {
  for (const Format& format : kFormats) {
    if (format.exponent_bits == 8) continue;  // every byte is an exponent
    Appended stored = appended(format, window_values(format, 64, 1));
    // The stream of one escape's highest byte is stored as it is: find it by trying.
    size_t refused = 0;
    for (size_t at = 10; at < stored.bytes.size(); ++at) {
      Bytes changed = stored.bytes;
      changed[at] = 0xFF;
      Bytes out(64 * format.bytes());
      const Status status = read_as(ValueKind::kWindow, format, changed, SimdLevel::kScalar, out);
      refused += status.code() == SparseError::kSparseValues &&
                 status.message().find("an escape below") != std::string_view::npos;
    }
    EXPECT_GT(refused, 0u) << dtype_name(format.dtype);
  }
}

}  // namespace
}  // namespace winnow::sparse
