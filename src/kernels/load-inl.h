// PRIVATE, per target. How values of each type become scores and keys, lanes being elements.
#if defined(WINNOW_KERNELS_LOAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WINNOW_KERNELS_LOAD_INL_H_
#undef WINNOW_KERNELS_LOAD_INL_H_
#else
#define WINNOW_KERNELS_LOAD_INL_H_
#endif

#include <cmath>
#include <cstring>
#include <type_traits>

#include "base/float_format.h"
#include "hwy/highway.h"
#include "kernels/kernel_table.h"
#include "kernels/scalar_key.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The element at p + i of an array at any alignment.
template <typename T>
HWY_INLINE T load_element(const T* p, size_t i) {
  T value;
  std::memcpy(&value, reinterpret_cast<const char*>(p) + i * sizeof(T), sizeof(T));
  return value;
}

// hn::LoadU at any alignment. Highway reads a vector of one lane as a number of its type, which has
// to be aligned.
template <class D>
HWY_INLINE hn::VFromD<D> load(D d, const hn::TFromD<D>* p) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    return hn::Set(d, load_element(p, 0));
  } else {
    return hn::LoadU(d, p);
  }
}

// F32 and F64, whose scores are formed in their own type.
template <typename T>
struct OwnFormat {
  using Element = T;
  using Score = T;
  template <class D>
  static HWY_INLINE hn::VFromD<D> load_magnitude(D d, const T* p) {
    return hn::Abs(load(d, p));
  }
  static T magnitude(T x) { return std::abs(x); }
};
using FormatF32 = OwnFormat<float>;
using FormatF64 = OwnFormat<double>;

struct FormatBF16 {
  using Element = uint16_t;
  using Score = float;
  template <class D>
  static HWY_INLINE hn::VFromD<D> load_magnitude(D d, const Element* p) {
    const hn::RebindToUnsigned<D> du;
    const hn::Rebind<uint16_t, D> d16;
    // A BF16 is the upper half of the F32 of the same value.
    const auto wide = hn::PromoteTo(du, load(d16, p));
    return hn::Abs(hn::BitCast(d, hn::ShiftLeft<16>(wide)));
  }
  static float magnitude(Element x) { return bf16_magnitude(x); }
};

struct FormatF16 {
  using Element = uint16_t;
  using Score = float;
  template <class D>
  static HWY_INLINE hn::VFromD<D> load_magnitude(D d, const Element* p) {
    const hn::Rebind<uint16_t, D> d16;
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
    const hn::Rebind<hwy::float16_t, D> dh;
    return hn::Abs(hn::PromoteTo(d, hn::BitCast(dh, load(d16, p))));
#else
    // Highway's PromoteTo is not exact for infinities and NaN where the CPU has no F16C.
    const hn::RebindToUnsigned<D> du;
    const auto magnitude = hn::And(hn::PromoteTo(du, load(d16, p)), hn::Set(du, 0x7fffu));
    // Shifted by the 13 bits that F32's mantissa is longer, then scaled by 2^(127 - 15), the
    // difference of the exponents' biases. The product is exact, also where the F16 is denormal.
    const auto scaled = hn::Mul(hn::BitCast(d, hn::ShiftLeft<13>(magnitude)), hn::Set(d, 0x1p112f));
    const auto special =
        hn::IfThenElseZero(hn::Gt(magnitude, hn::Set(du, 0x7bffu)), hn::Set(du, 0x7f800000u));
    return hn::BitCast(d, hn::Or(hn::BitCast(du, scaled), special));
#endif
  }
  static float magnitude(Element x) { return f16_magnitude(x); }
};

template <Norm kNorm>
using NormConstant = std::integral_constant<Norm, kNorm>;

// Calls visit(Format(), NormConstant(), kernels) for every type of values and norm.
template <class Visit>
void visit_kernels(KernelTable& table, const Visit& visit) {
  const auto both = [&](auto format, auto& kernels) {
    visit(format, NormConstant<Norm::kL1>(), kernels.l1);
    visit(format, NormConstant<Norm::kL2>(), kernels.l2);
  };
  both(FormatF32(), table.f32);
  both(FormatF16(), table.f16);
  both(FormatBF16(), table.bf16);
  both(FormatF64(), table.f64);
}

