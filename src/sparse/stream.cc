// literalCompressionMode is experimental in libzstd, and yet exported since 1.4.
#define ZSTD_STATIC_LINKING_ONLY
#include "sparse/stream.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <new>

#include "base/status_macros.h"

namespace winnow::sparse {
namespace {

constexpr size_t kSample = size_t{1} << 14;
constexpr size_t kSmallest = 24;        // shorter runs do not pay for a frame's header
constexpr double kNoise = 7.95;         // bits a byte; what is above is stored
constexpr double kHuffmanFloor = 0.95;  // Huffman codes have at least one bit a symbol

// A 64th of `a` less is no reason to take the slower decoder of matches.
bool is_clearly_less(size_t b, size_t a) { return b + a / 64 < a; }

void set(ZSTD_CCtx* context, ZSTD_cParameter parameter, int value) {
  const size_t result = ZSTD_CCtx_setParameter(context, parameter, value);
  static_cast<void>(result);
  assert(!ZSTD_isError(result));
}

}  // namespace

double sampled_entropy(std::span<const uint8_t> raw) noexcept {
  std::array<uint32_t, 256> counts{};
  // Whole runs of 64 bytes, evenly spaced, so that the cost does not depend on the size.
  const size_t runs = std::min(kSample / 64, raw.size() / 64);
  const size_t stride = runs == 0 ? 1 : raw.size() / runs;
  size_t total = 0;
  for (size_t r = 0; r < std::max<size_t>(runs, 1); ++r) {
    const size_t begin = r * stride, end = std::min(begin + 64, raw.size());
    for (size_t i = begin; i < end; ++i) ++counts[raw[i]];
    total += end - begin;
  }
  double bits = 0;
  for (const uint32_t count : counts) {
    if (count > 0)
      bits -= count * std::log2(static_cast<double>(count) / static_cast<double>(total));
  }
  return total == 0 ? 0 : bits / static_cast<double>(total);
}

void StreamWriter::Free::operator()(ZSTD_CCtx_s* context) const noexcept { ZSTD_freeCCtx(context); }
void StreamReader::Free::operator()(ZSTD_DCtx_s* context) const noexcept { ZSTD_freeDCtx(context); }

StreamWriter::StreamWriter() : context_(ZSTD_createCCtx()) {
  if (!context_) throw std::bad_alloc();
}

StreamReader::StreamReader() : context_(ZSTD_createDCtx()) {
  if (!context_) throw std::bad_alloc();
}

size_t StreamWriter::try_zstd(std::span<const uint8_t> raw, Effort effort, size_t limit,
                              Bytes& frame) {
  ZSTD_CCtx* context = context_.get();
  ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
  set(context, ZSTD_c_compressionLevel, 1);
  if (effort == Effort::kHuffman) {
    // A search that finds nothing: matches cost more than the skewed symbols that they replace.
    set(context, ZSTD_c_strategy, ZSTD_fast);
    set(context, ZSTD_c_minMatch, 7);
    set(context, ZSTD_c_hashLog, 6);
    set(context, ZSTD_c_targetLength, 131072);
    set(context, ZSTD_c_literalCompressionMode, ZSTD_lcm_huffman);
  }
  frame.resize(ZSTD_compressBound(raw.size()));
  const size_t size = ZSTD_compress2(context, frame.data(), frame.size(), raw.data(), raw.size());
  if (ZSTD_isError(size)) return limit;  // memory ran out: what is stored as it is needs none
  frame.resize(size);
  return std::min(size, limit);
}

void StreamWriter::append(std::span<const uint8_t> raw, StreamContent content, Bytes& out) {
  const auto put = [&](StreamCoder coder, std::span<const uint8_t> bytes) {
    append_number(coder, out);
    append_number(static_cast<uint32_t>(bytes.size()), out);
    out.insert(out.end(), bytes.begin(), bytes.end());
  };
  if (!raw.empty() && std::all_of(raw.begin(), raw.end(), [&](uint8_t b) { return b == raw[0]; })) {
    return put(StreamCoder::kRepeated, raw.first(1));
  }
  const double bits = sampled_entropy(raw);
  const bool patterns = content == StreamContent::kPatterns;
  if (raw.size() < kSmallest || (bits > kNoise && !patterns)) {
    return put(StreamCoder::kStored, raw);
  }
  const size_t huffman = try_zstd(raw, Effort::kHuffman, raw.size(), frames_[0]);
  const size_t matches = patterns || bits < kHuffmanFloor
                             ? try_zstd(raw, Effort::kMatches, raw.size(), frames_[1])
                             : raw.size();
  if (std::min(huffman, matches) >= raw.size()) return put(StreamCoder::kStored, raw);
  put(StreamCoder::kZstd, is_clearly_less(matches, huffman) ? frames_[1] : frames_[0]);
}

Result<std::span<const uint8_t>> StreamReader::read(ByteReader& from, size_t size, Bytes& scratch) {
  WINNOW_ASSIGN_OR_RETURN(const auto coder, from.number<uint8_t>("a stream's coder"));
  WINNOW_ASSIGN_OR_RETURN(const auto stored_size, from.number<uint32_t>("a stream's size"));
  WINNOW_ASSIGN_OR_RETURN(const auto stored, from.take(stored_size, "a stream"));
  if (coder > static_cast<uint8_t>(StreamCoder::kZstd)) {
    return Status(SparseError::kSparseUnknownKind,
                  concat("expected a stream's coder of 0 to 2, found ", coder));
  }
  if (static_cast<StreamCoder>(coder) == StreamCoder::kZstd) {
    scratch.resize(size);
    WINNOW_RETURN_IF_ERROR(decode_frame(stored, scratch));
    return std::span<const uint8_t>(scratch);
  }
  const bool repeated = static_cast<StreamCoder>(coder) == StreamCoder::kRepeated;
  if (stored.size() != (repeated ? 1 : size)) {
    return Status(SparseError::kSparseStream, concat("expected a stream of ", repeated ? 1 : size,
                                                     " stored bytes, found ", stored.size()));
  }
  if (!repeated) return stored;
  scratch.assign(size, stored[0]);
  return std::span<const uint8_t>(scratch);
}

Status StreamReader::decode_frame(std::span<const uint8_t> frame, std::span<uint8_t> out) {
  // One frame, no more: libzstd itself would decode all that follow each other.
  if (ZSTD_findFrameCompressedSize(frame.data(), frame.size()) != frame.size()) {
    return {SparseError::kSparseStream, "expected one zstd frame, found something else"};
  }
  const size_t size =
      ZSTD_decompressDCtx(context_.get(), out.data(), out.size(), frame.data(), frame.size());
  if (size == out.size()) return Status();
  return {SparseError::kSparseStream,
          concat("expected a stream that decodes to ", out.size(), " bytes, found ",
                 ZSTD_isError(size) ? ZSTD_getErrorName(size) : std::to_string(size))};
}

}  // namespace winnow::sparse
