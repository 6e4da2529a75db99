#include "sparse/float_split.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

#include "base/status_macros.h"
#include "sparse/tails.h"

namespace winnow::sparse {
namespace {

// Bits of the mantissa in a head of the kind window, whatever the type; above them is the class.
constexpr unsigned kWindowHead = 6;

template <typename BitsType, unsigned kExponentBits, unsigned kMantissaBits>
struct Layout {
  using Bits = BitsType;
  static constexpr unsigned kExponents = 1u << kExponentBits;
  static constexpr unsigned kMantissa = kMantissaBits;
  static constexpr unsigned kSign = kExponentBits + kMantissaBits;

  static constexpr unsigned kExponentBytes = (kExponentBits + 7) / 8;

  // Bits of the mantissa that are in the head, and those of the tail: the others and the sign.
  static constexpr unsigned kWindowTail = kMantissa - kWindowHead + 1;
  static constexpr unsigned kExponentHead = kExponentBits < 8 ? 8 - kExponentBits : 0;
  static constexpr unsigned kExponentTail = kMantissa - kExponentHead + 1;

  static unsigned exponent(Bits bits) { return bits >> kMantissa & (kExponents - 1); }
  static Bits mantissa(Bits bits) { return bits & ((Bits{1} << kMantissa) - 1); }

  // The lowest `bits` - 1 bits of the mantissa, and the sign above them.
  static Bits tail(Bits value, unsigned bits) {
    const Bits low = value & ((Bits{1} << (bits - 1)) - 1);
    return static_cast<Bits>(low | static_cast<Bits>(value >> kSign) << (bits - 1));
  }
  // The bits of a value that are in its tail.
  static Bits from_tail(Bits tail, unsigned bits) {
    const Bits low = tail & ((Bits{1} << (bits - 1)) - 1);
    return static_cast<Bits>(low | static_cast<Bits>(tail >> (bits - 1)) << kSign);
  }
};

template <typename Function>
auto with_layout(DType dtype, const Function& function) {
  switch (dtype) {
    case DType::kF16:
      return function(Layout<uint16_t, 5, 10>());
    case DType::kBF16:
      return function(Layout<uint16_t, 8, 7>());
    case DType::kF64:
      return function(Layout<uint64_t, 11, 52>());
    default:
      return function(Layout<uint32_t, 8, 23>());
  }
}

// Whether a kernel joins heads and tails: of F64, whose heads count from a base, none does.
template <typename L>
constexpr bool has_kernel() {
  return sizeof(typename L::Bits) <= 4;
}

template <typename Bits>
Bits bits_at(const uint8_t* values, size_t i) {
  Bits bits;
  std::memcpy(&bits, values + i * sizeof(Bits), sizeof(Bits));
  return bits;
}

// F64 has too many exponents for a byte, so heads count from the lowest that occurs.
constexpr unsigned kMaxExponents = 256;
constexpr size_t kWindowExponents = 3;
constexpr unsigned kEscapeClass = 3;
// A file of more escapes has more exponents than a window holds.
constexpr size_t kValuesPerEscape = 64;

template <typename L>
class Splitter {
 public:
  using Bits = typename L::Bits;

  Splitter(std::span<const uint8_t> values, StreamWriter& streams, ValueScratch& scratch,
           Bytes& out)
      : values_(values.data()),
        n_(values.size() / sizeof(Bits)),
        streams_(streams),
        scratch_(scratch),
        out_(out) {}

  bool append(ValueKind& kind) {
    count_exponents();
    std::array<unsigned, L::kExponents> order;
    std::iota(order.begin(), order.end(), 0u);
    std::partial_sort(order.begin(), order.begin() + kWindowExponents, order.end(),
                      [&](unsigned a, unsigned b) {
                        return counts_[a] != counts_[b] ? counts_[a] > counts_[b] : a < b;
                      });
    const size_t escapes = n_ - counts_[order[0]] - counts_[order[1]] - counts_[order[2]];
    if (escapes * kValuesPerEscape <= n_) {
      kind = ValueKind::kWindow;
      append_window({order[0], order[1], order[2]}, escapes);
      return true;
    }
    kind = ValueKind::kExponent;
    return append_exponent();
  }

