// Private: what a file is that was given in the place of another one. What is met in practice is
// seldom a damaged file, and mostly a file of another kind; the message is to say which.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "winnow/base/status.h"

namespace winnow::io {

/// How many bytes of a file's front `file_kind_message` looks at.
inline constexpr size_t kFrontBytes = 1024;

/// Whether a file that starts so may be a safetensors file: a plausible length, then a brace.
bool is_safetensors(std::string_view front) noexcept;

/// Whether it starts as a zip file does, such as a torch archive.
bool is_zip(std::string_view front) noexcept;

/// Why a file that begins with `front` is not an `expected` ("safetensors file"), and what would be
/// right: "this is a Git LFS pointer, no safetensors file; ...". Empty if nothing is known of it.
std::string file_kind_message(std::span<const std::byte> front, std::string_view expected);

/// `status`, an error of reading a safetensors file. If that may be since the file is of another
/// kind, and its front tells which, the message says that instead; the code stays.
Status with_file_kind(const Status& status, std::span<const std::byte> front);

}  // namespace winnow::io
