// How the size of a value is measured.
#pragma once

#include <cstdint>

namespace winnow {

/// How a value's size is scored: L1 takes |x|, L2 takes x * x (no root). Scores are formed in the
/// data's type; those of F16 and BF16 in F32.
/// Differs from torch.ao: it rounds F16 and BF16 block means back to the data's type, which only
/// makes more ties.
enum class Norm : uint8_t { kL1, kL2 };

}  // namespace winnow
