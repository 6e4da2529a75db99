#include "console.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "winnow/io/env.h"
#include "winnow/io/escape_name.h"

namespace winnow::cli {

Status print(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  // A full disk or a closed pipe shows when the buffer is written.
  if (written && std::fflush(stdout) == 0) return Status();
  return Status(ErrorCode::kIoError, std::string("standard output: ") + std::strerror(errno));
}

std::string shown(std::string_view typed) { return escape_path(typed); }

Status with_output_hint(const Status& status, const std::string& output) {
  const StatusCode code = status.code();
  const char* hint = "";
  const Result<FileInfo> info = Env::posix().info(output);
  if (info.ok() && info->kind == FileKind::kDirectory) {  // what is in it is never replaced
    if (code == ErrorCode::kSameFile) hint = " (--in-place replaces its shards)";
  } else if (code == ErrorCode::kAlreadyExists || code == ErrorCode::kSameFile) {
    hint = " (--overwrite replaces it)";
  } else if (code == ErrorCode::kNamedByHash) {
    hint = " (--overwrite --overwrite-blob replaces it all the same)";
  }
  return Status(code, std::string(status.message()) + hint);
}

void complain(std::string_view message) {
  // One write for the whole line, so that other processes do not write into it.
  const std::string line = "winnow: " + std::string(message) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace winnow::cli
