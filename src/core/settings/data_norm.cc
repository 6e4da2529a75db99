#include "winnow/core/data_norm.h"

#include <cmath>
#include <string>

#include "base/status_macros.h"
#include "core/settings/setting_error.h"
#include "winnow/base/checked.h"
#include "winnow/core/settings.h"

namespace winnow {
namespace {

uint64_t divide_up(uint64_t a, uint64_t b) noexcept { return a / b + (a % b != 0); }

std::string shape_text(BlockShape block) {
  return number_text(block.rows) + "x" + number_text(block.cols);
}

}  // namespace

DataNormConfig nm_config(uint64_t n, uint64_t m, Norm norm) {
  return {
      .sparsity_level = 1.0, .sparse_block_shape = {1, m}, .zeros_per_block = m - n, .norm = norm};
}

Status validate(const DataNormConfig& config) {
  WINNOW_RETURN_IF_ERROR(check_sparsity_level(config.sparsity_level));
  const BlockShape block = config.sparse_block_shape;
  const auto size = checked_mul(block.rows, block.cols);
  if (size == 0)
    return setting_error("sparse_block_shape", "sides of at least 1", shape_text(block));
  // The two are often set apart, so the message names both.
  if (!config.zeros_per_block || !size || *config.zeros_per_block <= *size) return {};
  return setting_error(
      "zeros_per_block",
      "at most " + number_text(*size) + ", the values of a block of " + shape_text(block),
      number_text(*config.zeros_per_block));
}

uint64_t block_count(MatrixShape shape, BlockShape block) noexcept {
  return divide_up(shape.rows, block.rows) * divide_up(shape.cols, block.cols);
}

uint64_t blocks_to_drop(double level, uint64_t blocks) noexcept {
  // rint rounds half to even in the default mode, as Python's round does.
  const double wanted = std::rint(level * static_cast<double>(blocks));
  if (!(wanted > 0)) return 0;
  if (wanted >= static_cast<double>(blocks)) return blocks;
  return static_cast<uint64_t>(wanted);
}

}  // namespace winnow
