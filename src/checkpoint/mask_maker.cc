#include "checkpoint/mask_maker.h"

#include <algorithm>

#include "base/status_macros.h"
#include "checkpoint/value_scan.h"
#include "winnow/core/values.h"
#include "winnow/io/escape_name.h"

namespace winnow::checkpoint {

Status MaskMaker::prepare() {
  const PlanEntry *largest = nullptr, *longest = nullptr;  // by bytes; by values
  for (const PlanEntry& entry : in_.plan) {
    if (entry.skipped) continue;
    if (!largest || tensor_of(entry).bytes() > tensor_of(*largest).bytes()) largest = &entry;
    if (!longest || entry.shape.numel() > longest->shape.numel()) longest = &entry;
  }
  if (largest) {
    WINNOW_ASSIGN_OR_RETURN(values_, allocate(*largest, tensor_of(*largest).bytes()));
    WINNOW_ASSIGN_OR_RETURN(mask_, allocate(*longest, longest->shape.numel()));
  }
  return in_.settings.scope == Scope::kGlobal ? run_passes() : Status();
}

Result<RawBuffer> MaskMaker::allocate(const PlanEntry& entry, uint64_t bytes) const {
  Result<RawBuffer> buffer = RawBuffer::allocate(bytes);
  if (!buffer.ok()) return buffer.status().with_context(label(entry));
  return buffer;
}

Status MaskMaker::run_passes() {
  std::vector<MatrixInfo> matrices;
  matrix_indices_.resize(in_.file.tensors().size());
  for (const PlanEntry& entry : in_.plan) {
    if (entry.skipped) continue;
    matrix_indices_[entry.tensor] = matrices.size();
    matrices.push_back({entry.shape, tensor_of(entry).dtype});
  }
  WINNOW_ASSIGN_OR_RETURN(global_,
                          GlobalSelection::create(std::move(matrices), in_.settings.config));
  while (!global_->ready()) {
    WINNOW_RETURN_IF_ERROR(show_all_tensors());
    WINNOW_RETURN_IF_ERROR(in_.file.check_unchanged());  // the passes must see the same values
    StageTimer timer(in_.seconds.select);
    WINNOW_RETURN_IF_ERROR(global_->end_pass());
  }
  return Status();
}

Status MaskMaker::show_all_tensors() {
  uint64_t bytes = 0;
  for (const PlanEntry& entry : in_.plan) bytes += entry.skipped ? 0 : tensor_of(entry).bytes();
  in_.progress.begin("select", bytes);
  for (const PlanEntry& entry : in_.plan) {
    if (entry.skipped) continue;
    WINNOW_RETURN_IF_ERROR(load(entry).status());
    StageTimer timer(in_.seconds.select);
    WINNOW_RETURN_IF_ERROR(global_->visit(matrix_index(entry), view_of(entry), in_.threads)
                               .with_context(label(entry)));
  }
  return Status();
}

Result<LoadedValues> MaskMaker::load(const PlanEntry& entry) {
  StageTimer timer(in_.seconds.read);
  const TensorInfo& tensor = tensor_of(entry);
  const size_t itemsize = dtype_bits(tensor.dtype) / 8;
  const bool refuse_nan = in_.settings.nan == NanPolicy::kError;
  std::byte* const data = values_.data();
  std::vector<uint64_t> zeros((tensor.bytes() + kChunkBytes - 1) / kChunkBytes);
  // The values are looked at while they are still in the cache of the core that read them.
  const auto read_chunk = [&](size_t chunk, uint64_t begin, uint64_t end) -> Status {
    const std::span<std::byte> out(data + begin, end - begin);
    WINNOW_RETURN_IF_ERROR(in_.file.read(entry.tensor, begin, out));
    const uint64_t count = out.size() / itemsize;
    const ValueScan seen = scan_values(out.data(), tensor.dtype, count);
    zeros[chunk] = seen.zeros;
    if (!refuse_nan || !seen.any_nan) return Status();
    const uint64_t nan = find_nan(out.data(), tensor.dtype, count).value_or(0);
    return Status(ErrorCode::kNanValue, label(entry) + " at " +
                                            position_text(tensor, begin / itemsize + nan) +
                                            ": expected a number, found NaN");
  };
  WINNOW_RETURN_IF_ERROR(for_each_chunk(tensor.bytes(), in_.threads, in_.progress, read_chunk));
  LoadedValues loaded{.bytes = values_.first(tensor.bytes())};
  for (const uint64_t count : zeros) loaded.zeros += count;
  return loaded;
}

Result<std::span<const uint8_t>> MaskMaker::mask(const PlanEntry& entry, GuardedStats& stats) {
  const std::span<uint8_t> mask(reinterpret_cast<uint8_t*>(mask_.data()), entry.shape.numel());
  StageTimer timer(in_.seconds.mask);
  const Result<MaskStats> result =
      global_ ? global_->write_mask(matrix_index(entry), view_of(entry), mask, in_.threads)
              : compute_mask(view_of(entry), entry.config, mask, in_.threads);
  if (!result.ok()) return result.status().with_context(label(entry));
  stats = {*result, {}};
  if (entry.guard) {
    stats.kept = keep_whole_slices(values_.data(), tensor_of(entry).dtype, mask, *entry.guard);
    stats.mask.dropped_values -= stats.kept.values;
  }
  return std::span<const uint8_t>(mask);
}

const TensorInfo& MaskMaker::tensor_of(const PlanEntry& entry) const {
  return in_.file.tensors()[entry.tensor];
}

MatrixView MaskMaker::view_of(const PlanEntry& entry) {
  return contiguous_view(values_.data(), tensor_of(entry).dtype, entry.shape);
}

std::string MaskMaker::label(const PlanEntry& entry) const {
  return escape_path(in_.path) + ": " + tensor_label(tensor_of(entry));
}

size_t MaskMaker::matrix_index(const PlanEntry& entry) const {
  return matrix_indices_[entry.tensor];
}

}  // namespace winnow::checkpoint
