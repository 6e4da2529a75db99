// PRIVATE. The settings of operators as they come from Python.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "tensor_checks.h"
#include "winnow/core/settings.h"

namespace winnow::python {

/// std::invalid_argument for settings that are out of their range.
inline DataNormConfig config_of(double level, std::span<const int64_t> block,
                                std::optional<int64_t> zeros, const std::string& norm) {
  check(block.size() == 2, "sparse_block_shape: expected 2 sides, found ", block.size());
  const Result<Norm> known = norm_from_name(norm);
  check_ok(known.status());
  const auto config = data_norm_config(level, block[0], block[1], zeros, *known);
  check_ok(config.status());
  return *config;
}

}  // namespace winnow::python
