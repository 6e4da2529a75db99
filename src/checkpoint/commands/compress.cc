#include "winnow/checkpoint/compress.h"

#include <algorithm>
#include <optional>

#include "base/status_macros.h"
#include "checkpoint/files/checkpoint_writer.h"
#include "checkpoint/files/copier.h"
#include "checkpoint/masks/chunks.h"
#include "checkpoint/masks/memory_shares.h"
#include "checkpoint/patterns/pattern_list.h"
#include "winnow/base/concat.h"
#include "winnow/checkpoint/tensor_aliases.h"
#include "winnow/io/escape_name.h"

namespace winnow {

using namespace checkpoint;

namespace {

// By tensor: whether the patterns leave it as it is.
Result<std::vector<bool>> left_plain(const CompressJob& job, const CheckpointReader& file) {
  const std::span<const TensorInfo> tensors = file.tensors();
  const std::vector<TensorAlias> aliases = tensor_aliases(tensors, file.metadata());
  const TensorNames names(tensors, aliases);
  WINNOW_ASSIGN_OR_RETURN(const auto include,
                          compile_patterns(job.include, "include", tensors, aliases, names));
  WINNOW_ASSIGN_OR_RETURN(const auto exclude,
                          compile_patterns(job.exclude, "exclude", tensors, aliases, names));
  std::vector<bool> plain(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto is_among = [&](const std::vector<Pattern>& patterns) {
      return std::any_of(patterns.begin(), patterns.end(),
                         [&](const Pattern& pattern) { return matches_any(pattern, names.of(i)); });
    };
    plain[i] = is_among(exclude) || !(include.empty() || is_among(include));
  }
  return plain;
}

// One run of compress_file or decompress_file.
class Conversion {
 public:
  Conversion(Env& env, const CompressJob& job, const CheckpointReader& reader, ParallelFor& threads,
             Progress& progress, CompressResult& result)
      : job_(job),
        reader_(reader),
        threads_(threads),
        progress_(progress),
        result_(result),
        output_{.env = env,
                .input = reader,
                .path = target_of(job).path,
                .options = target_of(job).options,
                .threads = threads,
                .same_values = true,
                .in_place = job.in_place} {
    result.input_bytes = reader.file_bytes();
    result.left_out_values = left_out_values(output_);
  }

  // Writes a compressed file. Where that would not be smaller than the values, they are copied as
  // they are; the writer of a folder does that shard by shard.
  Status compress(std::vector<bool> plain) {
    if (job_.dry_run) return check();
    output_.compress = true;
    output_.plain = std::move(plain);
    WINNOW_RETURN_IF_ERROR(write("compress"));
    const bool is_smaller = writer_->file_bytes() < plain_output_bytes(output_);
    if (is_smaller || writes_folder(output_)) return commit();
    writer_.reset();  // gives the output's name free
    output_.compress = false;
    WINNOW_RETURN_IF_ERROR(write("copy"));
    return commit();
  }

  // Writes the values as they are.
  Status decompress() {
    if (job_.dry_run) return check();
    WINNOW_RETURN_IF_ERROR(write("decompress"));
    return commit();
  }

 private:
  // Reads all of the input, and looks at the output if one is named.
  Status check() {
    if (!output_.path.empty()) WINNOW_RETURN_IF_ERROR(check_output(output_));
    progress_.begin("check", reader_.data_bytes());
    return copy();
  }

  Status write(std::string_view stage) {
    WINNOW_ASSIGN_OR_RETURN(writer_, create_writer(output_));
    result_.written = writer_->destination();
    result_.left_out.assign(writer_->left_out().begin(), writer_->left_out().end());
    progress_.begin(stage, 2 * reader_.data_bytes());  // read, and written
    WINNOW_RETURN_IF_ERROR(copy());
    return writer_->finish();
  }

  Status copy() {
    WINNOW_RETURN_IF_ERROR(
        Copier(reader_, threads_, progress_, result_.seconds).copy(writer_.get()));
    WINNOW_RETURN_IF_ERROR(reader_.check_unchanged());
    return check_cancelled(progress_);
  }

  Status commit() {
    StageTimer timer(result_.seconds.sync);
    result_.output_bytes = writer_->file_bytes();
    return writer_->commit();
  }

  const CompressJob& job_;
  const CheckpointReader& reader_;
  ParallelFor& threads_;
  Progress& progress_;
  CompressResult& result_;
  OutputJob output_;
  std::unique_ptr<CheckpointWriter> writer_;
};

// How each tensor is stored in the file that is compressed.
Status add_reports(const CheckpointReader& compressed, CompressResult& result) {
  const std::span<const TensorInfo> tensors = compressed.tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    WINNOW_ASSIGN_OR_RETURN(StoredTensor stored, compressed.stored(i));
    result.tensors.push_back({tensors[i], std::move(stored)});
  }
  return Status();
}

// As many threads as job.max_memory has buffers for.
Result<FewerThreads> fitting_threads(const CompressJob& job, const CheckpointReader& reader,
                                     bool compresses, ParallelFor& threads) {
  const uint64_t written = compresses ? thread_bytes_to_compress(reader) : 0;
  const MemoryNeeds needs{.fixed = fixed_bytes(reader),
                          .each_thread = thread_bytes_to_read(reader) + written};
  const Result<MemoryShares> shares = share_memory(job.max_memory, needs, threads.concurrency());
  if (!shares.ok()) return in_file(job.input, shares.status());
  return FewerThreads(threads, shares->threads);
}

Status wrong_input(const CompressJob& job, std::string_view text) {
  return {ErrorCode::kInvalidArgument, concat(escape_path(job.input), ": ", text)};
}

}  // namespace

Result<CompressResult> compress_file(Env& env, const CompressJob& job, ParallelFor& threads,
                                     Progress& progress) {
  return fill_result<CompressResult>(job.input, [&](CompressResult& result) -> Status {
    WINNOW_ASSIGN_OR_RETURN(const auto reader, open_input(env, job));
    if (reader->is_container()) {
      return wrong_input(job, "expected a file that is not compressed, found a compressed one");
    }
    Result<std::vector<bool>> plain = left_plain(job, *reader);
    if (!plain.ok()) return in_file(job.input, plain.status());
    WINNOW_ASSIGN_OR_RETURN(FewerThreads fewer, fitting_threads(job, *reader, true, threads));
    WINNOW_RETURN_IF_ERROR(
        Conversion(env, job, *reader, fewer, progress, result).compress(std::move(*plain)));
    if (job.dry_run) return Status();
    WINNOW_ASSIGN_OR_RETURN(const auto written, open_checkpoint(env, result.written));
    return add_reports(*written, result);
  });
}

Result<CompressResult> decompress_file(Env& env, const CompressJob& job, ParallelFor& threads,
                                       Progress& progress) {
  return fill_result<CompressResult>(job.input, [&](CompressResult& result) -> Status {
    WINNOW_ASSIGN_OR_RETURN(const auto reader, open_input(env, job));
    WINNOW_ASSIGN_OR_RETURN(FewerThreads fewer, fitting_threads(job, *reader, false, threads));
    WINNOW_RETURN_IF_ERROR(add_reports(*reader, result));
    return Conversion(env, job, *reader, fewer, progress, result).decompress();
  });
}

}  // namespace winnow
