// Private: where a checkpoint goes: what prune_file and its kin write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "checkpoint/shards/sharded_reader.h"
#include "winnow/base/parallel_for.h"
#include "winnow/base/status.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/io/atomic_file.h"
#include "winnow/io/safetensors.h"

namespace winnow::checkpoint {

/// A checkpoint being written, from the first byte of its data to the last. Abandons what was not
/// committed. Not thread-safe.
class CheckpointWriter {
 public:
  virtual ~CheckpointWriter() = default;

  /// The file or folder that `commit` puts in place; see AtomicFile::destination.
  virtual const std::string& destination() const noexcept = 0;

  /// Adds the next bytes of the data section.
  virtual Status append(std::span<const std::byte> data) = 0;

  /// Writes what is held back, once all data is appended: file_bytes() is then what it will be. To
  /// be called only by those who want to know that before they commit.
  virtual Status finish() { return Status(); }

  /// Finishes the file and puts it in place as AtomicFile::commit does.
  virtual Status commit() = 0;

  /// The size of the file, or of all shards.
  virtual uint64_t file_bytes() const noexcept = 0;

  /// Names beside the input that a new folder does not get; see Companions::left_out.
  virtual std::span<const std::string> left_out() const noexcept { return {}; }
};

/// What a checkpoint becomes, and where.
struct OutputJob {
  Env& env;
  const CheckpointReader& input;  ///< what is appended are its tensors, in the order of their data
  const std::string& path;
  AtomicFileOptions options;
  ParallelFor& threads;
  Metadata entries = {};  ///< set in the metadata, see CheckpointReader::header_text
  bool compress = false;
  /// What is appended are the input's values as they are. A compressed shard that is not smaller
  /// may then be a copy.
  bool same_values = false;
  bool in_place = false;         ///< `path` is that of the input, whose files are replaced
  std::vector<bool> plain = {};  ///< by tensor: those not to be compressed; empty: none
};

/// Whether the output is a folder: the input is one, and is replaced where it is or the output is
/// not named .safetensors.
bool writes_folder(const OutputJob& job) noexcept;

/// Claims the output: one file, or a folder with the files of the input (sharded_writer.h). Errors:
/// as prune_file has them of its output.
Result<std::unique_ptr<CheckpointWriter>> create_writer(const OutputJob& job);

/// Where the output of a job goes, and under which options: `output`, or with `in_place` the input.
struct Target {
  const std::string& path;
  AtomicFileOptions options;
};
template <typename Job>
Target target_of(const Job& job) {
  return {job.in_place ? job.input : job.output,
          {.overwrite = job.overwrite || job.in_place, .overwrite_blob = job.overwrite_blob}};
}

/// Opens the input of a job. One that is to be replaced where it is may have been left halfway by a
/// run that was killed: that is finished or rolled back first. Errors: those of open_checkpoint and
/// of AtomicFileSet::recover; kInvalidArgument for an output besides `in_place`.
template <typename Job>
Result<std::unique_ptr<CheckpointReader>> open_input(Env& env, const Job& job) {
  if (job.in_place) {
    if (!job.output.empty()) {
      return Status(ErrorCode::kInvalidArgument,
                    "expected an output or a change in place, found both");
    }
    WINNOW_RETURN_IF_ERROR(recover_folder(env, job.input));
  }
  return open_checkpoint(env, job.input);
}

/// For a dry run: the errors of create_writer that show without claiming the output.
Status check_output(const OutputJob& job);

/// Numbers, texts, opaque and other values of a torch archive that are no tensors and that the
/// output, a safetensors file, cannot hold.
uint64_t left_out_values(const OutputJob& job) noexcept;

/// The size of the output if it is not compressed; of a folder that of its shards.
uint64_t plain_output_bytes(const OutputJob& job);

/// One file that is written. `header_text` is that of the file as it would be, not compressed, with
/// `data_bytes` of data.
struct WriterInputs {
  Env& env;
  const std::string& path;
  const std::string& header_text;
  uint64_t data_bytes;
  AtomicFileOptions options;
};

/// One of the two kinds of files below.
Result<std::unique_ptr<CheckpointWriter>> create_file_writer(const WriterInputs& inputs,
                                                             bool compress, std::vector<bool> plain,
                                                             ParallelFor& threads);

/// Errors of both: those of SafetensorsWriter::create.
Result<std::unique_ptr<CheckpointWriter>> create_plain_writer(const WriterInputs& inputs);

/// @param plain  by tensor of the header: those that are stored as they are; empty: none.
/// Also kInvalidArgument for a tensor that is named like the header in the container.
Result<std::unique_ptr<CheckpointWriter>> create_compressed_writer(const WriterInputs& inputs,
                                                                   std::vector<bool> plain,
                                                                   ParallelFor& threads);

}  // namespace winnow::checkpoint
