// Private: the index of a checkpoint in shards, as Hugging Face's libraries write it:
//
//     {"metadata": {"total_size": 123}, "weight_map": {"emb.weight":
//     "model-00001-of-00002.safetensors"}}
//
// What winnow does to tensors changes neither their names nor the sizes that they have in memory,
// which is what `total_size` means. So an index is carried byte for byte, unless it lists the parts
// of weights that become dense (bitmask/dense_folder.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/checkpoint/error_codes.h"
#include "winnow/io/env.h"
#include "winnow/io/input_file.h"

namespace winnow::checkpoint {

inline constexpr size_t kMaxIndexBytes = 100'000'000;  ///< as for the header of a file
inline constexpr size_t kMaxShards = 4096;             ///< each is an open file

/// Ends the name of every index.
inline constexpr std::string_view kIndexSuffix = ".safetensors.index.json";

/// 'NAME', made safe to show.
std::string in_quotes(std::string_view name);

/// A tensor, and the shard that holds it.
struct IndexEntry {
  std::string tensor;
  uint32_t shard = 0;  ///< index into ShardIndex::shards
};

/// What an index says.
struct ShardIndex {
  std::vector<std::string> shards;  ///< names of files, sorted, each once
  std::vector<IndexEntry> entries;  ///< sorted by the tensor's name
  /// In bytes, as the index has it: a number, or the digits of one in a string. Writers disagree on
  /// what they count, so it is compared with nothing.
  std::optional<uint64_t> total_size;

  /// Null if the index does not list the tensor. O(log n).
  const IndexEntry* find(std::string_view tensor) const noexcept;
};

/// Parses and checks the text of an index. Keys that are not known are ignored, with all that is in
/// them. Linear time but for sorting; memory at most 4 times the text plus 1 MiB. Errors: the codes
/// of ShardError up to kTooManyShards; of several faults the first of the text.
Result<ShardIndex> parse_shard_index(std::string_view text);

/// The same of an open file, or of the file at `path`. Also InputFile's errors; messages name the
/// file.
Result<ShardIndex> read_shard_index(const InputFile& file);
Result<ShardIndex> read_shard_index(Env& env, const std::string& path);

}  // namespace winnow::checkpoint
