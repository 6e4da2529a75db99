// Private: the checks of a header that need no text: each tensor's arithmetic, then all of them.
#pragma once

#include <cstdint>
#include <span>

#include "winnow/base/status.h"
#include "winnow/io/safetensors.h"

namespace winnow::io {

/// The tensor's name as messages show it: tensor "a\"b".
std::string shown(const TensorInfo& tensor);

/// Offsets in order, and as many bytes between them as the shape and the dtype ask for.
Status check_tensor(const TensorInfo& tensor);

/// No two tensors have one name, no two metadata entries one key. O(n log n), whatever the names.
Status check_unique_names(std::span<const TensorInfo> tensors);
Status check_unique_keys(const Metadata& metadata);

/// The tensors fill [0, data_bytes) without overlap or hole. Precondition: check_tensor on each.
Status check_layout(std::span<const TensorInfo> tensors, uint64_t data_bytes);

}  // namespace winnow::io
