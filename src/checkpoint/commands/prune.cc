#include "winnow/checkpoint/prune.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "checkpoint/files/checkpoint_writer.h"
#include "checkpoint/files/copier.h"
#include "checkpoint/masks/mask_maker.h"
#include "checkpoint/masks/value_scan.h"
#include "checkpoint/masks/with_shares.h"
#include "checkpoint/patterns/tensor_names.h"
#include "winnow/base/version.h"
#include "winnow/core/values.h"

namespace winnow {

using namespace checkpoint;

namespace {

// One run of prune_file.
class Pruner {
 public:
  Pruner(const PruneJob& job, const CheckpointReader& file, ParallelFor& threads,
         Progress& progress, PruneResult& result)
      : job_(job),
        file_(file),
        all_threads_(threads),
        progress_(progress),
        result_(result),
        aliases_(tensor_aliases(file.tensors(), file.metadata())),
        names_(file.tensors(), aliases_) {}

  // Makes the plan, shares out the memory unless that is done, and claims the output.
  Status prepare(Env& env, const MemoryShares* shares);
  // Processes every tensor and puts the output in place.
  Status run();

 private:
  Status share_out();
  Status claim_output(Env& env);
  TensorReport report_of(const PlanEntry& entry) const;
  Status prune_tensor(MaskMaker& maker, const PlanEntry& entry, TensorReport& report);
  Status apply_and_write(const TensorInfo& tensor, std::span<std::byte> values,
                         std::span<const uint8_t> mask, uint64_t& zeros);
  Status write(std::span<const std::byte> bytes);
  Status finish();

