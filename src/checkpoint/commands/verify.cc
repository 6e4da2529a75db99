#include "winnow/checkpoint/verify.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "checkpoint/masks/mask_maker.h"
#include "checkpoint/masks/with_shares.h"
#include "winnow/base/concat.h"
#include "winnow/core/values.h"
#include "winnow/io/escape_name.h"

namespace winnow {

using namespace checkpoint;

namespace {

constexpr std::string_view kOwnPrefix = "winnow.";

Status violation(std::string message) {
  return Status(ErrorCode::kCheckFailed, std::move(message));
}

std::string shape_text(const TensorInfo& tensor) {
  return concat(dtype_name(tensor.dtype), " ", list_text(tensor.shape));
}

Status check_same_tensors(std::span<const TensorInfo> original,
                          std::span<const TensorInfo> pruned) {
  for (size_t i = 0; i < std::min(original.size(), pruned.size()); ++i) {
    const TensorInfo &want = original[i], &have = pruned[i];
    if (want.name != have.name) {
      return violation("tensor " + std::to_string(i) + ": expected the name '" +
                       escape_name(want.name) + "', found '" + escape_name(have.name) + "'");
    }
    if (want.dtype != have.dtype || want.shape != have.shape) {
      return violation(tensor_label(want) + ": expected " + shape_text(want) + ", found " +
                       shape_text(have));
    }
    if (want.begin != have.begin || want.end != have.end) {
      return violation(tensor_label(want) + ": expected its data at offset " +
                       std::to_string(want.begin) + ", found it at " + std::to_string(have.begin));
    }
  }
  if (original.size() == pruned.size()) return Status();
  return violation("expected " + std::to_string(original.size()) + " tensors, found " +
                   std::to_string(pruned.size()));
}

std::string entry_label(std::string_view key) {
  return "metadata entry '" + escape_name(key) + "': expected ";
}

// The original's entries are there; what is there besides is winnow's own.
Status check_metadata(const Metadata& original, const Metadata& pruned) {
  std::map<std::string_view, std::string_view> others(pruned.begin(), pruned.end());
  for (const auto& [key, value] : original) {
    const auto found = others.find(key);
    const bool own = key == kVersionKey || key == kConfigKey;
    if (!own && (found == others.end() || found->second != value)) {
      return violation(
          entry_label(key) + "'" + escape_name(value) + "', found " +
          (found == others.end() ? "no such entry" : "'" + escape_name(found->second) + "'"));
    }
    if (found != others.end()) others.erase(found);
  }
  for (const auto& [key, value] : others) {
    if (key.starts_with(kOwnPrefix)) continue;
    return violation(entry_label(key) + "no such entry, found '" + escape_name(value) + "'");
  }
  return Status();
}

Result<PruneSettings> recorded_settings(const Metadata& metadata) {
  for (const auto& [key, text] : metadata) {
    if (key != kConfigKey) continue;
    Result<PruneSettings> settings = parse_config_text(text);
    if (settings.ok()) return settings;
    return settings.status().with_context("metadata entry 'winnow.config' cannot be used");
  }
  return Status(ErrorCode::kInvalidArgument,
                "expected the settings in the metadata entry 'winnow.config', found none");
}

// "0.25 (0x3e800000)": a value and its bits.
std::string value_text(const std::byte* value, DType dtype) {
  const size_t itemsize = dtype_bits(dtype) / 8;
  uint64_t bits = 0;
  std::memcpy(&bits, value, itemsize);  // little-endian, as the file
  char text[64];
  std::snprintf(text, sizeof text, "%.9g (0x%0*" PRIx64 ")", value_at(value, dtype, 0),
                static_cast<int>(2 * itemsize), bits);
  return text;
}

// One run of verify_file.
class Verifier {
 public:
  Verifier(const VerifyJob& job, const CheckpointReader& original, const CheckpointReader& pruned,
           ParallelFor& threads, Progress& progress, VerifyResult& result)
      : job_(job),
        original_(original),
        pruned_(pruned),
        all_threads_(threads),
        progress_(progress),
        result_(result) {}

  // `shares`: null for those that job.max_memory gives.
  Status run(const MemoryShares* shares);

