// A strict reader of safetensors files. No byte of a file is trusted; every way to be malformed has
// an error code of its own (base/status.h), and docs/safetensors.md lists where this reader is
// stricter than the reference implementation.
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

namespace winnow {

/// One tensor of a file.
struct TensorInfo {
  std::string name;  ///< any text, NUL and slashes included: never a path, escape it to show it
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;  ///< at most 64 dimensions; empty for a scalar
  uint64_t begin = 0;           ///< byte offset of the first element in the data section
  uint64_t end = 0;             ///< byte offset past the last element

  uint64_t bytes() const noexcept { return end - begin; }
  uint64_t numel() const noexcept;
};

using Metadata = std::vector<std::pair<std::string, std::string>>;

/// A validated header. Immutable, so safe to share between threads.
class SafetensorsHeader {
 public:
  /// Parses and checks a header's text against the size of the data that follows it. Linear time;
  /// memory at most 3 times the text plus 64 MiB.
  static Result<SafetensorsHeader> parse(std::string text, uint64_t data_bytes);

  /// In the order of the header's text.
  std::span<const TensorInfo> tensors() const noexcept { return tensors_; }

  /// The entries of `__metadata__` in their order; empty where there is none.
  const Metadata& metadata() const noexcept { return metadata_; }

  /// The header as it stands in the file.
  std::string_view text() const noexcept { return text_; }

  /// This header's text with `metadata` in the place of `__metadata__` (put first where there was
  /// none), every other byte kept, padded with spaces to a multiple of 8 bytes.
  std::string text_with_metadata(const Metadata& metadata) const;

 private:
  std::string text_;
  std::vector<TensorInfo> tensors_;
  Metadata metadata_;
  size_t metadata_begin_ = 0;  // where the value of __metadata__ stands in text_; 0, 0: nowhere
  size_t metadata_end_ = 0;
};

}  // namespace winnow
