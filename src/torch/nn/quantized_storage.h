// PRIVATE. Quantized tables as LibTorch's kernels read them. All that knows of those kernels, and
// of their layout, is in quantized_storage.cc: when quantization leaves LibTorch, that file
// changes.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <mutex>
#include <optional>

#include "winnow/torch/nn/quantizable.h"
#include "winnow/torch/nn/storage.h"

namespace winnow::nn {

/// The tensors of a quantized module, and its rows as the kernels read them. The codes are a view
/// of those rows, so the table is there once. The tensors may be written in place, or be given
/// other data by set_data: rows() sees it.
class QuantizedTable {
 public:
  /// Gives the tensors of `objects` copies of `values`. c10::ValueError where values.check() fails.
  QuantizedTable(const QuantizedWeight& values, QuantizedWeight objects);

  const QuantizedWeight& weight() const noexcept { return weight_; }

  /// The same once more, of values of any shape; where it throws, nothing is changed.
  void assign(const QuantizedWeight& values);

  /// What the kernels read. Thread-safe.
  at::Tensor rows();

 private:
  /// What a tensor was when the rows were made of it. Its memory is held, so that an equal address
  /// means the same memory.
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

  /// Makes the rows those of the tensors again.
  void follow();
  void see();

  QuantizedWeight weight_;
  std::mutex mutex_;
  at::Tensor rows_;
  std::optional<SeenWeight> seen_;
};

/// Tensor objects that a table can take, without values.
QuantizedWeight make_placeholders();

/// Computes on `table`. Embeddings have no gradient, whatever padding_idx says.
std::shared_ptr<const WeightStorage> make_quantized_storage(std::shared_ptr<QuantizedTable> table);

}  // namespace winnow::nn