 private:
  Result<MemoryShares> share_out(std::span<const PlanEntry> plan) const;
  Status check_pruned_tensor(MaskMaker& maker, const PlanEntry& entry);
  Status check_values(size_t index, const MaskedValues& values);
  Status check_copied_tensor(size_t index);
  // Reads the same range of the tensor from the pruned file.
  Status read_pruned(size_t index, uint64_t begin, std::span<std::byte> out);
  Status value_violation(const TensorInfo& tensor, uint64_t index, const std::byte* original,
                         const std::byte* pruned, bool kept) const;

  const VerifyJob& job_;
  const CheckpointReader& original_;
  const CheckpointReader& pruned_;
  ParallelFor& all_threads_;
  Progress& progress_;
  VerifyResult& result_;
  RawBuffer original_chunk_, pruned_chunk_;
};

Status Verifier::run(const MemoryShares* shares) {
  const std::span<const TensorInfo> tensors = original_.tensors();
  WINNOW_RETURN_IF_ERROR(in_file(job_.pruned, check_same_tensors(tensors, pruned_.tensors())));
  WINNOW_RETURN_IF_ERROR(
      in_file(job_.pruned, check_metadata(original_.metadata(), pruned_.metadata())));
  Result<std::vector<PlanEntry>> plan = make_plan(
      tensors, result_.settings, tensor_aliases(tensors, original_.metadata()), original_.fixed());
  if (!plan.ok()) return in_file(job_.original, plan.status());
  Result<MemoryShares> memory = shares ? Result<MemoryShares>(*shares) : share_out(*plan);
  if (!memory.ok()) return in_file(job_.original, memory.status());
  FewerThreads threads(all_threads_, memory->threads);
  WINNOW_ASSIGN_OR_RETURN(original_chunk_, RawBuffer::allocate(kChunkBytes));
  WINNOW_ASSIGN_OR_RETURN(pruned_chunk_, RawBuffer::allocate(kChunkBytes));
  MaskMaker maker({.path = job_.original,
                   .file = original_,
                   .plan = *plan,
                   .settings = result_.settings,
                   .memory = *memory,
                   .threads = threads,
                   .progress = progress_,
                   .seconds = result_.seconds});
  WINNOW_RETURN_IF_ERROR(maker.prepare());
  progress_.begin("verify", 2 * original_.data_bytes() + maker.extra_bytes());  // of both files
  for (const PlanEntry& entry : *plan) {
    WINNOW_RETURN_IF_ERROR(entry.skipped ? check_copied_tensor(entry.tensor)
                                         : check_pruned_tensor(maker, entry));
    ++result_.tensors;
    result_.left_alone += is_left_alone(entry.skipped);
  }
  WINNOW_RETURN_IF_ERROR(original_.check_unchanged());
  return pruned_.check_unchanged();
}

Result<MemoryShares> Verifier::share_out(std::span<const PlanEntry> plan) const {
  const MemoryNeeds needs{
      .fixed = fixed_bytes(original_) + fixed_bytes(pruned_),
      .each_thread = thread_bytes_to_read(original_) + thread_bytes_to_read(pruned_),
      .values = least_values_bytes(original_.tensors(), plan, result_.settings.scope)};
  return share_memory(job_.max_memory, needs, all_threads_.concurrency());
}

Status Verifier::check_pruned_tensor(MaskMaker& maker, const PlanEntry& entry) {
  const auto check = [&](const MaskedValues& values) { return check_values(entry.tensor, values); };
  WINNOW_ASSIGN_OR_RETURN(const MaskedStats stats, maker.make(entry, check));
  ++result_.pruned_tensors;
  result_.values += entry.shape.numel();
  result_.dropped_values += stats.mask.dropped_values;
  result_.kept_rows += stats.kept.slices;
  return Status();
}

Status Verifier::check_values(size_t index, const MaskedValues& values) {
  const TensorInfo& tensor = original_.tensors()[index];
  const std::span<const std::byte> original = values.bytes;
  const size_t itemsize = dtype_bits(tensor.dtype) / 8;
  for (size_t begin = 0; begin < original.size(); begin += kChunkBytes) {
    WINNOW_RETURN_IF_ERROR(check_cancelled(progress_));
    const auto want = original.subspan(begin, std::min(kChunkBytes, original.size() - begin));
    const auto have = pruned_chunk_.first(want.size());
    const uint64_t first = values.first + begin / itemsize;
    WINNOW_RETURN_IF_ERROR(read_pruned(index, first * itemsize, have));
    const auto chunk_mask = values.mask.subspan(begin / itemsize, want.size() / itemsize);
    StageTimer timer(result_.seconds.compare);
    const std::optional<uint64_t> wrong =
        find_mask_violation(want.data(), have.data(), tensor.dtype, chunk_mask);
    if (wrong) {
      return value_violation(tensor, first + *wrong, &want[*wrong * itemsize],
                             &have[*wrong * itemsize], chunk_mask[*wrong] != 0);
    }
  }
  result_.bytes += original.size();
  return Status();
}

Status Verifier::value_violation(const TensorInfo& tensor, uint64_t index,
                                 const std::byte* original, const std::byte* pruned,
                                 bool kept) const {
  constexpr std::byte kZero[8] = {};
  const std::string expected = value_text(kept ? original : kZero, tensor.dtype);
  return in_file(job_.pruned,
                 violation(tensor_label(tensor) + " at " + position_text(tensor, index) +
                           ": expected " + (kept ? "the original's value " : "the dropped value ") +
                           expected + ", found " + value_text(pruned, tensor.dtype)));
}

Status Verifier::check_copied_tensor(size_t index) {
  const TensorInfo& tensor = original_.tensors()[index];
  for (uint64_t begin = 0; begin < tensor.bytes(); begin += kChunkBytes) {
    WINNOW_RETURN_IF_ERROR(check_cancelled(progress_));
    const size_t count = std::min<uint64_t>(kChunkBytes, tensor.bytes() - begin);
    const auto want = original_chunk_.first(count), have = pruned_chunk_.first(count);
    {
      StageTimer timer(result_.seconds.read);
      WINNOW_RETURN_IF_ERROR(original_.read(index, begin, want));
    }
    progress_.advance(count);
    WINNOW_RETURN_IF_ERROR(read_pruned(index, begin, have));
    StageTimer timer(result_.seconds.compare);
    const auto [wrong, found] = std::mismatch(want.begin(), want.end(), have.begin());
    if (wrong != want.end()) {
      char bytes[64];
      std::snprintf(bytes, sizeof bytes, "expected 0x%02x, found 0x%02x",
                    static_cast<unsigned>(*wrong), static_cast<unsigned>(*found));
      const uint64_t offset = begin + static_cast<uint64_t>(wrong - want.begin());
      return in_file(job_.pruned, violation(tensor_label(tensor) + " (not pruned) at byte " +
                                            std::to_string(offset) + ": " + bytes));
    }
  }
  result_.bytes += tensor.bytes();
  return Status();
}

Status Verifier::read_pruned(size_t index, uint64_t begin, std::span<std::byte> out) {
  StageTimer timer(result_.seconds.read);
  // The same offsets: check_same_tensors saw to it.
  WINNOW_RETURN_IF_ERROR(pruned_.read(index, begin, out));
  progress_.advance(out.size());
  return Status();
}

Result<VerifyResult> verify(Env& env, const VerifyJob& job, const MemoryShares* shares,
                            ParallelFor& threads, Progress& progress) {
  return fill_result<VerifyResult>(job.original, [&](VerifyResult& result) -> Status {
    std::optional<StageTimer> open(result.seconds.open);
    if (job.settings) WINNOW_RETURN_IF_ERROR(validate(*job.settings));
    WINNOW_ASSIGN_OR_RETURN(const auto pruned, open_checkpoint(env, job.pruned));
    WINNOW_ASSIGN_OR_RETURN(const auto original, open_checkpoint(env, job.original));
    Result<PruneSettings> settings =
        job.settings ? Result<PruneSettings>(*job.settings) : recorded_settings(pruned->metadata());
    if (!settings.ok()) return in_file(job.pruned, settings.status());
    result.settings = std::move(*settings);
    open.reset();
    Verifier verifier(job, *original, *pruned, threads, progress, result);
    return verifier.run(shares);
  });
}

}  // namespace

Result<VerifyResult> verify_file(Env& env, const VerifyJob& job, ParallelFor& threads,
                                 Progress& progress) {
  return verify(env, job, nullptr, threads, progress);
}

Result<VerifyResult> checkpoint::verify_file_with(Env& env, const VerifyJob& job,
                                                  const MemoryShares& shares, ParallelFor& threads,
                                                  Progress& progress) {
  return verify(env, job, &shares, threads, progress);
}

}  // namespace winnow
