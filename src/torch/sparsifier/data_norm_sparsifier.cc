#include "winnow/torch/data_norm_sparsifier.h"

#include <ATen/ops/empty.h>

#include "torch/masks/mask_targets.h"
#include "torch/parametrize/parametrization_access.h"
#include "torch/support/errors.h"
#include "winnow/core/settings.h"
#include "winnow/torch/tensor_mask.h"

namespace winnow {
using namespace internal;

namespace {

constexpr const char* kLevel = "sparsity_level";
constexpr const char* kBlock = "sparse_block_shape";
constexpr const char* kZeros = "zeros_per_block";

/// A value in a message: a text is not to be taken for the number that it spells.
std::string shown(const c10::IValue& value) {
  return value.isString() ? "the string '" + value.toStringRef() + "'" : to_text(value);
}

void check_level(const c10::IValue& value) {
  TORCH_CHECK_TYPE(value.isDouble() || value.isInt(), kLevel, ": expected a number, found ",
                   shown(value));
  const double level = value.isInt() ? static_cast<double>(value.toInt()) : value.toDouble();
  check_ok(check_sparsity_level(level));
  // Upstream clamps levels in silence: 90 for 90 % drops everything.
  if (const std::string hint = sparsity_level_hint(level); !hint.empty()) {
    TORCH_WARN_ONCE(hint);
  }
}

/// The two sides of a block shape, a tuple or list of integers.
std::array<int64_t, 2> block_of(const c10::IValue& value) {
  TORCH_CHECK_TYPE(value.isTuple() || value.isList(), kBlock, ": expected two integers, found ",
                   shown(value));
  const std::vector<c10::IValue> sides =
      value.isTuple() ? value.toTupleRef().elements().vec() : value.toListRef().vec();
  TORCH_CHECK_VALUE(sides.size() == 2, kBlock, ": expected two integers, found ", shown(value));
  for (const c10::IValue& side : sides) {
    TORCH_CHECK_TYPE(side.isInt(), kBlock, ": expected two integers, found ", shown(value));
  }
  return {sides[0].toInt(), sides[1].toInt()};
}

void check_block(const c10::IValue& value) {
  const auto [rows, cols] = block_of(value);
  check_ok(check_sparse_block_shape(rows, cols));
}

void check_zeros(const c10::IValue& value) {
  if (value.isNone()) return;  // the whole block
  TORCH_CHECK_TYPE(value.isInt(), kZeros, ": expected an integer or None, found ", shown(value));
  check_ok(check_zeros_per_block(value.toInt()));
}

/// The core's settings for one configuration. c10::ValueError, naming the data, for values that do
/// not fit together.
DataNormConfig core_config(const std::string& name, const NamedValues& group, Norm norm) {
  const auto [rows, cols] = block_of(group.at(kBlock));
  std::optional<int64_t> zeros;
  if (!group.at(kZeros).isNone()) zeros = group.get<int64_t>(kZeros);
  const auto config = data_norm_config(group.get<double>(kLevel), rows, cols, zeros, norm);
  if (!config.ok()) check_ok(config.status().with_context("'" + name + "'"));
  return *config;
}

NamedValues defaults_of(const DataNormSparsifierOptions& options) {
  const auto [rows, cols] = options.sparse_block_shape;
  // A number, so that data with a block of their own inherit it, as they do upstream.
  const int64_t zeros = options.zeros_per_block.value_or(block_values(rows, cols));
  check_ok(data_norm_config(options.sparsity_level, rows, cols, zeros, options.norm).status());
  return {{kLevel, options.sparsity_level}, {kBlock, {rows, cols}}, {kZeros, zeros}};
}

/// Whether the mask of `data` can be written into `mask` as it is: from the second step on.
bool is_writable(const at::Tensor& mask, const at::Tensor& data) {
  return mask.scalar_type() == at::kChar && mask.is_contiguous() && mask.sizes() == data.sizes() &&
         mask.device() == data.device();
}

/// Returns `mask` itself or, if that cannot be written, a new tensor whose values it adopts later.
at::Tensor writable_mask(const at::Tensor& mask, const at::Tensor& data) {
  if (is_writable(mask, data)) return mask;
  return at::empty(data.sizes(), at::TensorOptions(data.device()).dtype(at::kChar));
}

/// Differs from the others: torch.ao raises AssertionError for a norm.
Norm norm_of(const std::string& text) {
  const auto norm = norm_from_name(text);
  WINNOW_CHECK_ASSERTION(norm.ok(), norm.status().message());
  return *norm;
}

}  // namespace

DataNormSparsifierOptions DataNormSparsifierOptions::nm(int64_t n, int64_t m, Norm norm) {
  check_ok(check_nm(n, m));
  return {
      .sparsity_level = 1.0, .sparse_block_shape = {1, m}, .zeros_per_block = m - n, .norm = norm};
}

DataNormSparsifier::DataNormSparsifier(const DataNormSparsifierOptions& options)
    : BaseDataSparsifier(defaults_of(options),
                         {{kLevel, check_level},
                          {kBlock, check_block},
                          {kZeros, check_zeros,
                           [](const std::string& name, const NamedValues& group) {
                             core_config(name, group, Norm::kL1);
                           }}}),
      norm_(options.norm),
      scope_(options.scope) {}

DataNormSparsifier::DataNormSparsifier(const DataList& data_list,
                                       const DataNormSparsifierOptions& options)
    : DataNormSparsifier(options) {
  // Not in the base's constructor, where check_data would be the base's.
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
  // Converted at each step, because schedules change the level in between.
  const DataNormConfig core = core_config(name, config, norm_);
  const at::Tensor mask = raw_mask(name);
  const at::Tensor written = writable_mask(mask, data);
  compute_mask_out(data, core, written);
  // The caller's mask object stays the same; only its memory is new.
  if (!written.is_same(mask)) adopt_values(mask, written);
}

void DataNormSparsifier::update_masks() {
  // Every setting is checked before the first mask is written.
  std::optional<DataNormConfig> first;
  for (const std::string& name : names()) {
    const at::Tensor data = get_data(name), mask = raw_mask(name);
    check_data(name, data);
    const DataNormConfig config = core_config(name, data_group(name), norm_);
    if (!first) first = config;
    TORCH_CHECK_VALUE(scope_ == Scope::kTensor || *first == config,
                      "under Scope::kGlobal all data share one budget, but the settings of '",
                      names().front(), "' and '", name, "' differ");
    // One budget is checked as a whole when it is computed.
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
  return {{"norm", std::string(norm_name(norm_))}, {"scope", std::string(scope_name(scope_))}};
}

void DataNormSparsifier::set_fields(const NamedValues& fields) {
  // Both are read before either is set: a text that is no norm or scope changes nothing.
  const Norm norm = fields.contains("norm") ? norm_of(fields.get<std::string>("norm")) : Norm::kL1;
  const Scope scope = fields.contains("scope")
                          ? value_of(scope_from_name(fields.get<std::string>("scope")))
                          : Scope::kTensor;
  norm_ = norm;
  scope_ = scope;
}

}  // namespace winnow
