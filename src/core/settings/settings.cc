#include "winnow/core/settings.h"

#include <array>
#include <cmath>
#include <cstdio>

#include "base/status_macros.h"
#include "core/settings/setting_error.h"

namespace winnow {
namespace {

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

// Six digits: 33.3 % is 0.333, whatever the last bits of the quotient are.
std::string rounded(double number) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g", number);
  return text.data();
}

}  // namespace

Status check_sparsity_level(double level) {
  return check_setting(std::isfinite(level), "sparsity_level", "a finite number", level);
}

Status check_share(double level) {
  return check_setting(level >= 0 && level <= 1, "sparsity_level", "a number from 0 to 1", level);
}

std::string sparsity_level_hint(double level) {
  if (!std::isfinite(level) || (level >= 0 && level <= 1)) return {};
  std::string hint = "sparsity_level = " + rounded(level) + " drops " +
                     (level > 1 ? "everything" : "nothing") + ": it is a share from 0 to 1";
  if (level > 1 && level <= 100) {
    hint += "; write " + rounded(level / 100) + " for " + rounded(level) + " %";
  }
  return hint;
}

Status check_sparse_block_shape(int64_t rows, int64_t cols) {
  if (rows >= 1 && cols >= 1) return {};
  return setting_error("sparse_block_shape", "sides of at least 1",
                       number_text(rows) + "x" + number_text(cols));
}

Status check_zeros_per_block(int64_t zeros) {
  return check_setting(zeros >= 0, "zeros_per_block", "at least 0", zeros);
}

int64_t block_values(int64_t rows, int64_t cols) noexcept {
  int64_t values = 0;
  return __builtin_mul_overflow(rows, cols, &values) ? kWholeDimension : values;
}

Result<DataNormConfig> data_norm_config(double sparsity_level, int64_t rows, int64_t cols,
                                        std::optional<int64_t> zeros_per_block, Norm norm) {
  WINNOW_RETURN_IF_ERROR(check_sparse_block_shape(rows, cols));
  DataNormConfig config{
      .sparsity_level = sparsity_level,
      .sparse_block_shape = {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)},
      .norm = norm};
  const int64_t all = block_values(rows, cols);
  if (zeros_per_block.value_or(all) != all) {
    WINNOW_RETURN_IF_ERROR(check_zeros_per_block(*zeros_per_block));
    config.zeros_per_block = static_cast<uint64_t>(*zeros_per_block);
  }
  WINNOW_RETURN_IF_ERROR(validate(config));
  return config;
}

Status check_nm(int64_t n, int64_t m) {
  if (n >= 0 && n <= m && m >= 1) return {};
  return setting_error("nm", "N:M with M of at least 1 and N from 0 to M",
                       number_text(n) + ":" + number_text(m));
}

Result<Norm> norm_from_name(std::string_view name) {
  if (name == "L1" || name == "l1") return Norm::kL1;
  if (name == "L2" || name == "l2") return Norm::kL2;
  return setting_error("norm", "'L1' or 'L2'", quoted(name));
}

std::string_view norm_name(Norm norm) noexcept { return norm == Norm::kL2 ? "L2" : "L1"; }

Result<Scope> scope_from_name(std::string_view name) {
  if (name == "tensor") return Scope::kTensor;
  if (name == "global") return Scope::kGlobal;
  return setting_error("scope", "'tensor' or 'global'", quoted(name));
}

std::string_view scope_name(Scope scope) noexcept {
  return scope == Scope::kGlobal ? "global" : "tensor";
}

}  // namespace winnow
