// How much memory the calls on whole files may take.
#pragma once

#include <cstdint>

namespace winnow {

/// 512 MiB.
inline constexpr uint64_t kDefaultMaxMemory = uint64_t{512} << 20;

}  // namespace winnow
