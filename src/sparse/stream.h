// Private: a run of bytes in its smallest form.
//
//     stream   coder (1 byte), stored size (4 bytes), stored bytes
//     coder 0  the bytes as they are
//     coder 1  one byte, which is repeated
//     coder 2  one frame of zstd
//
// How many bytes come out is not in the stream: the reader knows it from what the stream is for, so
// that no length in a file decides how much memory is taken.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "sparse/bytes.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace winnow::sparse {

enum class StreamCoder : uint8_t { kStored = 0, kRepeated = 1, kZstd = 2 };

/// What is known of the bytes of a stream.
enum class StreamContent : uint8_t {
  kSymbols,   ///< some are more frequent than others; repeated strings are not worth a search
  kPatterns,  ///< strings may repeat, as positions of blocks do
};

/// Writes streams. Equal bytes give equal streams, whatever was written before.
/// Not thread-safe; keeps one context of libzstd (about 1 MiB).
class StreamWriter {
 public:
  StreamWriter();  ///< throws std::bad_alloc
  void append(std::span<const uint8_t> raw, StreamContent content, Bytes& out);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const noexcept;
  };
  enum class Effort : uint8_t { kHuffman, kMatches };

  // Appends a frame to `out` if it is smaller than `limit` bytes; returns its size, else `limit`.
  size_t try_zstd(std::span<const uint8_t> raw, Effort effort, size_t limit, Bytes& frame);

  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
  Bytes frames_[2];
};

/// Reads streams. Not thread-safe.
class StreamReader {
 public:
  StreamReader();  ///< throws std::bad_alloc

  /// Takes the next stream from `from`, which stands for `size` bytes. Those are in `scratch`, or
  /// still in the bytes of `from` if they are stored as they are.
  /// Errors: kTruncated, kUnknownKind, kStream.
  Result<std::span<const uint8_t>> read(ByteReader& from, size_t size, Bytes& scratch);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const noexcept;
  };
  Status decode_frame(std::span<const uint8_t> frame, std::span<uint8_t> out);

  std::unique_ptr<ZSTD_DCtx_s, Free> context_;
};

/// An estimate of the bits that a byte of `raw` is worth: the entropy of a part of them.
double sampled_entropy(std::span<const uint8_t> raw) noexcept;

}  // namespace winnow::sparse
