// A strict reader of safetensors files. No byte of a file is trusted; every way to be malformed has
// an error code of its own (io/error_codes.h), and docs/safetensors.md lists where this reader is
// stricter than the reference implementation.
//
//   Result<SafetensorsFile> file = SafetensorsFile::open(Env::posix(), "model.safetensors");
//   if (!file.ok()) return file.status();
//   for (const TensorInfo& tensor : file->header().tensors()) {
//     std::vector<std::byte> bytes(tensor.bytes());
//     WINNOW_RETURN_IF_ERROR(file->read(tensor, 0, bytes));
//   }
//   return file->check_unchanged();
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "winnow/base/dtype.h"
#include "winnow/base/status.h"
#include "winnow/io/env.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/input_file.h"

namespace winnow {

inline constexpr size_t kMaxHeaderBytes = 100'000'000;  ///< the reference's limit
inline constexpr size_t kMaxRank = 64;                  ///< PyTorch's limit
inline constexpr size_t kMaxNameBytes = 64 << 10;
inline constexpr size_t kMaxStringBytes = 8 << 20;  ///< of any string, as it stands in the header
inline constexpr size_t kMaxMetadataEntries = 1 << 18;

/// One tensor of a file.
struct TensorInfo {
  std::string name;  ///< any text, NUL and slashes included: never a path; escape_name shows it
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;  ///< at most 64 dimensions; empty for a scalar
  uint64_t begin = 0;           ///< byte offset of the first element in the data section
  uint64_t end = 0;             ///< byte offset past the last element

  /// Of its values.
  uint64_t bytes() const noexcept { return end - begin; }

  /// The product of the shape; 1 for a scalar. Of a tensor that passed `parse` it does not wrap,
  /// and neither does the product of any of its dimensions but those that are 0.
  uint64_t numel() const noexcept;
};

/// Calls visit(name, value) for each thing that reports say of a tensor.
template <typename Visit>
void visit_fields(const TensorInfo& tensor, const Visit& visit) {
  visit("name", tensor.name);
  visit("dtype", dtype_name(tensor.dtype));
  visit("shape", tensor.shape);
  visit("values", tensor.numel());
  visit("bytes", tensor.bytes());
}

/// The entries of `__metadata__`: key and value.
using Metadata = std::vector<std::pair<std::string, std::string>>;

/// A validated header. Immutable, so safe to share between threads.
class SafetensorsHeader {
 public:
  /// Parses and checks a header's text against the size of the data that follows it. Linear time
  /// except for sorting names and offsets; memory besides the text at most 3 times the text plus 96
  /// MiB.
  ///
  /// Of several faults the first in this order is reported: those of the bytes (encoding), those of
  /// the text from front to back, each tensor's own arithmetic at the end of its entry, names that
  /// occur twice, and last the layout of the data section.
  static Result<SafetensorsHeader> parse(std::string text, uint64_t data_bytes);

  /// The same for a whole file in memory; the data is not looked at, only its size.
  static Result<SafetensorsHeader> parse_image(std::span<const std::byte> file);

  /// In the order of the header's text.
  std::span<const TensorInfo> tensors() const noexcept { return tensors_; }

  /// The entries of `__metadata__` in their order; empty if there is none, or if it is null.
  const Metadata& metadata() const noexcept { return metadata_; }

  /// The header as it stands in the file.
  std::string_view text() const noexcept { return text_; }

  /// This header's text with `metadata` in the place of `__metadata__` (put first if there was
  /// none), every other byte kept, padded with spaces to a multiple of 8 bytes.
  ///
  /// The result parses again, to the same tensors and to `metadata`, unless it is over the limit of
  /// 100,000,000 bytes: of equal keys only the last is written, and bytes that are not UTF-8 become
  /// U+FFFD. If there is no `__metadata__` and `metadata` is empty, none is added. A null in the
  /// place of `__metadata__` becomes an object.
  std::string text_with_metadata(const Metadata& metadata) const;

 private:
  std::string text_;
  std::vector<TensorInfo> tensors_;
  Metadata metadata_;
  size_t metadata_begin_ = 0;  // where the value of __metadata__ stands in text_; 0, 0: nowhere
  size_t metadata_end_ = 0;
};

/// An open safetensors file whose header was checked against the file's size. Movable; const
/// members may be called from several threads at once.
class SafetensorsFile {
 public:
  /// Opens and checks `path`; symbolic links are followed. Reads the header only.
  ///
  /// kIoError: it cannot be opened or read. kUnsupportedFile: a directory, FIFO, device or dangling
  /// link (never blocks). kInputChanged: it was cut short meanwhile. Else a code of the malformed
  /// kinds. Messages start with the path. `env` outlives the object.
  static Result<SafetensorsFile> open(Env& env, const std::string& path);

  const SafetensorsHeader& header() const noexcept { return header_; }

  /// The file as it was when opened.
  const FileIdentity& identity() const noexcept { return file_.identity(); }

  /// Of the data section, which is the end of the file.
  uint64_t data_bytes() const noexcept;

  /// Fills `out` with the tensor's bytes from `offset_in_tensor` on. `tensor` is one of header()'s.
  ///
  /// kInvalidArgument: the range leaves the tensor; nothing is read. kInputChanged: the file got
  /// shorter. kIoError: the read failed. After an error the content of `out` is unspecified.
  Status read(const TensorInfo& tensor, uint64_t offset_in_tensor, std::span<std::byte> out) const;

  /// kInputChanged if the file's size, times or identity differ from those at `open`. What was
  /// read is to be trusted only if this holds after the last read.
  Status check_unchanged() const { return file_.check_unchanged(); }

 private:
  SafetensorsFile(InputFile file, SafetensorsHeader header) noexcept
      : file_(std::move(file)), header_(std::move(header)) {}

  InputFile file_;
  SafetensorsHeader header_;
};

}  // namespace winnow
