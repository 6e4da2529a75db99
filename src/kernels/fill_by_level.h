// PRIVATE. Defines the function that fills one family's part of a level's table, from the copies of
// `fill` that Highway compiled, one in the namespace of each target.
#pragma once

#include "hwy/highway.h"
#include "kernels/kernel_table.h"

#if HWY_ARCH_X86
#define WINNOW_FILL_X86_LEVELS(fill)                           \
  if (level == SimdLevel::kAvx512) return N_AVX3::fill(table); \
  if (level == SimdLevel::kAvx2) return N_AVX2::fill(table);   \
  if (level == SimdLevel::kSse4) return N_SSE4::fill(table);
#else
#define WINNOW_FILL_X86_LEVELS(fill)
#endif

#define WINNOW_FILL_BY_LEVEL(function, fill)           \
  namespace winnow::kernels {                          \
  void function(SimdLevel level, KernelTable& table) { \
    WINNOW_FILL_X86_LEVELS(fill)                       \
    static_cast<void>(level);                          \
    N_SCALAR::fill(table);                             \
  }                                                    \
  }
