// Private: copies values as they are, from a reader to a writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "checkpoint/files/checkpoint_writer.h"
#include "checkpoint/masks/chunks.h"
#include "winnow/base/parallel_for.h"
#include "winnow/checkpoint/progress.h"

namespace winnow::checkpoint {

/// Reads a batch of chunks at a time, one on each thread lent, through a buffer that it keeps: a
/// chunk (CheckpointReader::read_bytes) for each thread. Counts what is read and written as
/// progress, and looks for cancellation after each batch. What it is made of outlives it.
///
/// Errors: those of the reader and of the writer, kOutOfMemory, kInterrupted.
class Copier {
 public:
  Copier(const CheckpointReader& reader, ParallelFor& threads, Progress& progress,
         StageSeconds& seconds)
      : reader_(reader), threads_(threads), progress_(progress), seconds_(seconds) {}

  // To nowhere without a writer: then the values are only decoded and checked.

  /// All tensors, in the order of their data.
  Status copy(CheckpointWriter* writer);
  Status copy_tensor(size_t tensor, CheckpointWriter* writer);

 private:
  Status read(size_t tensor, uint64_t begin, uint64_t chunk, std::span<std::byte> out);

  const CheckpointReader& reader_;
  ParallelFor& threads_;
  Progress& progress_;
  StageSeconds& seconds_;
  RawBuffer buffer_;
  size_t buffer_bytes_ = 0;
};

}  // namespace winnow::checkpoint
