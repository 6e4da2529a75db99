#include "checkpoint/files/checkpoint_writer.h"

#include "base/status_macros.h"
#include "checkpoint/chunks.h"

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

}  // namespace

Result<std::unique_ptr<CheckpointWriter>> create_writer(const OutputJob& job) {
  const std::string text = job.input.header_text(job.entries);
  const WriterInputs inputs{job.env, job.path, text, job.input.data_bytes(), job.options};
  Result<std::unique_ptr<CheckpointWriter>> writer =
      job.compress ? create_compressed_writer(inputs, job.plain, job.threads)
                   : create_plain_writer(inputs);
  if (!writer.ok()) return told_from_input(writer.status(), job);
  return writer;
}

Status check_output(const OutputJob& job) {
  return told_from_input(AtomicFile::check(job.env, job.path, job.options), job);
}

uint64_t plain_output_bytes(const OutputJob& job) {
  return sizeof(uint64_t) + job.input.header_text(job.entries).size() + job.input.data_bytes();
}

}  // namespace winnow::checkpoint
