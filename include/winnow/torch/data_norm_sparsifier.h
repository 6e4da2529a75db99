// Masks by the norm of blocks: the sparsifier that most users want.
//
//   winnow::DataNormSparsifier sparsifier({.sparsity_level = 0.8, .sparse_block_shape = {1, 4}});
//   sparsifier.add_data("users", model->users);
//   sparsifier.add_data("items", model->items, {.config = {{"sparsity_level", 0.9}}});
//   sparsifier.step();
//   sparsifier.squash_mask();
//
// Source: torch.ao.pruning DataNormSparsifier; core/data_norm.h states the rule.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "winnow/core/data_norm.h"
#include "winnow/core/scope.h"
#include "winnow/core/settings.h"
#include "winnow/torch/data_sparsifier.h"

namespace winnow {

struct DataNormSparsifierOptions {
  /// Share of the blocks that are selected; 0 and less select none, 1 and more all. Finite.
  double sparsity_level = 0.5;
  /// Rows and columns of a block, each at least 1; {1, kWholeDimension} are whole rows.
  std::array<int64_t, 2> sparse_block_shape = {1, 4};
  /// How many values are dropped in a selected block; unset: all of sparse_block_shape, as it
  /// stands here.
  std::optional<int64_t> zeros_per_block = std::nullopt;
  Norm norm = Norm::kL1;
  Scope scope = Scope::kTensor;

  /// Of every `m` consecutive values along a row the `n` largest are kept.
  /// c10::ValueError unless 0 <= n <= m and m >= 1.
  static DataNormSparsifierOptions nm(int64_t n, int64_t m, Norm norm = Norm::kL1);
};

/// Drops the blocks whose values have the smallest mean norm. Any floating dtype (F32, F64, F16,
/// BF16), rank, layout of strides and device; see torch/tensor_mask.h.
///
/// Configuration of each name: `sparsity_level` (number), `sparse_block_shape` (two integers) and
/// `zeros_per_block` (integer, or None for the whole block). Data that overrides the block shape
/// alone inherits zeros_per_block as a number, as upstream does; add_data and step refuse it if
/// it is more than the block has, naming both.
///
/// The first step gives a mask its memory, one byte a value (the same tensor object); later steps
/// write it in place and allocate nothing of its size. All settings are checked before any mask is
/// written. With Scope::kGlobal all names must have the same settings.
///
/// Differs from torch.ao: any rank, and the mask has the data's shape; levels at or below 0 drop
/// nothing; ties go to the lower index; a step is all or nothing; integer data are refused when
/// added.
/// Thread-safety: that of BaseDataSparsifier. A step runs on the threads of at::parallel_for.
class DataNormSparsifier : public BaseDataSparsifier {
 public:
  /// c10::ValueError for options outside their range.
  explicit DataNormSparsifier(const DataNormSparsifierOptions& options = {});
  /// With data, added in order under the defaults. Both arguments are asked for, because braces
  /// around options could be a list of data too.
  DataNormSparsifier(const DataList& data_list, const DataNormSparsifierOptions& options);

  /// A deep copy: its data are tensors of its own, tied to no caller.
  std::unique_ptr<DataNormSparsifier> clone() const;

  /// The norm and the scope, as constructed or loaded.
  Norm norm() const noexcept { return norm_; }
  Scope scope() const noexcept { return scope_; }

 protected:
  explicit DataNormSparsifier(DeepCopyOf other, Norm norm, Scope scope);

  /// Under Scope::kTensor a step calls it for every name, once all have been checked; under kGlobal
  /// it is not called.
  void update_mask(const std::string& name, const at::Tensor& data,
                   const NamedValues& config) override;
  void update_masks() override;
  void check_data(const std::string& name, const at::Tensor& weight) const override;
  NamedValues fields() const override;
  void set_fields(const NamedValues& fields) override;

 private:
  void update_globally(const DataNormConfig& config);

  Norm norm_;
  Scope scope_;
};

}  // namespace winnow
