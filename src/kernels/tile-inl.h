// PRIVATE, per target. A tile: the keys of as many blocks as a vector has lanes, lane b holding
// block b. Key i of all blocks, counted row-major in the block, is vector i: tile[i * lanes + b].
#if defined(WINNOW_KERNELS_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WINNOW_KERNELS_TILE_INL_H_
#undef WINNOW_KERNELS_TILE_INL_H_
#else
#define WINNOW_KERNELS_TILE_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace winnow::kernels::HWY_NAMESPACE {

// At least the lanes of every target's vectors of keys.
constexpr size_t kMaxLanes = 16;

template <class Format, Norm kNorm>
auto scalar_key(const typename Format::Element* row, size_t i) {
  return scalar_key_of(scalar_score_of(Format::magnitude(load_element(row, i)), kNorm));
}

// The keys of `lanes` blocks from block b on, as a tile [block_rows * block_cols][lanes].
template <class Format, Norm kNorm, size_t kCols, class DI>
HWY_INLINE void load_tile(DI di, const BlockRun& run, size_t b, hn::TFromD<DI>* tile) {
  const hn::Rebind<typename Format::Score, DI> d;
  const size_t lanes = hn::Lanes(di);
  const auto* first = static_cast<const typename Format::Element*>(run.first) + b * run.block_cols;
  for (size_t r = 0; r < run.block_rows; ++r) {
    const auto* row = first + r * run.row_stride;
    if constexpr (kCols == 0) {
      // deinterleave takes powers of two alone; other widths are transposed key by key.
      for (size_t c = 0; c < run.block_cols; ++c) {
        for (size_t l = 0; l < lanes; ++l) {
          tile[(r * run.block_cols + c) * lanes + l] =
              scalar_key<Format, kNorm>(row, l * run.block_cols + c);
        }
      }
    } else {
      hn::VFromD<DI> keys[kCols], columns[kCols];
      for (size_t i = 0; i < kCols; ++i) {
        keys[i] = key_of(d, score_of<kNorm>(Format::load_magnitude(d, row + i * lanes)));
      }
      deinterleave<kCols>(di, keys, columns);
      for (size_t c = 0; c < kCols; ++c) {
        hn::Store(columns[c], di, tile + (r * kCols + c) * lanes);
      }
    }
  }
}

// bounds[c] = the bound of the block that column c of the group belongs to, for all columns.
template <class DI>
HWY_INLINE void spread_bounds(DI di, hn::VFromD<DI> bound, size_t block_cols,
                              hn::TFromD<DI>* bounds) {
  if (block_cols == 1) return hn::StoreU(bound, di, bounds);
  HWY_ALIGN hn::TFromD<DI> bound_of[kMaxLanes];
  hn::Store(bound, di, bound_of);
  for (size_t l = 0; l < hn::Lanes(di); ++l) {
    std::fill_n(bounds + l * block_cols, block_cols, bound_of[l]);
  }
}

// Calls visit(b) for groups of `lanes` blocks, from block b on, that cover [0, count). The last
// group overlaps the one before if count is no multiple: it repeats what was done, and no tail is
// needed. Precondition: lanes <= count.
template <class Visit>
HWY_INLINE void for_each_group(size_t count, size_t lanes, const Visit& visit) {
  for (size_t b = 0; b + lanes < count; b += lanes) visit(b);
  visit(count - lanes);
}

}  // namespace winnow::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // WINNOW_KERNELS_TILE_INL_H_
