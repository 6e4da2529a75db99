#include "checkpoint/masks/chunks.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <vector>

#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow::checkpoint {
namespace {

constexpr std::align_val_t kHugePage{size_t{2} << 20};
constexpr size_t kChunksPerThread = 8;  // between two reports of progress

// Why the system can have refused.
std::string memory_limit_text() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return "fewer";
  return concat("fewer under a limit of ", limit.rlim_cur, " for the process");
}

double now_seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

}  // namespace

Result<RawBuffer> RawBuffer::allocate(uint64_t bytes) {
  RawBuffer buffer;
  buffer.data_.reset(static_cast<std::byte*>(::operator new(bytes, kHugePage, std::nothrow)));
  if (!buffer.data_) {
    return Status(ErrorCode::kOutOfMemory,
                  concat("expected ", bytes, " bytes of memory, found ", memory_limit_text()));
  }
#ifdef MADV_HUGEPAGE
  const size_t whole_pages = bytes & ~(static_cast<size_t>(kHugePage) - 1);
  if (whole_pages > 0) (void)madvise(buffer.data(), whole_pages, MADV_HUGEPAGE);  // only a wish
#endif
  return buffer;
}

void RawBuffer::Free::operator()(std::byte* data) const noexcept {
  ::operator delete(data, kHugePage);
}

StageTimer::StageTimer(double& seconds) : seconds_(seconds), start_(now_seconds()) {}
StageTimer::~StageTimer() { seconds_ += now_seconds() - start_; }

Status in_file(const std::string& path, const Status& status) {
  return status.ok() ? status : status.with_context(escape_path(path));
}

Status check_range(const std::string& path, const TensorInfo& tensor, uint64_t offset,
                   uint64_t size) {
  if (offset <= tensor.bytes() && size <= tensor.bytes() - offset) return Status();
  return {ErrorCode::kInvalidArgument,
          concat(escape_path(path), ": ", tensor_label(tensor), " has ", tensor.bytes(),
                 " bytes, asked for ", size, " from ", offset, " on")};
}

std::string tensor_label(const TensorInfo& tensor) {
  return concat("tensor '", escape_name(tensor.name), "'");
}

std::string position_text(const TensorInfo& tensor, uint64_t index) {
  std::vector<uint64_t> position(tensor.shape.size());
  for (size_t d = position.size(); d-- > 0;) {
    position[d] = index % tensor.shape[d];
    index /= tensor.shape[d];
  }
  return list_text(position);
}

Status check_cancelled(Progress& progress) {
  if (!progress.cancelled()) return Status();
  return Status(ErrorCode::kInterrupted, "interrupted");
}

Status for_each_chunk(
    const ChunkRange& range, ParallelFor& threads, Progress& progress,
    const std::function<Status(size_t chunk, uint64_t begin, uint64_t end)>& visit) {
  const size_t chunks = range.chunks(), batch = kChunksPerThread * threads.concurrency();
  const auto begin_of = [&](size_t chunk) {
    return chunk == 0 ? range.begin : (range.begin / range.step + chunk) * range.step;
  };
  const auto end_of = [&](size_t chunk) {
    return chunk + 1 == chunks ? range.end : begin_of(chunk + 1);
  };
  std::vector<Status> statuses(std::min(batch, chunks));
  for (size_t first = 0; first < chunks; first += batch) {
    WINNOW_RETURN_IF_ERROR(check_cancelled(progress));
    const size_t count = std::min(batch, chunks - first);
    threads.run(count, [&](size_t i) {
      const size_t chunk = first + i;
      statuses[i] = visit(chunk, begin_of(chunk), end_of(chunk));
    });
    for (size_t i = 0; i < count; ++i) WINNOW_RETURN_IF_ERROR(statuses[i]);
    progress.advance(end_of(first + count - 1) - begin_of(first));
  }
  return Status();
}

Status for_each_chunk(
    uint64_t bytes, ParallelFor& threads, Progress& progress,
    const std::function<Status(size_t chunk, uint64_t begin, uint64_t end)>& visit) {
  return for_each_chunk(ChunkRange{0, bytes, kChunkBytes}, threads, progress, visit);
}

}  // namespace winnow::checkpoint
