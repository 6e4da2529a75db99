#include "winnow/torch/data_norm_sparsifier.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cmath>

#include "torch/masks/mask_targets.h"
#include "torch/parametrize/parametrization_access.h"
#include "torch/support/errors.h"
#include "winnow/torch/tensor_mask.h"

namespace winnow {
using namespace internal;

namespace {

constexpr const char* kLevel = "sparsity_level";
constexpr const char* kBlock = "sparse_block_shape";
constexpr const char* kZeros = "zeros_per_block";

/// a * b, or the largest int64 where that is less: sides may be kWholeDimension.
int64_t saturating_product(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kWholeDimension : product;
}

/// A value in a message: a text is not to be taken for the number that it spells.
std::string shown(const c10::IValue& value) {
  return value.isString() ? "the string '" + value.toStringRef() + "'" : to_text(value);
}

/// Upstream clamps levels in silence: 90 for 90 % drops everything.
void warn_of_level(double level) {
  if (level > 1) {
    TORCH_WARN_ONCE("a sparsity_level of ", level,
                    " drops every value: levels are shares from 0 to 1",
                    level <= 100 ? c10::str(", ", level, " % is ", level / 100) : std::string());
  } else if (level < 0) {
    TORCH_WARN_ONCE("a sparsity_level of ", level, " drops nothing: levels are shares from 0 to 1");
  }
}

void check_level(const c10::IValue& value) {
  TORCH_CHECK_TYPE(value.isDouble() || value.isInt(), "sparsity_level must be a number, got ",
                   shown(value));
  TORCH_CHECK_VALUE(value.isInt() || std::isfinite(value.toDouble()),
                    "sparsity_level must be finite, got ", shown(value));
  warn_of_level(value.isInt() ? static_cast<double>(value.toInt()) : value.toDouble());
}

/// The two sides of a block shape, a tuple or list of integers.
std::array<int64_t, 2> block_of(const c10::IValue& value) {
  TORCH_CHECK_TYPE(value.isTuple() || value.isList(),
                   "sparse_block_shape must be two integers, rows and columns, got ", shown(value));
  const std::vector<c10::IValue> sides =
      value.isTuple() ? value.toTupleRef().elements().vec() : value.toListRef().vec();
  TORCH_CHECK_VALUE(sides.size() == 2,
                    "sparse_block_shape must be two integers, rows and columns, got ",
                    shown(value));
  for (const c10::IValue& side : sides) {
    TORCH_CHECK_TYPE(side.isInt(), "sparse_block_shape must be two integers, got ", shown(value));
    TORCH_CHECK_VALUE(side.toInt() >= 1, "the sides of sparse_block_shape must be at least 1, got ",
                      shown(value));
  }
  return {sides[0].toInt(), sides[1].toInt()};
}

void check_zeros(const c10::IValue& value) {
  if (value.isNone()) return;  // the whole block
  TORCH_CHECK_TYPE(value.isInt(), "zeros_per_block must be an integer or None, got ", shown(value));
  TORCH_CHECK_VALUE(value.toInt() >= 0, "zeros_per_block should be positive, or 0 for none, got ",
                    value.toInt());
}

/// c10::ValueError naming zeros_per_block and the block where the one does not fit into the other.
void check_zeros_in_block(const std::string& name, const NamedValues& group) {
  const c10::IValue &zeros = group.at(kZeros), &shape = group.at(kBlock);
  if (zeros.isNone()) return;
  const auto [rows, cols] = block_of(shape);
  const int64_t block = saturating_product(rows, cols);
  TORCH_CHECK_VALUE(zeros.toInt() <= block, "'", name, "': zeros_per_block ", zeros.toInt(),
                    " cannot be more than the total number of elements of sparse_block_shape ",
                    to_text(shape), ", which is ", block,
                    ". Data that overrides the block shape alone inherits zeros_per_block");
}

NamedValues defaults_of(const DataNormSparsifierOptions& options) {
  const auto [rows, cols] = options.sparse_block_shape;
  const NamedValues block{{kBlock, {rows, cols}}};
  block_of(block.at(kBlock));
  TORCH_CHECK_VALUE(options.zeros_per_block.value_or(0) <= saturating_product(rows, cols),
                    "zeros_per_block ", options.zeros_per_block.value_or(0),
                    " cannot be more than the total number of elements of sparse_block_shape ",
                    to_text(block.at(kBlock)), ", which is ", saturating_product(rows, cols));
  return {{kLevel, options.sparsity_level},
          {kBlock, block.at(kBlock)},
          {kZeros, options.zeros_per_block.value_or(saturating_product(rows, cols))}};
}

/// The core's settings for one configuration. c10::ValueError as check_zeros_in_block.
DataNormConfig core_config(const std::string& name, const NamedValues& group, Norm norm) {
  const auto [rows, cols] = block_of(group.at(kBlock));
  DataNormConfig config{
      .sparsity_level = group.get<double>(kLevel),
      .sparse_block_shape = {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)},
      .zeros_per_block = std::nullopt,
      .norm = norm};
  const c10::IValue& zeros = group.at(kZeros);
  if (zeros.isNone()) return config;
  check_zeros_in_block(name, group);
  if (zeros.toInt() < saturating_product(rows, cols))
    config.zeros_per_block = static_cast<uint64_t>(zeros.toInt());
  return config;
}

bool same_settings(const DataNormConfig& a, const DataNormConfig& b) {
  return a.sparsity_level == b.sparsity_level && a.sparse_block_shape == b.sparse_block_shape &&
         a.zeros_per_block == b.zeros_per_block;
}

/// Whether the mask of `data` can be written into `mask` as it is: from the second step on.
bool is_writable(const at::Tensor& mask, const at::Tensor& data) {
  return mask.scalar_type() == at::kChar && mask.is_contiguous() && mask.sizes() == data.sizes() &&
         mask.device() == data.device();
}

/// `mask` itself, or where that cannot be written a new tensor, which it takes over afterwards.
at::Tensor writable_mask(const at::Tensor& mask, const at::Tensor& data) {
  if (is_writable(mask, data)) return mask;
  return at::empty(data.sizes(), at::TensorOptions(data.device()).dtype(at::kChar));
}

Norm norm_of(const std::string& text) {
  WINNOW_CHECK_ASSERTION(text == "L1" || text == "L2", "only L1 and L2 norms are supported, got '",
                         text, "'");
  return text == "L1" ? Norm::kL1 : Norm::kL2;
}

Scope scope_of(const std::string& text) {
  TORCH_CHECK_VALUE(text == "tensor" || text == "global",
                    "scope must be 'tensor' or 'global', got '", text, "'");
  return text == "tensor" ? Scope::kTensor : Scope::kGlobal;
}

}  // namespace

