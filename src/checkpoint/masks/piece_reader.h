// Private: reads parts of tensors, looks at their values meanwhile, and names the first NaN.
#pragma once

#include <span>

#include "checkpoint/masks/chunks.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/core/matrix_pieces.h"

namespace winnow::checkpoint {

/// Reads on the threads lent. Not thread-safe.
class PieceReader {
 public:
  struct Inputs {
    const std::string& path;  ///< of `file`, for messages
    const CheckpointReader& file;
    bool refuse_nan;
    ParallelFor& threads;
    StageSeconds& seconds;
  };
  explicit PieceReader(const Inputs& inputs) : in_(inputs) {}

  /// Fills `out` with the bytes of a tensor from `begin` on, whole values, and returns how many of
  /// them are zero. Error: kNanValue for the first NaN, if it is to be refused; those of reading.
  Result<uint64_t> read_range(size_t tensor, uint64_t begin, std::span<std::byte> out,
                              Progress& progress);

  /// The same for a piece of the tensor, taken for a matrix of `cols` columns; the piece's rows
  /// stand one after the other in `out`. A NaN is the first of the whole tensor.
  Result<uint64_t> read_piece(size_t tensor, uint64_t cols, const MatrixPiece& piece,
                              std::span<std::byte> out, Progress& progress);

  /// The file and the tensor, for messages.
  std::string label(size_t tensor) const;

 private:
  Result<uint64_t> gather(size_t tensor, uint64_t cols, const MatrixPiece& piece,
                          std::span<std::byte> out, Progress& progress);

  const Inputs in_;
};

}  // namespace winnow::checkpoint
