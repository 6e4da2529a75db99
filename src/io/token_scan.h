// Private: a look at the tokens of a header before they are parsed, for the limits on memory. The
// JSON library copies a token twice, and several times more when it words an error.
#pragma once

#include <cstddef>
#include <string_view>

#include "winnow/base/status.h"

namespace winnow::io {

/// The longest token outside strings. The format's own have at most 20 bytes.
inline constexpr size_t kMaxTokenBytes = 1000;

/// How many tensors the header `text` can describe at most. kStringTooLong, or kHeaderSyntax for
/// any other token that is too long. Of a text that is not JSON nothing else is noticed.
Result<size_t> scan_tokens(std::string_view text);

}  // namespace winnow::io