  const PruneJob& job_;
  const CheckpointReader& file_;
  ParallelFor& all_threads_;
  Progress& progress_;
  PruneResult& result_;
  MemoryShares memory_;
  std::optional<FewerThreads> threads_;
  std::vector<TensorAlias> aliases_;
  TensorNames names_;
  std::vector<PlanEntry> plan_;
  std::unique_ptr<CheckpointWriter> writer_;  // none in a dry run
};

Status Pruner::prepare(Env& env, const MemoryShares* shares) {
  Result<std::vector<PlanEntry>> plan =
      make_plan(file_.tensors(), job_.settings, aliases_, file_.fixed());
  if (!plan.ok()) return in_file(job_.input, plan.status());
  plan_ = std::move(*plan);
  if (shares) {
    memory_ = *shares;
  } else {
    WINNOW_RETURN_IF_ERROR(in_file(job_.input, share_out()));
  }
  threads_.emplace(all_threads_, memory_.threads);
  return claim_output(env);
}

Status Pruner::share_out() {
  const MemoryNeeds needs{
      .fixed = fixed_bytes(file_),
      .each_thread =
          thread_bytes_to_read(file_) + (job_.compress ? thread_bytes_to_compress(file_) : 0),
      .values = least_values_bytes(file_.tensors(), plan_, job_.settings.scope)};
  WINNOW_ASSIGN_OR_RETURN(memory_,
                          share_memory(job_.max_memory, needs, all_threads_.concurrency()));
  return Status();
}

Status Pruner::claim_output(Env& env) {
  const Target target = target_of(job_);
  const OutputJob output{.env = env,
                         .input = file_,
                         .path = target.path,
                         .options = target.options,
                         .threads = *threads_,
                         .entries = {{std::string(kVersionKey), WINNOW_VERSION},
                                     {std::string(kConfigKey), config_text(job_.settings)}},
                         .compress = job_.compress,
                         .in_place = job_.in_place};
  result_.input_bytes = file_.file_bytes();
  result_.output_bytes = plain_output_bytes(output);
  result_.left_out_values = left_out_values(output);
  if (job_.dry_run) return target.path.empty() ? Status() : check_output(output);
  WINNOW_ASSIGN_OR_RETURN(writer_, create_writer(output));
  result_.written = writer_->destination();
  result_.left_out.assign(writer_->left_out().begin(), writer_->left_out().end());
  return Status();
}

Status Pruner::run() {
  MaskMaker maker({.path = job_.input,
                   .file = file_,
                   .plan = plan_,
                   .settings = job_.settings,
                   .memory = memory_,
                   .threads = *threads_,
                   .progress = progress_,
                   .seconds = result_.seconds});
  Copier copier(file_, *threads_, progress_, result_.seconds);
  WINNOW_RETURN_IF_ERROR(maker.prepare());
  const uint64_t once = (writer_ ? 2 : 1) * file_.data_bytes();  // read, and written
  progress_.begin("prune", once + maker.extra_bytes());
  result_.tensors.reserve(plan_.size());
  for (const PlanEntry& entry : plan_) {
    TensorReport report = report_of(entry);
    if (entry.skipped) {
      WINNOW_RETURN_IF_ERROR(copier.copy_tensor(entry.tensor, writer_.get()));
    } else {
      WINNOW_RETURN_IF_ERROR(prune_tensor(maker, entry, report));
    }
    result_.totals.add(report);
    result_.tensors.push_back(std::move(report));
  }
  return finish();
}

TensorReport Pruner::report_of(const PlanEntry& entry) const {
  return {.tensor = file_.tensors()[entry.tensor],
          .aliases = names_.aliases_of(entry.tensor),
          .skipped = entry.skipped};
}

Status Pruner::prune_tensor(MaskMaker& maker, const PlanEntry& entry, TensorReport& report) {
  const auto apply = [&](const MaskedValues& values) {
    return apply_and_write(report.tensor, values.bytes, values.mask, report.zeros_after);
  };
  WINNOW_ASSIGN_OR_RETURN(const MaskedStats stats, maker.make(entry, apply));
  report.sparsity_level = entry.config.sparsity_level;
  report.blocks = stats.mask.blocks;
  report.selected_blocks = stats.mask.selected_blocks;
  report.kept_rows = stats.kept.slices;
  report.zeros_before = stats.zeros;
  return Status();
}

// A chunk for each thread at a time, so that what was set to zero is counted and written out of the
// cache.
Status Pruner::apply_and_write(const TensorInfo& tensor, std::span<std::byte> values,
                               std::span<const uint8_t> mask, uint64_t& zeros) {
  const size_t itemsize = dtype_bits(tensor.dtype) / 8;
  const size_t step = kChunkBytes * threads_->concurrency();
  std::vector<uint64_t> chunk_zeros(threads_->concurrency());
  for (size_t begin = 0; begin < values.size(); begin += step) {
    WINNOW_RETURN_IF_ERROR(check_cancelled(progress_));
    const auto bytes = values.subspan(begin, std::min(step, values.size() - begin));
    const auto apply_chunk = [&](size_t chunk) {
      const size_t at = chunk * kChunkBytes, size = std::min(kChunkBytes, bytes.size() - at);
      apply_mask(&bytes[at], tensor.dtype, mask.subspan((begin + at) / itemsize, size / itemsize));
      chunk_zeros[chunk] = scan_values(&bytes[at], tensor.dtype, size / itemsize).zeros;
    };
    const size_t chunks = (bytes.size() + kChunkBytes - 1) / kChunkBytes;
    {
      StageTimer timer(result_.seconds.apply);
      threads_->run(chunks, apply_chunk);
      zeros = std::accumulate(chunk_zeros.begin(), chunk_zeros.begin() + chunks, zeros);
    }
    WINNOW_RETURN_IF_ERROR(write(bytes));
  }
  return Status();
}

Status Pruner::write(std::span<const std::byte> bytes) {
  if (!writer_) return Status();
  StageTimer timer(result_.seconds.write);
  WINNOW_RETURN_IF_ERROR(writer_->append(bytes));
  progress_.advance(bytes.size());
  return Status();
}

Status Pruner::finish() {
  WINNOW_RETURN_IF_ERROR(file_.check_unchanged());
  WINNOW_RETURN_IF_ERROR(check_cancelled(progress_));
  if (!writer_) return Status();
  StageTimer timer(result_.seconds.sync);
  const Status committed = writer_->commit();
  result_.output_bytes = writer_->file_bytes();
  return committed;
}

}  // namespace

void PruneTotals::add(const TensorReport& report) noexcept {
  ++tensors;
  values += report.tensor.numel();
  left_alone += is_left_alone(report.skipped);
  if (report.skipped) return;
  ++pruned_tensors;
  pruned_values += report.tensor.numel();
  blocks += report.blocks;
  selected_blocks += report.selected_blocks;
  kept_rows += report.kept_rows;
  zeros_before += report.zeros_before;
  zeros_after += report.zeros_after;
}

namespace {

// `shares`: null for those that job.max_memory gives.
Result<PruneResult> prune(Env& env, const PruneJob& job, const MemoryShares* shares,
                          ParallelFor& threads, Progress& progress) {
  return fill_result<PruneResult>(job.input, [&](PruneResult& result) -> Status {
    std::optional<StageTimer> open(result.seconds.open);
    WINNOW_RETURN_IF_ERROR(validate(job.settings));
    WINNOW_ASSIGN_OR_RETURN(const auto file, open_input(env, job));
    Pruner pruner(job, *file, threads, progress, result);
    WINNOW_RETURN_IF_ERROR(pruner.prepare(env, shares));
    open.reset();
    return pruner.run();
  });
}

}  // namespace

Result<PruneResult> prune_file(Env& env, const PruneJob& job, ParallelFor& threads,
                               Progress& progress) {
  return prune(env, job, nullptr, threads, progress);
}

Result<PruneResult> checkpoint::prune_file_with(Env& env, const PruneJob& job,
                                                const MemoryShares& shares, ParallelFor& threads,
                                                Progress& progress) {
  return prune(env, job, &shares, threads, progress);
}

}  // namespace winnow
