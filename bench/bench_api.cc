// What bench/run.py times, as plain C functions in a shared library: the same process then also
// runs upstream's Python, so that both sides see the same machine in the same minute.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "calls.h"
#include "floor.h"
#include "winnow/core/mask.h"
#include "winnow/kernels/simd_level.h"

using winnow::bench::dtype_of;
using winnow::bench::seconds_of;

extern "C" {

struct WinnowBenchConfig {
  int64_t rows, cols;
  int32_t dtype;  // 0 F32, 1 F16, 2 BF16, 3 F64
  int32_t norm;   // 1 or 2
  int64_t block_rows, block_cols;
  int64_t zeros_per_block;  // -1: the whole block
  double level;
  int32_t threads;
  int32_t tensors;  // matrices that follow each other in memory, under one budget
};

// Seconds of one mask, or a negative number where it failed.
__attribute__((visibility("default"))) double winnow_bench_mask(const WinnowBenchConfig* c,
                                                                const void* values, uint8_t* mask) {
  winnow::DataNormConfig config{.sparsity_level = c->level,
                                .sparse_block_shape = {static_cast<uint64_t>(c->block_rows),
                                                       static_cast<uint64_t>(c->block_cols)},
                                .norm = c->norm == 1 ? winnow::Norm::kL1 : winnow::Norm::kL2};
  if (c->zeros_per_block >= 0) config.zeros_per_block = static_cast<uint64_t>(c->zeros_per_block);
  const winnow::MatrixShape shape{static_cast<size_t>(c->rows), static_cast<size_t>(c->cols)};
  const winnow::DType dtype = dtype_of(c->dtype);
  const size_t numel = shape.numel(), bytes = numel * winnow::dtype_bits(dtype) / 8;
  std::vector<winnow::MaskTarget> targets;
  for (int32_t t = 0; t < c->tensors; ++t) {
    const void* at = static_cast<const char*>(values) + static_cast<size_t>(t) * bytes;
    targets.push_back({winnow::contiguous_view(at, dtype, shape),
                       {mask + static_cast<size_t>(t) * numel, numel}});
  }
  winnow::ParallelFor& threads = winnow::bench::threads_of(c->threads);
  bool ok = true;
  const double seconds =
      seconds_of([&] { ok = winnow::compute_global_masks(targets, config, threads).ok(); });
  return ok ? seconds : -1;
}

// The level that the kernels run at.
__attribute__((visibility("default"))) const char* winnow_bench_simd_level() {
  static const std::string name(winnow::simd_level_name(*winnow::active_simd_level()));
  return name.c_str();
}

// Seconds of the memory floor over `count` F32 values.
__attribute__((visibility("default"))) double winnow_bench_floor(const float* values, int64_t count,
                                                                 uint8_t* mask, int32_t streaming) {
  return seconds_of(
      [&] { winnow::bench::floor(values, static_cast<size_t>(count), mask, streaming != 0); });
}
}
