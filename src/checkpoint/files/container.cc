#include "checkpoint/files/container.h"

#include <zstd.h>

#include <algorithm>
#include <numeric>

#include "winnow/base/concat.h"
#include "winnow/sparse/error_codes.h"

namespace winnow::checkpoint {
namespace {

constexpr size_t kAlignment = 8;  // of the tensors that follow
constexpr int kHeaderLevel = 9;   // headers are small, and much alike from line to line

}  // namespace

bool is_container(const Metadata& metadata) noexcept {
  return std::any_of(metadata.begin(), metadata.end(),
                     [](const auto& entry) { return entry.first == kCompressedKey; });
}

TensorInfo compressed_entry(const TensorInfo& tensor, uint64_t bytes) {
  TensorInfo entry{.name = tensor.name, .dtype = DType::kU8, .shape = {}};
  entry.shape.assign(tensor.shape.size(), 1);
  entry.shape.push_back(bytes);
  return entry;
}

Metadata with_entries(Metadata metadata, const Metadata& added) {
  for (const auto& [key, value] : added) {
    const auto known = std::find_if(metadata.begin(), metadata.end(),
                                    [&](const auto& entry) { return entry.first == key; });
    if (known != metadata.end()) {
      known->second = value;
    } else {
      metadata.emplace_back(key, value);
    }
  }
  return metadata;
}

std::string text_with_entries(const SafetensorsHeader& header, const Metadata& added) {
  if (added.empty()) return std::string(header.text());
  return header.text_with_metadata(with_entries(header.metadata(), added));
}

Result<std::vector<std::byte>> pack_header(std::string_view text) {
  std::vector<std::byte> packed(ZSTD_compressBound(text.size()));
  ZSTD_CCtx* context = ZSTD_createCCtx();
  if (context == nullptr) return Status(ErrorCode::kOutOfMemory, "not enough memory for zstd");
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, kHeaderLevel);
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  const size_t size =
      ZSTD_compress2(context, packed.data(), packed.size(), text.data(), text.size());
  ZSTD_freeCCtx(context);
  if (ZSTD_isError(size)) return Status(ErrorCode::kOutOfMemory, ZSTD_getErrorName(size));
  packed.resize(size);
  packed.resize((size + kAlignment - 1) / kAlignment * kAlignment);
  return packed;
}

Result<std::string> unpack_header(std::span<const std::byte> packed) {
  const unsigned long long size = ZSTD_getFrameContentSize(packed.data(), packed.size());
  const size_t frame = ZSTD_findFrameCompressedSize(packed.data(), packed.size());
  const bool is_frame = size > 0 && size <= kMaxHeaderBytes && !ZSTD_isError(frame);
  const auto is_set = [](std::byte byte) { return byte != std::byte{0}; };
  if (!is_frame || packed.size() - frame >= kAlignment ||
      std::any_of(packed.begin() + static_cast<ptrdiff_t>(frame), packed.end(), is_set)) {
    return Status(SparseError::kSparseContainer,
                  concat("'", kHeaderName, "': expected one zstd frame of a header"));
  }
  std::string text(size, '\0');
  const size_t found = ZSTD_decompress(text.data(), text.size(), packed.data(), frame);
  if (found == text.size()) return text;
  return Status(SparseError::kSparseStream,
                concat("'", kHeaderName, "': ",
                       ZSTD_isError(found) ? ZSTD_getErrorName(found) : "a frame of another size"));
}

std::vector<size_t> data_order(std::span<const TensorInfo> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(tensors[a].begin, tensors[a].end) <
           std::pair(tensors[b].begin, tensors[b].end);
  });
  return order;
}

uint64_t row_of(const TensorInfo& tensor) noexcept {
  return tensor.shape.empty() ? 1 : std::max<uint64_t>(1, tensor.shape.back());
}

}  // namespace winnow::checkpoint
