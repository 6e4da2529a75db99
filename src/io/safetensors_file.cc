#include <array>
#include <new>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "io/concat.h"
#include "io/header_checks.h"
#include "io/header_length.h"
#include "winnow/io/env.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/safetensors.h"

namespace winnow {
namespace {

Status changed(const std::string& path, std::string_view how) {
  return {ErrorCode::kInputChanged,
          io::concat("\"", escape_path(path), "\" ", how, " while it was read")};
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
  Result<uint64_t> length = io::header_length(length_bytes, file_bytes);
  if (!length.ok()) return length.status().with_context(escape_path(path));
  std::string text(*length, '\0');
  WINNOW_RETURN_IF_ERROR(
      read_fully(file, path, io::kLengthBytes, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(Env& env, const std::string& path) try {
  SafetensorsFile out;
  out.path_ = path;
  WINNOW_ASSIGN_OR_RETURN(out.file_, env.open_for_read(path));
  WINNOW_ASSIGN_OR_RETURN(out.identity_, out.file_->identity());
  const uint64_t file_bytes = out.identity_.size;
  WINNOW_ASSIGN_OR_RETURN(std::string text, read_header(*out.file_, path, file_bytes));
  out.data_start_ = io::kLengthBytes + text.size();
  Result<SafetensorsHeader> header =
      SafetensorsHeader::parse(std::move(text), file_bytes - out.data_start_);
  if (!header.ok()) return header.status().with_context(escape_path(path));
  out.header_ = std::move(header).value();
  return out;
} catch (const std::bad_alloc&) {
  return Status(ErrorCode::kOutOfMemory, "not enough memory for the header");
}

Status SafetensorsFile::read(const TensorInfo& tensor, uint64_t offset_in_tensor,
                             std::span<std::byte> out) const {
  if (offset_in_tensor > tensor.bytes() || out.size() > tensor.bytes() - offset_in_tensor) {
    return {ErrorCode::kInvalidArgument,
            io::concat(io::shown(tensor), " has ", tensor.bytes(), " bytes, asked for ", out.size(),
                       " from ", offset_in_tensor, " on")};
  }
  return read_fully(*file_, path_, data_start_ + tensor.begin + offset_in_tensor, out);
}

Status SafetensorsFile::check_unchanged() const {
  WINNOW_ASSIGN_OR_RETURN(const FileIdentity now, file_->identity());
  return now == identity_ ? Status() : changed(path_, "was changed");
}

}  // namespace winnow
