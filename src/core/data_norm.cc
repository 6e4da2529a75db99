#include "winnow/core/data_norm.h"

#include <cmath>
#include <string>

#include "winnow/base/checked.h"

namespace winnow {
namespace {

uint64_t divide_up(uint64_t a, uint64_t b) noexcept { return a / b + (a % b != 0); }

Status invalid(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

}  // namespace

DataNormConfig nm_config(uint64_t n, uint64_t m, Norm norm) {
  return {
      .sparsity_level = 1.0, .sparse_block_shape = {1, m}, .zeros_per_block = m - n, .norm = norm};
}

Status validate(const DataNormConfig& config) {
  if (!std::isfinite(config.sparsity_level)) {
    return invalid("sparsity_level: expected a finite number, found " +
                   std::to_string(config.sparsity_level));
  }
  const BlockShape block = config.sparse_block_shape;
  if (block.rows == 0 || block.cols == 0) {
    return invalid("sparse_block_shape: expected sides of at least 1, found " +
                   std::to_string(block.rows) + "x" + std::to_string(block.cols));
  }
  const auto size = checked_mul(block.rows, block.cols);
  if (config.zeros_per_block && size && *config.zeros_per_block > *size) {
    return invalid("zeros_per_block: expected at most the block's " + std::to_string(*size) +
                   " values, found " + std::to_string(*config.zeros_per_block));
  }
  return {};
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
