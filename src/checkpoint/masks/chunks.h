// Private: what the streaming calls of this layer share: chunks, buffers, timers and labels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <string>

#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/checkpoint/progress.h"
#include "winnow/io/env.h"
#include "winnow/io/safetensors.h"

namespace winnow::checkpoint {

/// Bytes that are read, checked or written at a time: they stay in a core's cache meanwhile, and a
/// multiple of every element size.
inline constexpr size_t kChunkBytes = size_t{1} << 20;

/// Uninitialised bytes. Unlike a vector, they cost nothing until they are touched, come in huge
/// pages where the system has some (a third of the time of reading went into faults of small ones),
/// and running out is no exception.
class RawBuffer {
 public:
  /// Errors: kOutOfMemory.
  static Result<RawBuffer> allocate(uint64_t bytes);

  std::byte* data() noexcept { return data_.get(); }
  std::span<std::byte> first(size_t bytes) noexcept { return {data_.get(), bytes}; }

 private:
  struct Free {
    void operator()(std::byte* data) const noexcept;
  };
  std::unique_ptr<std::byte, Free> data_;
};

/// Adds the seconds from its construction to its destruction to a figure.
class StageTimer {
 public:
  explicit StageTimer(double& seconds);
  ~StageTimer();
  StageTimer(const StageTimer&) = delete;
  StageTimer& operator=(const StageTimer&) = delete;

 private:
  double& seconds_;
  double start_;
};

/// The same error with the file's path, made safe to show, before its message; ok stays ok.
Status in_file(const std::string& path, const Status& status);

/// Fills a result with `fill(result)`, which returns a Status, and times the whole. Small things
/// are allocated in many places; where memory runs out, that becomes kOutOfMemory here and names
/// `path`.
template <typename T, typename Fill>
Result<T> fill_result(const std::string& path, const Fill& fill) try {
  T result;
  Status status;
  {
    StageTimer total(result.seconds.total);
    status = fill(result);
  }
  if (!status.ok()) return status;
  return result;
} catch (const std::bad_alloc&) {
  return in_file(path, Status(ErrorCode::kOutOfMemory, "not enough memory"));
}

/// kInvalidArgument, naming the path, unless [offset, offset + size) lies within the tensor's
/// bytes.
Status check_range(const std::string& path, const TensorInfo& tensor, uint64_t offset,
                   uint64_t size);

/// "tensor 'NAME'", the name made safe to show.
std::string tensor_label(const TensorInfo& tensor);

/// The position of flat element `index` in the tensor's own shape, as "[3, 17]".
std::string position_text(const TensorInfo& tensor, uint64_t index);

/// kInterrupted where progress.cancelled().
Status check_cancelled(Progress& progress);

/// The bytes [begin, end) of a tensor, in chunks that are cut at the multiples of `step`.
struct ChunkRange {
  uint64_t begin, end, step;

  uint64_t chunks() const noexcept {
    return begin == end ? 0 : (end - 1) / step - begin / step + 1;
  }
};

/// Calls visit(chunk, begin, end) for the byte ranges [begin, end) that `range` consists of, on the
/// threads lent; reports progress and looks for cancellation in between. Of the errors, that of the
/// first chunk is returned.
Status for_each_chunk(
    const ChunkRange& range, ParallelFor& threads, Progress& progress,
    const std::function<Status(size_t chunk, uint64_t begin, uint64_t end)>& visit);

/// The same for [0, bytes), in chunks of kChunkBytes.
Status for_each_chunk(
    uint64_t bytes, ParallelFor& threads, Progress& progress,
    const std::function<Status(size_t chunk, uint64_t begin, uint64_t end)>& visit);

}  // namespace winnow::checkpoint
