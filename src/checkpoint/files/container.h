// Private: the names and rules of a file of compressed tensors. It is a safetensors file:
//
//     __metadata__        "winnow.compressed": "1", "winnow.bytes": the size of the file that comes
//                         out, "winnow.zstd": the version of libzstd
//     __winnow_header__   U8 [bytes]: the header of the file that was compressed, one zstd frame
//     NAME                a tensor as it was, or U8 [1, ..., 1, bytes], of one dimension more than
//                         it had, which is compressed
//
// The tensors are those of the old header, in the order of their data. One dimension more: a loader
// that takes a compressed tensor for an ordinary one finds another shape, whatever the model is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/io/safetensors.h"

namespace winnow::checkpoint {

inline constexpr std::string_view kCompressedKey = "winnow.compressed";
inline constexpr std::string_view kBytesKey = "winnow.bytes";
inline constexpr std::string_view kZstdKey = "winnow.zstd";
inline constexpr std::string_view kCompressedVersion = "1";
inline constexpr std::string_view kHeaderName = "__winnow_header__";

/// Whether the metadata say that the file is one of compressed tensors.
bool is_container(const Metadata& metadata) noexcept;

/// The entry of a tensor that takes `bytes` compressed; offsets are left at 0.
TensorInfo compressed_entry(const TensorInfo& tensor, uint64_t bytes);

/// `metadata` with the entries of `added`: in the place of older ones, or at the end.
Metadata with_entries(Metadata metadata, const Metadata& added);

/// The header's text with the entries of `added` set in its metadata; see
/// CheckpointReader::header_text.
std::string text_with_entries(const SafetensorsHeader& header, const Metadata& added);

/// The header's text as it is stored, and the reverse.
Result<std::vector<std::byte>> pack_header(std::string_view text);
Result<std::string> unpack_header(std::span<const std::byte> packed);

/// The tensors of a header, by the order of their data; those without data keep the header's order.
std::vector<size_t> data_order(std::span<const TensorInfo> tensors);

/// The values in a row: the last dimension.
uint64_t row_of(const TensorInfo& tensor) noexcept;

}  // namespace winnow::checkpoint
