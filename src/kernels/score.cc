// Block scores as keys, lanes being blocks, so that each block's values are added one after the
// other in row-major order: the one order that gives upstream's sums bit for bit.
#include "kernels/highway_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/score.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/highway.h"
#include "kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

// Sums are kept for so many blocks side by side where no vector path serves a block's width.
constexpr size_t kScalarBlocks = 8;

template <class Format, Norm kNorm, typename Key>
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
          sums[i] += scalar_score_of(Format::magnitude(x), kNorm);
        }
      }
    }
    for (size_t i = 0; i < blocks; ++i) keys[b + i] = scalar_key_of(sums[i] / divisor);
  }
}

// A strip of so many blocks is read four rows at a time: pieces long enough for the hardware to
// prefetch, while the sums stay in the L1 cache. Blocks of many rows that are read one by one would
// be as many streams of single cache lines.
template <size_t kCols>
constexpr size_t kStripBlocks = HWY_MIN(size_t{4096}, 8192 / kCols);
constexpr size_t kRowsAtOnce = 4;

// Scores blocks [begin, end) of a run, a multiple of the lanes and at most a strip.
template <class Format, Norm kNorm, size_t kCols, class D, typename Key>
void score_strip(D d, const BlockRun& run, size_t begin, size_t end, Key* keys) {
  using Score = typename Format::Score;
  const hn::RebindToSigned<D> di;
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN Score sums[kStripBlocks<kCols>];
  const Divisor<Score> size(run.block_rows * kCols);
  const auto* first = static_cast<const typename Format::Element*>(run.first);
  for (size_t r = 0; r < run.block_rows; r += kRowsAtOnce) {
    const size_t rows = HWY_MIN(kRowsAtOnce, run.block_rows - r);
    const bool last = r + rows == run.block_rows;
    for (size_t b = begin; b < end; b += lanes) {
      const auto* values = first + r * run.row_stride + b * kCols;
      auto sum = r == 0 ? hn::Zero(d) : hn::Load(d, sums + (b - begin));
      for (size_t i = 0; i < rows; ++i, values += run.row_stride) {
        sum = add_row<Format, kNorm, kCols>(d, sum, values);
      }
      if (last) {
        hn::StoreU(key_of(d, size.divide(d, sum)), di, keys + b);
      } else {
        hn::Store(sum, d, sums + (b - begin));
      }
    }
  }
}

template <class Format, Norm kNorm, size_t kCols, typename Key>
void score_columns(const BlockRun& run, Key* keys) {
  const hn::ScalableTag<typename Format::Score> d;
  const size_t lanes = hn::Lanes(d);
  if (run.count < lanes) return score_scalar<Format, kNorm>(run, 0, run.count, keys);
  const size_t whole = run.count - run.count % lanes;
  constexpr size_t kStrip = kStripBlocks<kCols>;
  for (size_t b = 0; b < whole; b += kStrip) {
    score_strip<Format, kNorm, kCols>(d, run, b, HWY_MIN(b + kStrip, whole), keys);
  }
  // The last group overlaps the one before: some keys are written twice, with the same values,
  // and no loop over single blocks is needed.
  if (whole < run.count) {
    score_strip<Format, kNorm, kCols>(d, run, run.count - lanes, run.count, keys);
  }
}

template <class Format, Norm kNorm, typename Key>
void score(const BlockRun& run, Key* keys) {
  switch (run.block_cols) {
    case 1:
      return score_columns<Format, kNorm, 1>(run, keys);
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

void fill_scores(KernelTable& table) {
  visit_kernels(table, []<class Format, Norm kNorm, class Key>(Format, NormConstant<kNorm>,
                                                               ValueKernels<Key>& kernels) {
    kernels.score = score<Format, kNorm, Key>;
  });
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/fill_by_level.h"
WINNOW_FILL_BY_LEVEL(fill_score_kernels, fill_scores)
#endif
