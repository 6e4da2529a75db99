// Builds messages out of text and numbers.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

namespace winnow {

/// The parts, one behind the other: strings as they are, integers in decimal.
template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  [[maybe_unused]] const auto append = [&out]<typename Part>(const Part& part) {
    if constexpr (std::integral<Part>) {
      out.append(std::to_string(part));
    } else {
      out.append(std::string_view(part));
    }
  };
  (append(parts), ...);
  return out;
}

}  // namespace winnow
