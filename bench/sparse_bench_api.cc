// Compression as plain C functions, for bench/compressed_files.py: the same process then also runs
// the other codecs.
#include <cstring>

#include "calls.h"
#include "winnow/sparse/compressed_tensor.h"

using winnow::bench::dtype_of;
using winnow::bench::seconds_of;
using winnow::bench::threads_of;

extern "C" {

struct WinnowBenchTensor {
  int64_t bytes;    // of the values
  int64_t row;      // values in a row
  int32_t dtype;    // see dtype_of
  int32_t threads;  // 1 or 2
};

// Seconds of compress_values, or a negative number where it failed or `capacity` bytes are too few.
// The copy to `out`, of *out_bytes bytes, is not part of them.
__attribute__((visibility("default"))) double winnow_bench_compress(const WinnowBenchTensor* t,
                                                                    const void* values, void* out,
                                                                    int64_t capacity,
                                                                    int64_t* out_bytes) {
  const std::span content(static_cast<const std::byte*>(values), static_cast<size_t>(t->bytes));
  winnow::Result<std::vector<std::byte>> compressed = std::vector<std::byte>();
  const double seconds = seconds_of([&] {
    compressed = winnow::compress_values(content, dtype_of(t->dtype), static_cast<uint64_t>(t->row),
                                         threads_of(t->threads));
  });
  if (!compressed.ok() || compressed->size() > static_cast<size_t>(capacity)) return -1;
  std::memcpy(out, compressed->data(), compressed->size());
  *out_bytes = static_cast<int64_t>(compressed->size());
  return seconds;
}

// Seconds of decompress_values into out[0, t->bytes), or a negative number where it failed.
__attribute__((visibility("default"))) double winnow_bench_decompress(const WinnowBenchTensor* t,
                                                                      const void* compressed,
                                                                      int64_t compressed_bytes,
                                                                      void* out) {
  const std::span content(static_cast<const std::byte*>(compressed),
                          static_cast<size_t>(compressed_bytes));
  const std::span values(static_cast<std::byte*>(out), static_cast<size_t>(t->bytes));
  winnow::Status status;
  const double seconds = seconds_of([&] {
    status = winnow::decompress_values(content, dtype_of(t->dtype), values, threads_of(t->threads));
  });
  return status.ok() ? seconds : -1;
}
}
