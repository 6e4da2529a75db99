// Reads tests/data/golden_data.json: upstream's results, and the recommended ones for intended
// differences.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace winnow::testing {

/// Returns the whole file. The test's CMake target defines its folder as WINNOW_TEST_DATA.
inline const nlohmann::json& golden() {
  static const auto data =
      nlohmann::json::parse(std::ifstream(WINNOW_TEST_DATA "/golden_data.json"));
  return data;
}

/// Returns a number of the file: bools are 0 and 1; "nan", "inf" and "-inf" are strings there.
inline double golden_number(const nlohmann::json& value) {
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  return value.is_string() ? std::stod(value.get<std::string>()) : value.get<double>();
}

}  // namespace winnow::testing
