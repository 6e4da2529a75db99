#include "winnow/checkpoint/inspect.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/status_macros.h"
#include "checkpoint/masks/chunks.h"
#include "checkpoint/patterns/tensor_names.h"
#include "winnow/checkpoint/checkpoint_reader.h"

namespace winnow {

using namespace checkpoint;

namespace {

std::vector<DTypeTotal> totals_by_dtype(std::span<const TensorInfo> tensors) {
  std::map<DType, DTypeTotal> totals;  // in the order of the enumeration
  for (const TensorInfo& tensor : tensors) {
    DTypeTotal& total = totals[tensor.dtype];
    total.dtype = tensor.dtype;
    ++total.tensors;
    total.values += tensor.numel();
    total.bytes += tensor.bytes();
  }
  std::vector<DTypeTotal> result;
  for (const auto& [dtype, total] : totals) result.push_back(total);
  return result;
}

// Combines the figures of chunks, in their order: sums of floats depend on the order, and the
// result must not depend on the number of threads.
class StatsSum {
 public:
  void add(const ValueStats& chunk, uint64_t count) {
    if (chunk.nans < count) {
      sum_.min = numbers_ ? std::min(sum_.min, chunk.min) : chunk.min;
      sum_.max = numbers_ ? std::max(sum_.max, chunk.max) : chunk.max;
      numbers_ = true;
    }
    const uint64_t finite = count - chunk.nans - chunk.infinities;
    finite_ += finite;
    if (finite > 0) {  // a mean of means, because a sum of F64 values can overflow
      const double share = static_cast<double>(finite) / static_cast<double>(finite_);
      sum_.mean_abs += (chunk.mean_abs - sum_.mean_abs) * share;
    }
    sum_.zeros += chunk.zeros;
    sum_.nans += chunk.nans;
    sum_.infinities += chunk.infinities;
  }

  const ValueStats& result() const { return sum_; }

 private:
  ValueStats sum_;
  bool numbers_ = false;  // there was a value that is not NaN
  uint64_t finite_ = 0;
};

// Reads the values of one tensor in chunks.
Result<ValueStats> tensor_stats(const CheckpointReader& file, size_t index, ParallelFor& threads,
                                Progress& progress) {
  const TensorInfo& tensor = file.tensors()[index];
  const size_t itemsize = dtype_bits(tensor.dtype) / 8;
  // Each chunk has its own place, so that threads need no lock.
  std::vector<ValueStats> chunks((tensor.bytes() + kChunkBytes - 1) / kChunkBytes);
  const auto visit = [&](size_t chunk, uint64_t begin, uint64_t end) -> Status {
    WINNOW_ASSIGN_OR_RETURN(auto buffer, RawBuffer::allocate(end - begin));
    WINNOW_RETURN_IF_ERROR(file.read(index, begin, buffer.first(end - begin)));
    chunks[chunk] = value_stats(buffer.data(), tensor.dtype, (end - begin) / itemsize);
    return Status();
  };
  WINNOW_RETURN_IF_ERROR(for_each_chunk(tensor.bytes(), threads, progress, visit));
  StatsSum sum;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const uint64_t bytes = std::min<uint64_t>(kChunkBytes, tensor.bytes() - i * kChunkBytes);
    sum.add(chunks[i], bytes / itemsize);
  }
  return sum.result();
}

Status add_stats(const CheckpointReader& file, Inspection& inspection, ParallelFor& threads,
                 Progress& progress) {
  StageTimer timer(inspection.seconds.read);
  uint64_t bytes = 0;
  for (const InspectedTensor& entry : inspection.tensors) {
    bytes += is_prunable(entry.tensor.dtype) ? entry.tensor.bytes() : 0;
  }
  progress.begin("inspect", bytes);
  for (size_t i = 0; i < inspection.tensors.size(); ++i) {
    if (!is_prunable(inspection.tensors[i].tensor.dtype)) continue;
    WINNOW_ASSIGN_OR_RETURN(inspection.tensors[i].stats, tensor_stats(file, i, threads, progress));
  }
  return file.check_unchanged();
}

}  // namespace

Result<Inspection> inspect_file(Env& env, const std::string& path, bool stats, ParallelFor& threads,
                                Progress& progress) {
  return fill_result<Inspection>(path, [&](Inspection& inspection) -> Status {
    std::optional<StageTimer> open(inspection.seconds.open);
    WINNOW_ASSIGN_OR_RETURN(const auto file, open_checkpoint(env, path));
    inspection.file_bytes = file->file_bytes();
    inspection.is_compressed = file->is_compressed();
    inspection.header_bytes = file->header_bytes();
    inspection.metadata = file->metadata();
    inspection.opaque.assign(file->opaque_values().begin(), file->opaque_values().end());
    inspection.plain_values = file->plain_values();
    inspection.tensors.reserve(file->tensors().size());
    const std::vector<TensorAlias> aliases = tensor_aliases(file->tensors(), file->metadata());
    const TensorNames names(file->tensors(), aliases);
    for (size_t i = 0; i < file->tensors().size(); ++i) {
      WINNOW_ASSIGN_OR_RETURN(StoredTensor stored, file->stored(i));
      inspection.tensors.push_back({.tensor = file->tensors()[i],
                                    .aliases = names.aliases_of(i),
                                    .stored = std::move(stored),
                                    .stats = std::nullopt});
    }
    inspection.dtypes = totals_by_dtype(file->tensors());
    open.reset();  // the stage ends here
    return stats ? add_stats(*file, inspection, threads, progress) : Status();
  });
}

}  // namespace winnow