 private:
  // Four histograms: neighbours often have the same exponent, and one counter would wait for
  // itself.
  void count_exponents() {
    std::array<std::array<uint32_t, L::kExponents>, 4> counts{};
    for (size_t i = 0; i < n_; ++i) ++counts[i % 4][L::exponent(bits_at<Bits>(values_, i))];
    for (size_t e = 0; e < L::kExponents; ++e) {
      for (const auto& count : counts) counts_[e] += count[e];
    }
  }

  void append_window(const std::array<unsigned, kWindowExponents>& exponents, size_t escapes) {
    std::array<uint8_t, L::kExponents> class_of;
    class_of.fill(kEscapeClass);
    for (size_t c = 0; c < exponents.size(); ++c) {
      class_of[exponents[c]] = static_cast<uint8_t>(c);
      append_number(static_cast<uint16_t>(exponents[c]), out_);
    }
    append_number(static_cast<uint32_t>(escapes), out_);
    split(L::kWindowTail, [&](Bits value) {
      return static_cast<uint8_t>(class_of[L::exponent(value)] << kWindowHead |
                                  L::mantissa(value) >> (L::kMantissa - kWindowHead));
    });
    for (unsigned shift = 0; shift < L::kExponentBytes * 8; shift += 8) {
      scratch_.escapes.clear();
      for (size_t i = 0; escapes > 0 && i < n_; ++i) {
        const unsigned exponent = L::exponent(bits_at<Bits>(values_, i));
        if (class_of[exponent] == kEscapeClass) {
          scratch_.escapes.push_back(static_cast<uint8_t>(exponent >> shift));
        }
      }
      streams_.append(scratch_.escapes, StreamContent::kSymbols, out_);
    }
    append_planes(L::kWindowTail);
  }

  bool append_exponent() {
    unsigned base = 0;
    if (L::kExponents > kMaxExponents) {
      const auto used = [](uint32_t count) { return count > 0; };
      const auto lowest = std::find_if(counts_.begin(), counts_.end(), used) - counts_.begin();
      base = std::min(static_cast<unsigned>(lowest), L::kExponents - kMaxExponents);
      const auto high = std::find_if(counts_.rbegin(), counts_.rend(), used);
      if (counts_.rend() - high > static_cast<ptrdiff_t>(base + kMaxExponents)) return false;
    }
    append_number(static_cast<uint16_t>(base), out_);
    split(L::kExponentTail, [&](Bits value) {
      return static_cast<uint8_t>((L::exponent(value) - base) << L::kExponentHead |
                                  L::mantissa(value) >> (L::kMantissa - L::kExponentHead));
    });
    append_planes(L::kExponentTail);
    return true;
  }

  // Writes the heads' stream and leaves the tails.
  template <typename Head>
  void split(unsigned tail_bits, const Head& head) {
    scratch_.heads.resize(n_);
    auto& all_tails = scratch_.template tails<Bits>();
    all_tails.resize(n_);
    // By blocks in local arrays, which nothing aliases, so that the loop becomes vectors.
    for_each_block(n_, [&](size_t i, auto count) {
      Bits values[kNumbersAtOnce], tails[kNumbersAtOnce];
      uint8_t heads[kNumbersAtOnce];
      std::memcpy(values, values_ + i * sizeof(Bits), count * sizeof(Bits));
      for (size_t j = 0; j < count; ++j) {
        heads[j] = head(values[j]);
        tails[j] = L::tail(values[j], tail_bits);
      }
      std::memcpy(&scratch_.heads[i], heads, count);
      std::memcpy(&all_tails[i], tails, count * sizeof(Bits));
    });
    streams_.append(scratch_.heads, StreamContent::kSymbols, out_);
  }

  void append_planes(unsigned bits) {
    append_tails<Bits>(scratch_.template tails<Bits>(), bits, streams_, scratch_.plane, out_);
  }

