// tests/data/golden_data.json: what upstream produced, and what we recommend where we differ.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace winnow::testing {

/// The whole file. Its folder is WINNOW_TEST_DATA, which the test's CMake target defines.
inline const nlohmann::json& golden() {
  static const auto data =
      nlohmann::json::parse(std::ifstream(WINNOW_TEST_DATA "/golden_data.json"));
  return data;
}

/// A number of the file: bools count as 0 and 1, and "nan", "inf" and "-inf" are strings.
inline double golden_number(const nlohmann::json& value) {
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  return value.is_string() ? std::stod(value.get<std::string>()) : value.get<double>();
}

}  // namespace winnow::testing
