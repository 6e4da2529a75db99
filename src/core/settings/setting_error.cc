#include "core/settings/setting_error.h"

#include <array>
#include <charconv>

namespace winnow {

std::string number_text(double value) {
  std::array<char, 32> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

Status setting_error(std::string_view field, std::string_view expected, std::string_view found) {
  std::string message(field);
  message.append(": expected ").append(expected).append(", found ").append(found);
  return {ErrorCode::kInvalidArgument, std::move(message)};
}

}  // namespace winnow
