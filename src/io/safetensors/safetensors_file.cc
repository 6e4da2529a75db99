#include <algorithm>
#include <array>
#include <new>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "io/file/file_kind.h"
#include "io/safetensors/header_checks.h"
#include "io/safetensors/header_text.h"
#include "winnow/base/concat.h"
#include "winnow/io/input_file.h"
#include "winnow/io/safetensors.h"

namespace winnow {
namespace {

Result<std::string> read_header(const InputFile& file) {
  std::array<std::byte, io::kLengthBytes> length_bytes{};
  // header_length refuses shorter files, with a code of their own.
  if (file.size() >= length_bytes.size()) WINNOW_RETURN_IF_ERROR(file.read(0, length_bytes));
  WINNOW_ASSIGN_OR_RETURN(const uint64_t length, io::header_length(length_bytes, file.size()));
  // Checked against the size of the file by now, so this is no mere claim.
  std::string text(length, '\0');
  WINNOW_RETURN_IF_ERROR(file.read(io::kLengthBytes, std::as_writable_bytes(std::span(text))));
  return text;
}

Result<SafetensorsHeader> parse_header(const InputFile& file) try {
  WINNOW_ASSIGN_OR_RETURN(std::string text, read_header(file));
  const uint64_t data_bytes = file.size() - io::kLengthBytes - text.size();
  return SafetensorsHeader::parse(std::move(text), data_bytes);
} catch (const std::bad_alloc&) {
  return Status(ErrorCode::kOutOfMemory, "not enough memory for the header");
}

// `status`, with a look at what kind of file it is that could not be read.
Status explained(const Status& status, const InputFile& file) {
  std::array<std::byte, io::kFrontBytes> buffer{};
  const auto front = std::span(buffer).first(std::min<uint64_t>(buffer.size(), file.size()));
  return file.read(0, front).ok() ? io::with_file_kind(status, front) : status;
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(Env& env, const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(InputFile file, InputFile::open(env, path));
  Result<SafetensorsHeader> header = parse_header(file);
  // Only if it failed: a look at the front costs a read.
  if (!header.ok()) return file.named(explained(header.status(), file));
  return SafetensorsFile(std::move(file), std::move(header).value());
}

uint64_t SafetensorsFile::data_bytes() const noexcept {
  return file_.size() - io::kLengthBytes - header_.text().size();
}

Status SafetensorsFile::read(const TensorInfo& tensor, uint64_t offset_in_tensor,
                             std::span<std::byte> out) const {
  // By a difference: the sum of the two could wrap.
  if (offset_in_tensor > tensor.bytes() || out.size() > tensor.bytes() - offset_in_tensor) {
    return {ErrorCode::kInvalidArgument,
            concat(file_.name(), ": ", io::shown(tensor), " has ", tensor.bytes(),
                   " bytes, asked for ", out.size(), " from ", offset_in_tensor, " on")};
  }
  const uint64_t data_start = file_.size() - data_bytes();
  return file_.read(data_start + tensor.begin + offset_in_tensor, out);
}

}  // namespace winnow
