#include "winnow/io/input_file.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow {
namespace {

Status changed(const std::string& name, std::string_view how) {
  return {ErrorCode::kInputChanged, concat("\"", name, "\" ", how, " while it was read")};
}

}  // namespace

Result<InputFile> InputFile::open(Env& env, const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(std::unique_ptr<RandomAccessFile> file, env.open_for_read(path));
  return open(std::move(file), path);
}

Result<InputFile> InputFile::open(std::unique_ptr<RandomAccessFile> file, const std::string& name) {
  InputFile out;
  out.name_ = escape_path(name);
  WINNOW_ASSIGN_OR_RETURN(out.identity_, file->identity());
  out.file_ = std::move(file);
  return out;
}

Status InputFile::read(uint64_t offset, std::span<std::byte> out) const {
  WINNOW_ASSIGN_OR_RETURN(const size_t bytes, file_->read_at(offset, out));
  return bytes == out.size() ? Status() : changed(name_, "was cut short");
}

Result<std::string> InputFile::read_front(uint64_t most) const {
  std::string front(std::min(size(), most), '\0');
  WINNOW_RETURN_IF_ERROR(read(0, std::as_writable_bytes(std::span(front))));
  return front;
}

Status InputFile::check_unchanged() const {
  WINNOW_ASSIGN_OR_RETURN(const FileIdentity now, file_->identity());
  return now == identity_ ? Status() : changed(name_, "was changed");
}

Status InputFile::named(const Status& status) const {
  // The messages of these two name the file themselves.
  const bool is_own =
      status.code() == ErrorCode::kIoError || status.code() == ErrorCode::kInputChanged;
  return is_own ? status : status.with_context(name_);
}

}  // namespace winnow
