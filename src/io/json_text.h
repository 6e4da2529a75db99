// Private: writes JSON.
#pragma once

#include <string>
#include <string_view>

#include "winnow/io/safetensors.h"

namespace winnow::io {

/// Appends `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);

/// Appends `metadata` as a JSON object; of equal keys only the last is written, in its place.
void append_json_metadata(std::string& out, const Metadata& metadata);

/// Appends spaces up to a multiple of 8 bytes, so that the data section starts aligned.
void pad_header(std::string& text);

}  // namespace winnow::io