  const uint8_t* values_;
  size_t n_;
  StreamWriter& streams_;
  ValueScratch& scratch_;
  Bytes& out_;
  std::array<uint32_t, L::kExponents> counts_{};
};

// Calls visit(i) for each head of class 3, whose two highest bits are set.
template <typename Visit>
void for_each_escape(std::span<const uint8_t> heads, const Visit& visit) {
  constexpr uint64_t kHighest = 0x8080808080808080u;
  size_t i = 0;
  // Eight heads at a time, because escapes are rare.
  for (; i + 8 <= heads.size(); i += 8) {
    uint64_t eight;
    std::memcpy(&eight, heads.data() + i, sizeof(eight));
    for (uint64_t both = eight & eight << 1 & kHighest; both != 0; both &= both - 1) {
      visit(i + static_cast<size_t>(std::countr_zero(both)) / 8);
    }
  }
  for (; i < heads.size(); ++i) {
    if (heads[i] >> kWindowHead == kEscapeClass) visit(i);
  }
}

// Joins heads and tails; from_head(head) is what a value has from its head.
template <unsigned kTailBits, typename L, typename FromHead>
void join_all(std::span<const uint8_t> heads, const Planes<kTailBits, typename L::Bits>& planes,
              uint8_t* out, const FromHead& from_head) {
  using Bits = typename L::Bits;
  for_each_block(heads.size(), [&](size_t i, auto count) {
    Bits values[kNumbersAtOnce];
    planes.load(i, count, values);
    for (size_t j = 0; j < count; ++j) {
      values[j] = from_head(heads[i + j]) | L::from_tail(values[j], kTailBits);
    }
    std::memcpy(out + i * sizeof(Bits), values, count * sizeof(Bits));
  });
}

// The exponents of the classes; that of escapes is 0, which a value's own is then added to.
using WindowExponents = std::array<unsigned, kWindowExponents + 1>;

template <typename L>
Result<WindowExponents> read_window_exponents(ByteReader& from) {
  WindowExponents exponents{};
  for (size_t c = 0; c < kWindowExponents; ++c) {
    WINNOW_ASSIGN_OR_RETURN(const auto exponent, from.number<uint16_t>("an exponent"));
    if (exponent >= L::kExponents) {
      return Status(SparseError::kSparseValues,
                    concat("expected an exponent below ", L::kExponents, ", found ", exponent));
    }
    exponents[c] = exponent;
  }
  return exponents;
}

// The heads of n values, of which as many are of class 3 as the field in front of them says.
// Leaves their number in `escapes`.
Result<std::span<const uint8_t>> read_window_heads(size_t n, ByteReader& from,
                                                   StreamReader& streams, ValueScratch& scratch,
                                                   size_t& escapes) {
  WINNOW_ASSIGN_OR_RETURN(escapes, from.number<uint32_t>("the number of escapes"));
  if (escapes > n) {
    return Status(SparseError::kSparseValues,
                  concat("expected at most ", n, " escapes, found ", escapes));
  }
  WINNOW_ASSIGN_OR_RETURN(const auto heads, streams.read(from, n, scratch.heads));
  size_t found = 0;
  for_each_escape(heads, [&](size_t) { ++found; });
  if (found == escapes) return heads;
  return Status(SparseError::kSparseValues,
                concat("expected ", escapes, " escapes, found ", found));
}

// Leaves the exponents of `count` escapes in scratch.indices.
template <typename L>
Status read_escapes(size_t count, ByteReader& from, StreamReader& streams, ValueScratch& scratch) {
  scratch.indices.assign(count, 0);
  for (unsigned shift = 0; shift < L::kExponentBytes * 8; shift += 8) {
    WINNOW_ASSIGN_OR_RETURN(const auto bytes, streams.read(from, count, scratch.escapes));
    for (size_t i = 0; i < count; ++i) {
      scratch.indices[i] |= static_cast<uint32_t>(bytes[i]) << shift;
    }
  }
  for (const uint32_t exponent : scratch.indices) {
    if (exponent < L::kExponents) continue;
    return {SparseError::kSparseValues,
            concat("expected an escape below ", L::kExponents, ", found ", exponent)};
  }
  return Status();
}

template <typename L>
Status read_window_as(L, ByteReader& from, StreamReader& streams, ValueScratch& scratch,
                      std::span<uint8_t> out) {
  using Bits = typename L::Bits;
  const size_t n = out.size() / sizeof(Bits);
  size_t escapes = 0;
  WINNOW_ASSIGN_OR_RETURN(const WindowExponents exponents, read_window_exponents<L>(from));
  WINNOW_ASSIGN_OR_RETURN(const auto heads, read_window_heads(n, from, streams, scratch, escapes));
  WINNOW_RETURN_IF_ERROR(read_escapes<L>(escapes, from, streams, scratch));
  WINNOW_ASSIGN_OR_RETURN(const auto planes,
                          (read_tails<L::kWindowTail, Bits>(n, from, streams, scratch.planes)));
  if constexpr (has_kernel<L>()) {
    scratch.table.join_floats({.heads = heads.data(),
                               .planes = planes.begins.data(),
                               .tail_bits = L::kWindowTail,
                               .is_window = true,
                               .exponents = exponents.data()},
                              sizeof(Bits), n, out.data());
  } else {
    join_all<L::kWindowTail, L>(heads, planes, out.data(), [&](uint8_t head) {
      const Bits top = head & ((1u << kWindowHead) - 1);
      return Bits{exponents[head >> kWindowHead]} << L::kMantissa | top << (L::kWindowTail - 1);
    });
  }
  size_t e = 0;
  for_each_escape(heads, [&](size_t i) {
    auto value = bits_at<Bits>(out.data(), i);
    value |= static_cast<Bits>(scratch.indices[e++]) << L::kMantissa;
    std::memcpy(out.data() + i * sizeof(Bits), &value, sizeof(Bits));
  });
  return Status();
}

template <typename L>
Status read_exponent_as(L, ByteReader& from, StreamReader& streams, ValueScratch& scratch,
                        std::span<uint8_t> out) {
  using Bits = typename L::Bits;
  const size_t n = out.size() / sizeof(Bits);
  WINNOW_ASSIGN_OR_RETURN(const auto base, from.number<uint16_t>("the first exponent"));
  if (base > L::kExponents - std::min(L::kExponents, kMaxExponents)) {
    return {SparseError::kSparseValues, concat("a first exponent of ", base, " is too large")};
  }
  WINNOW_ASSIGN_OR_RETURN(const auto heads, streams.read(from, n, scratch.heads));
  WINNOW_ASSIGN_OR_RETURN(const auto planes,
                          (read_tails<L::kExponentTail, Bits>(n, from, streams, scratch.planes)));
  if constexpr (has_kernel<L>()) {
    scratch.table.join_floats({.heads = heads.data(),
                               .planes = planes.begins.data(),
                               .tail_bits = L::kExponentTail,
                               .is_window = false,
                               .exponents = nullptr},
                              sizeof(Bits), n, out.data());
  } else {
    const Bits low = Bits{base} << L::kMantissa;
    join_all<L::kExponentTail, L>(heads, planes, out.data(),
                                  [=](uint8_t head) { return (Bits{head} << L::kMantissa) + low; });
  }
  return Status();
}

}  // namespace

bool append_split(std::span<const uint8_t> values, DType dtype, StreamWriter& streams,
                  ValueScratch& scratch, Bytes& out, ValueKind& kind) {
  return with_layout(dtype, [&]<typename L>(L) {
    return Splitter<L>(values, streams, scratch, out).append(kind);
  });
}

Status read_window(DType dtype, ByteReader& from, StreamReader& streams, ValueScratch& scratch,
                   std::span<uint8_t> out) {
  return with_layout(
      dtype, [&](auto layout) { return read_window_as(layout, from, streams, scratch, out); });
}

Status read_exponent(DType dtype, ByteReader& from, StreamReader& streams, ValueScratch& scratch,
                     std::span<uint8_t> out) {
  return with_layout(
      dtype, [&](auto layout) { return read_exponent_as(layout, from, streams, scratch, out); });
}

}  // namespace winnow::sparse