DataNormSparsifierOptions DataNormSparsifierOptions::nm(int64_t n, int64_t m, Norm norm) {
  TORCH_CHECK_VALUE(m >= 1 && n >= 0 && n <= m,
                    "N:M keeps n of every m values, 0 <= n <= m and m >= 1, got ", n, ":", m);
  return {
      .sparsity_level = 1.0, .sparse_block_shape = {1, m}, .zeros_per_block = m - n, .norm = norm};
}

DataNormSparsifier::DataNormSparsifier(const DataNormSparsifierOptions& options)
    : BaseDataSparsifier(defaults_of(options), {{kLevel, check_level},
                                                {kBlock, [](const c10::IValue& v) { block_of(v); }},
                                                {kZeros, check_zeros, check_zeros_in_block}}),
      norm_(options.norm),
      scope_(options.scope) {}

DataNormSparsifier::DataNormSparsifier(const DataList& data_list,
                                       const DataNormSparsifierOptions& options)
    : DataNormSparsifier(options) {
  for (const auto& [name, data] : data_list) add_data(name, data);
}

DataNormSparsifier::DataNormSparsifier(DeepCopyOf other, Norm norm, Scope scope)
    : BaseDataSparsifier(other), norm_(norm), scope_(scope) {}

std::unique_ptr<DataNormSparsifier> DataNormSparsifier::clone() const {
  return std::unique_ptr<DataNormSparsifier>(
      new DataNormSparsifier(DeepCopyOf{*this}, norm_, scope_));
}

void DataNormSparsifier::check_data(const std::string& name, const at::Tensor& weight) const {
  TORCH_CHECK_VALUE(is_prunable_type(weight.scalar_type()), "'", name, "' has dtype ",
                    weight.scalar_type(),
                    ", which has no norm here: use Float, Double, Half or BFloat16");
}

void DataNormSparsifier::update_mask(const std::string& name, const at::Tensor& data,
                                     const NamedValues& config) {
  const DataNormConfig core = core_config(name, config, norm_);
  const at::Tensor mask = raw_mask(name);
  const at::Tensor written = writable_mask(mask, data);
  compute_mask_out(data, core, written);
  if (!written.is_same(mask)) adopt_values(mask, written);
}

void DataNormSparsifier::update_masks() {
  std::optional<DataNormConfig> first;
  for (const std::string& name : names()) {
    const at::Tensor data = get_data(name), mask = raw_mask(name);
    check_data(name, data);
    const DataNormConfig config = core_config(name, data_group(name), norm_);
    if (!first) first = config;
    TORCH_CHECK_VALUE(scope_ == Scope::kTensor || same_settings(*first, config),
                      "under Scope::kGlobal all data share one budget, but the settings of '",
                      names().front(), "' and '", name, "' differ");
    // One budget is checked as a whole where it is computed.
    const TensorMask target{data, mask};
    if (scope_ == Scope::kTensor && is_writable(mask, data)) {
      check_mask_targets({&target, 1}, config);
    }
  }
  if (scope_ == Scope::kTensor) return BaseDataSparsifier::update_masks();
  if (first) update_globally(*first);
}

void DataNormSparsifier::update_globally(const DataNormConfig& config) {
  const std::vector<std::string> all = names();
  std::vector<TensorMask> targets;
  targets.reserve(all.size());
  for (const std::string& name : all) {
    const at::Tensor data = get_data(name);
    targets.push_back({data, writable_mask(raw_mask(name), data)});
  }
  compute_global_masks_out(targets, config);
  for (size_t i = 0; i < targets.size(); ++i) {
    const at::Tensor mask = raw_mask(all[i]);
    if (!targets[i].mask.is_same(mask)) adopt_values(mask, targets[i].mask);
  }
}

NamedValues DataNormSparsifier::fields() const {
  return {{"norm", norm_ == Norm::kL1 ? "L1" : "L2"},
          {"scope", scope_ == Scope::kTensor ? "tensor" : "global"}};
}

void DataNormSparsifier::set_fields(const NamedValues& fields) {
  const Norm norm = fields.contains("norm") ? norm_of(fields.get<std::string>("norm")) : Norm::kL1;
  const Scope scope =
      fields.contains("scope") ? scope_of(fields.get<std::string>("scope")) : Scope::kTensor;
  norm_ = norm;
  scope_ = scope;
}

}  // namespace winnow
