// Private: what a model's config.json says of weights in compressed-tensors' sparse formats.
#pragma once

#include <string>
#include <string_view>

#include "winnow/base/status.h"

namespace winnow::checkpoint {

inline constexpr size_t kMaxConfigBytes = 64 << 20;

/// The text of a config.json without `sparsity_config`, which a model with dense weights must not
/// have. It is an entry of `quantization_config`, or of `compression_config` in files of 2024. All
/// other bytes are kept, those of the entries around it too; without such an entry, all are.
///
/// kSparsityConfig: over 64 MiB; not JSON by RFC 8259, or not an object; one of these keys twice in
/// one object; a `format` other than sparse-bitmask, sparse-24-bitmask and dense, whose weights
/// winnow does not expand.
Result<std::string> without_sparsity_config(std::string_view text);

}  // namespace winnow::checkpoint
