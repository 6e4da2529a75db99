// Headers and whole files for the tests of this folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "winnow/io/safetensors.h"

namespace winnow::testing {

/// One entry of a header: "name":{...}. `name` and `shape` go in as they stand.
inline std::string entry(std::string_view name, std::string_view dtype, std::string_view shape,
                         uint64_t begin, uint64_t end) {
  std::string out = "\"";
  out.append(name).append(R"(":{"dtype":")").append(dtype);
  out.append(R"(","shape":)").append(shape).append(R"(,"data_offsets":[)");
  return out + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

/// A header of the given entries.
inline std::string header(std::initializer_list<std::string> entries) {
  std::string out = "{";
  for (const std::string& text : entries) out.append(out.size() > 1 ? "," : "").append(text);
  return out + "}";
}

/// The bytes of a file: length, header, `data_bytes` zeros.
inline std::vector<std::byte> image(std::string_view text, size_t data_bytes) {
  std::vector<std::byte> out(8 + text.size() + data_bytes);
  for (size_t i = 0; i < 8; ++i) out[i] = static_cast<std::byte>(uint64_t{text.size()} >> (8 * i));
  std::memcpy(out.data() + 8, text.data(), text.size());
  return out;
}

/// What `parse` answers.
inline StatusCode parse_code(std::string text, uint64_t data_bytes) {
  return SafetensorsHeader::parse(std::move(text), data_bytes).status().code();
}

}  // namespace winnow::testing
