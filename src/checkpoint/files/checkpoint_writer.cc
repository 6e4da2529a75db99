#include "checkpoint/files/checkpoint_writer.h"

#include <algorithm>

#include "base/status_macros.h"
#include "checkpoint/archives/torch_writer.h"
#include "checkpoint/bitmask/dense_folder.h"
#include "checkpoint/files/container.h"
#include "checkpoint/masks/chunks.h"
#include "checkpoint/shards/checkpoint_folder.h"
#include "checkpoint/shards/shard_index.h"
#include "checkpoint/shards/sharded_writer.h"
#include "winnow/base/concat.h"
#include "winnow/io/atomic_directory.h"

namespace winnow::checkpoint {
namespace {

// `status`, which is AtomicFile's for the output, with a code of its own if the output is the
// input.
Status told_from_input(const Status& status, const OutputJob& job) {
  if (status.code() != ErrorCode::kAlreadyExists) return status;
  WINNOW_ASSIGN_OR_RETURN(const FileInfo info, job.env.info(job.path));
  if (!job.input.reads(info.identity)) return status;
  return in_file(job.path, Status(ErrorCode::kSameFile,
                                  "expected an output other than the input, found the same file"));
}

// One file out of several shards: it has the metadata of all.
Status check_metadata(const OutputJob& job, const ShardSet& set) {
  const Metadata whole = with_entries(job.input.metadata(), job.entries);
  for (const Shard& shard : set.shards) {
    for (const auto& [key, value] : shard.reader->metadata()) {
      const bool is_kept = std::any_of(whole.begin(), whole.end(),
                                       [&](const auto& entry) { return entry.first == key; });
      if (is_kept) continue;
      return {ErrorCode::kInvalidArgument,
              concat("the shards cannot be one file: ", in_quotes(shard.name),
                     " has another value of the metadata ", in_quotes(key),
                     " than other shards. Give a folder as the output")};
    }
  }
  return Status();
}

// That a single file can stand where the output is to be, without harm to shards.
Status check_merged(const OutputJob& job) {
  const ShardSet* const set = job.input.shard_set();
  if (set == nullptr || set->index.empty()) return Status();
  WINNOW_RETURN_IF_ERROR(check_metadata(job, *set));
  // Replacing one shard by the whole would take the others' index away from under them.
  WINNOW_ASSIGN_OR_RETURN(const FileInfo info, job.env.info(job.path));
  if (info.kind != FileKind::kMissing && job.input.reads(info.identity)) {
    return {ErrorCode::kInvalidArgument,
            "expected an output other than the input's files, found one of them"};
  }
  const std::string index = job.path + std::string(kIndexSuffix.substr(kFileSuffix.size()));
  WINNOW_ASSIGN_OR_RETURN(const FileInfo beside, job.env.info(index));
  if (beside.kind == FileKind::kMissing) return Status();
  return {ErrorCode::kInvalidArgument,
          concat("expected a folder without an index of that name, found ", in_quotes(index),
                 ": loaders would not agree which of the two they take")};
}

}  // namespace

bool writes_folder(const OutputJob& job) noexcept {
  return job.input.shard_set() != nullptr && (job.in_place || !job.path.ends_with(kFileSuffix));
}

Result<std::unique_ptr<CheckpointWriter>> create_writer(const OutputJob& job) {
  WINNOW_RETURN_IF_ERROR(check_torch_output(job));
  if (writes_folder(job) && job.in_place) {
    return create_in_place_writer(job, *job.input.shard_set());
  }
  if (writes_folder(job) || stays_torch_archive(job)) {
    auto writer = writes_folder(job) ? create_folder_writer(job, *job.input.shard_set())
                                     : create_torch_writer(job);
    if (!writer.ok()) return told_from_input(writer.status(), job);
    return writer;
  }
  WINNOW_RETURN_IF_ERROR(in_file(job.path, check_merged(job)));
  const std::string text = job.input.header_text(job.entries);
  const WriterInputs inputs{job.env, job.path, text, job.input.data_bytes(), job.options};
  Result<std::unique_ptr<CheckpointWriter>> writer =
      create_file_writer(inputs, job.compress, job.plain, job.threads);
  if (!writer.ok()) return told_from_input(writer.status(), job);
  return writer;
}

Result<std::unique_ptr<CheckpointWriter>> create_file_writer(const WriterInputs& inputs,
                                                             bool compress, std::vector<bool> plain,
                                                             ParallelFor& threads) {
  return compress ? create_compressed_writer(inputs, std::move(plain), threads)
                  : create_plain_writer(inputs);
}

Status check_output(const OutputJob& job) {
  WINNOW_RETURN_IF_ERROR(check_torch_output(job));
  if (writes_folder(job)) {
    const ShardSet& set = *job.input.shard_set();
    WINNOW_RETURN_IF_ERROR(rewritten_files(job.env, job.input, set).status());
    if (job.in_place) return job.env.check_writable(set.directory);
  }
  if (writes_folder(job)) return told_from_input(AtomicDirectory::check(job.env, job.path), job);
  WINNOW_RETURN_IF_ERROR(in_file(job.path, check_merged(job)));
  return told_from_input(AtomicFile::check(job.env, job.path, job.options), job);
}

uint64_t left_out_values(const OutputJob& job) noexcept {
  if (stays_torch_archive(job)) return 0;
  return job.input.plain_values() + job.input.opaque_values().size();
}

uint64_t plain_output_bytes(const OutputJob& job) {
  if (stays_torch_archive(job)) return job.input.file_bytes();
  const auto plain_bytes = [&](const CheckpointReader& file) {
    return sizeof(uint64_t) + file.header_text(job.entries).size() + file.data_bytes();
  };
  if (!writes_folder(job)) return plain_bytes(job.input);
  uint64_t bytes = 0;
  for (const Shard& shard : job.input.shard_set()->shards) bytes += plain_bytes(*shard.reader);
  return bytes;
}

}  // namespace winnow::checkpoint
