// Block scores as keys, lanes being blocks, so that each block's values are added one after the
// other in row-major order: the one order that gives upstream's sums bit for bit.
#include "kernels/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/score.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

// Sums are kept for so many blocks side by side where no vector path serves a block's width.
constexpr size_t kScalarBlocks = 8;

template <class Format, int kNorm, typename Key>
void score_scalar(const BlockRun& run, size_t begin, size_t end, Key* keys) {
  using Score = typename Format::Score;
  const auto* first = static_cast<const typename Format::Element*>(run.first);
  const Score divisor = static_cast<Score>(run.block_rows * run.block_cols);
  for (size_t b = begin; b < end; b += kScalarBlocks) {
    const size_t blocks = HWY_MIN(kScalarBlocks, end - b);
    Score sums[kScalarBlocks] = {};
    for (size_t r = 0; r < run.block_rows; ++r) {
      for (size_t c = 0; c < run.block_cols; ++c) {
        const size_t at = r * run.row_stride + b * run.block_cols + c;
        for (size_t i = 0; i < blocks; ++i) {
          const auto x = load_element(first, at + i * run.block_cols);
          sums[i] += scalar_score_of<kNorm>(Format::magnitude(x));
        }
      }
    }
    for (size_t i = 0; i < blocks; ++i) keys[b + i] = scalar_key_of(sums[i] / divisor);
  }
}

// sum + the scores of one row of N blocks of width kCols, left to right.
template <class Format, int kNorm, size_t kCols, class D, class V = hn::VFromD<D>>
HWY_INLINE V add_row(D d, V sum, const typename Format::Element* row) {
  V values[kCols], columns[kCols];
  for (size_t i = 0; i < kCols; ++i) {
    values[i] = score_of<kNorm>(Format::load_magnitude(d, row + i * hn::Lanes(d)));
  }
  deinterleave<kCols>(d, values, columns);
  for (size_t c = 0; c < kCols; ++c) sum = hn::Add(sum, columns[c]);
  return sum;
}

// Many rows at once are more streams than the hardware prefetches.
template <size_t kCols, class D, typename T>
HWY_INLINE void prefetch_ahead(D d, const T* row) {
  for (size_t i = 0; i < kCols; ++i) hwy::Prefetch(row + i * hn::Lanes(d));
}

template <class Format, int kNorm, size_t kCols, typename Key>
void score_columns(const BlockRun& run, Key* keys) {
  using Score = typename Format::Score;
  const hn::ScalableTag<Score> d;
  const hn::RebindToSigned<decltype(d)> di;
  const size_t lanes = hn::Lanes(d);
  if (run.count < lanes) return score_scalar<Format, kNorm>(run, 0, run.count, keys);

  const auto* first = static_cast<const typename Format::Element*>(run.first);
  const size_t size = run.block_rows * kCols;
  const bool exact_inverse = (size & (size - 1)) == 0;
  const auto divisor = hn::Set(d, static_cast<Score>(size));
  const auto inverse = hn::Set(d, Score{1} / static_cast<Score>(size));
  const size_t ahead = run.block_rows * run.row_stride;
  for (size_t b = 0;;) {
    auto sum = hn::Zero(d);
    for (size_t r = 0; r < run.block_rows; ++r) {
      const auto* row = first + r * run.row_stride + b * kCols;
      if (run.block_rows > 1) prefetch_ahead<kCols>(d, row + ahead);
      sum = add_row<Format, kNorm, kCols>(d, sum, row);
    }
    // For a power of two the product is the same number as the quotient, and much faster.
    const auto mean = exact_inverse ? hn::Mul(sum, inverse) : hn::Div(sum, divisor);
    hn::StoreU(key_of(d, mean), di, keys + b);
    if (b + lanes == run.count) return;
    b = HWY_MIN(b + lanes, run.count - lanes);  // the last group overlaps the one before
  }
}

template <class Format, int kNorm, typename Key>
void score_single(const BlockRun& run, Key* keys) {
  const hn::ScalableTag<typename Format::Score> d;
  const hn::RebindToSigned<decltype(d)> di;
  const size_t lanes = hn::Lanes(d);
  if (run.count < lanes) return score_scalar<Format, kNorm>(run, 0, run.count, keys);
  const auto* first = static_cast<const typename Format::Element*>(run.first);
  for (size_t b = 0;;) {
    hn::StoreU(key_of(d, score_of<kNorm>(Format::load_magnitude(d, first + b))), di, keys + b);
    if (b + lanes == run.count) return;
    b = HWY_MIN(b + lanes, run.count - lanes);
  }
}

template <class Format, int kNorm, typename Key>
void score(const BlockRun& run, Key* keys) {
  switch (run.block_cols) {
    case 1:
      return run.block_rows == 1 ? score_single<Format, kNorm>(run, keys)
                                 : score_columns<Format, kNorm, 1>(run, keys);
    case 2:
      return score_columns<Format, kNorm, 2>(run, keys);
    case 4:
      return score_columns<Format, kNorm, 4>(run, keys);
    case 8:
      return score_columns<Format, kNorm, 8>(run, keys);
    default:
      return score_scalar<Format, kNorm>(run, 0, run.count, keys);
  }
}

template <class Format, typename Key>
void fill_format(std::array<ValueKernels<Key>, 2>& kernels) {
  kernels[0].score = score<Format, 0, Key>;
  kernels[1].score = score<Format, 1, Key>;
}

void fill_scores(KernelTable& table) {
  fill_format<FormatF32>(table.f32);
  fill_format<FormatF16>(table.f16);
  fill_format<FormatBF16>(table.bf16);
  fill_format<FormatF64>(table.f64);
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/fill_by_level.h"
WINNOW_FILL_BY_LEVEL(fill_score_kernels, fill_scores)
#endif
