// PRIVATE. Which Highway targets are compiled; included before any Highway header.
// Highway 1.0.3 compiles no plain scalar target beside SIMD ones unless it is the baseline, and its
// 128-bit emulation is miscompiled by GCC 12.2, so HWY_SCALAR is made the baseline everywhere.
#pragma once

#define HWY_BROKEN_EMU128 1
#define HWY_BASELINE_TARGETS HWY_SCALAR
#define HWY_DISABLED_TARGETS HWY_SSSE3
