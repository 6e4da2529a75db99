#include "checkpoint/files/copier.h"

#include <algorithm>
#include <vector>

#include "base/status_macros.h"
#include "checkpoint/files/container.h"

namespace winnow::checkpoint {

Status Copier::copy(CheckpointWriter* writer) {
  for (const size_t tensor : data_order(reader_.tensors())) {
    WINNOW_RETURN_IF_ERROR(copy_tensor(tensor, writer));
  }
  return Status();
}

Status Copier::copy_tensor(size_t tensor, CheckpointWriter* writer) {
  const uint64_t bytes = reader_.tensors()[tensor].bytes();
  const uint64_t chunk = reader_.read_bytes(tensor), step = chunk * threads_.concurrency();
  for (uint64_t begin = 0; begin < bytes; begin += step) {
    WINNOW_RETURN_IF_ERROR(check_cancelled(progress_));
    const size_t count = std::min(step, bytes - begin);
    if (buffer_bytes_ < count) {
      WINNOW_ASSIGN_OR_RETURN(buffer_, RawBuffer::allocate(count));
      buffer_bytes_ = count;
    }
    WINNOW_RETURN_IF_ERROR(read(tensor, begin, chunk, buffer_.first(count)));
    progress_.advance(count);
    if (writer == nullptr) continue;
    StageTimer timer(seconds_.write);
    WINNOW_RETURN_IF_ERROR(writer->append(buffer_.first(count)));
    progress_.advance(count);
  }
  return Status();
}

Status Copier::read(size_t tensor, uint64_t begin, uint64_t chunk, std::span<std::byte> out) {
  StageTimer timer(seconds_.read);
  std::vector<Status> statuses((out.size() + chunk - 1) / chunk);
  threads_.run(statuses.size(), [&](size_t i) {
    const auto part = out.subspan(i * chunk, std::min<size_t>(chunk, out.size() - i * chunk));
    statuses[i] = reader_.read(tensor, begin + i * chunk, part);
  });
  const auto failed = std::find_if(statuses.begin(), statuses.end(),
                                   [](const Status& status) { return !status.ok(); });
  return failed == statuses.end() ? Status() : *failed;
}

}  // namespace winnow::checkpoint
