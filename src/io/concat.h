// Private: builds messages out of text and numbers.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

namespace winnow::io {

inline void append_part(std::string& out, std::string_view part) { out.append(part); }
inline void append_part(std::string& out, std::integral auto part) {
  out.append(std::to_string(part));
}

template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  (append_part(out, parts), ...);
  return out;
}

}  // namespace winnow::io
