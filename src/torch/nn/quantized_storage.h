// PRIVATE. Quantized tables in the layout of LibTorch's kernels. Only quantized_storage.cc knows
// those kernels and their layout, so only that file changes when LibTorch removes quantization.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <mutex>
#include <optional>

#include "winnow/torch/nn/quantizable.h"
#include "winnow/torch/nn/storage.h"

namespace winnow::nn {

/// The tensors of a quantized module, and its rows in the kernels' layout. The codes are a view of
/// those rows, so there is only one copy of the table. The tensors may be changed in place or by
/// set_data: rows() notices.
class QuantizedTable {
 public:
  /// Makes the tensors of `objects` hold copies of `values`. Throws c10::ValueError if
  /// values.check() fails.
  QuantizedTable(const QuantizedWeight& values, QuantizedWeight objects);

  const QuantizedWeight& weight() const noexcept { return weight_; }

  /// Does the same again, with values of any shape. If it throws, nothing is changed.
  void assign(const QuantizedWeight& values);

  /// Returns the rows for the kernels. Thread-safe.
  at::Tensor rows();

 private:
  /// The state of a tensor when the rows were made from it. It holds the memory, so an equal
  /// address means the same memory.
  class Seen {
   public:
    explicit Seen(const at::Tensor& tensor);
    bool is_still(const at::Tensor& tensor) const;

   private:
    at::Tensor alias_;
    uint32_t version_;
  };
  struct SeenWeight {
    Seen codes, scales, zero_points;
  };

  /// Updates the rows from the tensors.
  void follow();
  /// Records the state of the tensors.
  void see();

  QuantizedWeight weight_;
  std::mutex mutex_;
  at::Tensor rows_;
  std::optional<SeenWeight> seen_;
};

/// Returns empty tensor objects for a table.
QuantizedWeight make_placeholders();

/// Returns a storage that computes on `table`. Lookups have no gradient, so padding_idx of an
/// embedding has no effect.
std::shared_ptr<const WeightStorage> make_quantized_storage(std::shared_ptr<QuantizedTable> table);

}  // namespace winnow::nn
