// PRIVATE. The one wording of a setting that is refused.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

#include "winnow/base/status.h"

namespace winnow {

/// As short as it can be while it is read back as the same number: "0.5", "1e+300", "nan".
std::string number_text(double value);
std::string number_text(std::integral auto value) { return std::to_string(value); }

/// kInvalidArgument "FIELD: expected EXPECTED, found FOUND".
Status setting_error(std::string_view field, std::string_view expected, std::string_view found);

/// Ok if `holds`, else that error.
template <typename Number>
Status check_setting(bool holds, std::string_view field, std::string_view expected, Number found) {
  return holds ? Status() : setting_error(field, expected, number_text(found));
}

}  // namespace winnow
