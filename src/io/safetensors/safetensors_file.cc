#include <array>
#include <new>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "io/file/file_kind.h"
#include "io/safetensors/header_checks.h"
#include "io/safetensors/header_text.h"
#include "winnow/base/concat.h"
#include "winnow/io/env.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/safetensors.h"

namespace winnow {
namespace {

Status changed(const std::string& path, std::string_view how) {
  return {ErrorCode::kInputChanged,
          concat("\"", escape_path(path), "\" ", how, " while it was read")};
}

// Fills `out`; the file was long enough when it was opened.
Status read_fully(const RandomAccessFile& file, const std::string& path, uint64_t offset,
                  std::span<std::byte> out) {
  WINNOW_ASSIGN_OR_RETURN(const size_t bytes, file.read_at(offset, out));
  return bytes == out.size() ? Status() : changed(path, "was cut short");
}

Result<std::string> read_header(const RandomAccessFile& file, const std::string& path,
                                uint64_t file_bytes) {
  std::array<std::byte, io::kLengthBytes> length_bytes{};
  if (file_bytes >= length_bytes.size()) {
    WINNOW_RETURN_IF_ERROR(read_fully(file, path, 0, length_bytes));
  }
  WINNOW_ASSIGN_OR_RETURN(const uint64_t length, io::header_length(length_bytes, file_bytes));
  std::string text(length, '\0');
  WINNOW_RETURN_IF_ERROR(
      read_fully(file, path, io::kLengthBytes, std::as_writable_bytes(std::span(text))));
  return text;
}

Result<SafetensorsHeader> parse_header(const RandomAccessFile& file, const std::string& path,
                                       uint64_t file_bytes) {
  WINNOW_ASSIGN_OR_RETURN(std::string text, read_header(file, path, file_bytes));
  const uint64_t data_bytes = file_bytes - io::kLengthBytes - text.size();
  return SafetensorsHeader::parse(std::move(text), data_bytes);
}

// `status`, with a look at what kind of file it is that could not be read.
Status explained(const Status& status, const RandomAccessFile& file) {
  std::array<std::byte, io::kFrontBytes> front{};
  const Result<size_t> bytes = file.read_at(0, front);
  return bytes.ok() ? io::with_file_kind(status, std::span(front).first(*bytes)) : status;
}

// The system's errors name the file already.
Status named(const Status& status, const std::string& path) {
  const bool is_named =
      status.code() == ErrorCode::kIoError || status.code() == ErrorCode::kInputChanged;
  return is_named ? status : status.with_context(escape_path(path));
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(Env& env, const std::string& path) try {
  SafetensorsFile out;
  out.path_ = path;
  WINNOW_ASSIGN_OR_RETURN(out.file_, env.open_for_read(path));
  WINNOW_ASSIGN_OR_RETURN(out.identity_, out.file_->identity());
  const uint64_t file_bytes = out.identity_.size;
  Result<SafetensorsHeader> header = parse_header(*out.file_, path, file_bytes);
  if (!header.ok()) return named(explained(header.status(), *out.file_), path);
  out.header_ = std::move(header).value();
  out.data_start_ = io::kLengthBytes + out.header_.text().size();
  return out;
} catch (const std::bad_alloc&) {
  return Status(ErrorCode::kOutOfMemory, "not enough memory for the header");
}

Status SafetensorsFile::read(const TensorInfo& tensor, uint64_t offset_in_tensor,
                             std::span<std::byte> out) const {
  if (offset_in_tensor > tensor.bytes() || out.size() > tensor.bytes() - offset_in_tensor) {
    return {ErrorCode::kInvalidArgument,
            concat(io::shown(tensor), " has ", tensor.bytes(), " bytes, asked for ", out.size(),
                   " from ", offset_in_tensor, " on")};
  }
  return read_fully(*file_, path_, data_start_ + tensor.begin + offset_in_tensor, out);
}

Status SafetensorsFile::check_unchanged() const {
  WINNOW_ASSIGN_OR_RETURN(const FileIdentity now, file_->identity());
  return now == identity_ ? Status() : changed(path_, "was changed");
}

}  // namespace winnow
