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

/// "[2, 3]": the numbers of a shape, a position or the like.
std::string list_text(const auto& numbers) {
  std::string text = "[";
  for (const auto number : numbers) text += concat(text.size() > 1 ? ", " : "", number);
  return text + "]";
}

}  // namespace winnow