// The score of a magnitude: itself (L1) or its square (L2), one rounding each.
template <Norm kNorm, class V>
HWY_INLINE V score_of(V magnitude) {
  if constexpr (kNorm == Norm::kL1) {
    return magnitude;
  } else {
    return hn::Mul(magnitude, magnitude);
  }
}

// Scores are never negative, but a NaN may carry any sign and payload.
template <class D, class V, class DI = hn::RebindToSigned<D>>
HWY_INLINE hn::VFromD<DI> key_of(D, V score) {
  const DI di;
  using Key = hn::TFromD<DI>;
  const auto bits = hn::And(hn::BitCast(di, score), hn::Set(di, hwy::LimitsMax<Key>()));
  return hn::Min(bits, hn::Set(di, kNanKey<Key>));
}

// Sorts kCols * N values that stand row-major as kCols values of each of N blocks by their place in
// the block: out[c] lane b = values[b * kCols + c]. N being the lanes of a vector.
template <size_t kCols, class D, class V = hn::VFromD<D>>
HWY_INLINE void deinterleave([[maybe_unused]] D d, const V* values, V* out) {
  if constexpr (kCols == 1) {
    out[0] = values[0];
#if HWY_TARGET == HWY_SCALAR
  } else {
    for (size_t c = 0; c < kCols; ++c) out[c] = values[c];
#else
  } else {
    // Each step parts even from odd places; log2(kCols) steps sort them all.
    constexpr size_t kHalf = kCols / 2;
    V even[kHalf], odd[kHalf], even_out[kHalf], odd_out[kHalf];
    for (size_t i = 0; i < kHalf; ++i) {
      even[i] = hn::ConcatEven(d, values[2 * i + 1], values[2 * i]);
      odd[i] = hn::ConcatOdd(d, values[2 * i + 1], values[2 * i]);
    }
    deinterleave<kHalf>(d, even, even_out);
    deinterleave<kHalf>(d, odd, odd_out);
    for (size_t i = 0; i < kHalf; ++i) {
      out[2 * i] = even_out[i];
      out[2 * i + 1] = odd_out[i];
    }
#endif
  }
}

// Divides sums by a block's size. For a power of two the product with the inverse is the same
// number as the quotient, and much faster.
template <typename Score>
class Divisor {
 public:
  explicit Divisor(size_t size)
      : size_(static_cast<Score>(size)), is_power_of_two_((size & (size - 1)) == 0) {}

  template <class D, class V>
  HWY_INLINE V divide(D d, V sum) const {
    return is_power_of_two_ ? hn::Mul(sum, hn::Set(d, Score{1} / size_))
                            : hn::Div(sum, hn::Set(d, size_));
  }

 private:
  Score size_;
  bool is_power_of_two_;
};

// sum + the scores of one row of N blocks of width kCols, left to right.
template <class Format, Norm kNorm, size_t kCols, class D, class V = hn::VFromD<D>>
HWY_INLINE V add_row(D d, V sum, const typename Format::Element* row) {
  V values[kCols], columns[kCols];
  for (size_t i = 0; i < kCols; ++i) {
    values[i] = score_of<kNorm>(Format::load_magnitude(d, row + i * hn::Lanes(d)));
  }
  deinterleave<kCols>(d, values, columns);
  for (size_t c = 0; c < kCols; ++c) sum = hn::Add(sum, columns[c]);
  return sum;
}

// The mean scores of N blocks of one row of kCols, a power of two.
template <class Format, Norm kNorm, size_t kCols, class D>
HWY_INLINE hn::VFromD<D> mean_of_row(D d, const typename Format::Element* row) {
  const auto sum = add_row<Format, kNorm, kCols>(d, hn::Zero(d), row);
  if constexpr (kCols == 1) return sum;
  return hn::Mul(sum, hn::Set(d, typename Format::Score{1} / kCols));
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // WINNOW_KERNELS_LOAD_INL_H_
