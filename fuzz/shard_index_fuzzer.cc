// Any bytes as the index of a checkpoint in shards. What is accepted names files in one folder, and
// says of each tensor once where it is.
//
//   python3 fuzz/shard_index_seeds.py seeds
//   shard_index_fuzzer -dict=fuzz/shard_index_fuzzer.dict -timeout=5 corpus seeds
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/shards/shard_index.h"
#include "winnow/io/file_name.h"
#include "winnow/io/safetensors.h"

namespace {

using winnow::Result;
using winnow::Status;
using winnow::checkpoint::IndexEntry;
using winnow::checkpoint::parse_shard_index;
using winnow::checkpoint::ShardIndex;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_message(const Status& status) {
  require(!status.message().empty());
  require(status.code().number >= 300 && status.code().number < 400);
  for (const char c : status.message()) require(static_cast<uint8_t>(c) >= 0x20);
}

void check_shards(const ShardIndex& index) {
  require(!index.shards.empty());
  require(index.shards.size() <= winnow::checkpoint::kMaxShards);
  for (size_t i = 0; i < index.shards.size(); ++i) {
    require(winnow::check_file_name(index.shards[i]).ok());
    require(i == 0 || index.shards[i - 1] < index.shards[i]);
  }
}

void check_entries(const ShardIndex& index) {
  std::vector<bool> used(index.shards.size());
  for (size_t i = 0; i < index.entries.size(); ++i) {
    const IndexEntry& entry = index.entries[i];
    require(i == 0 || index.entries[i - 1].tensor < entry.tensor);
    require(entry.tensor.size() <= winnow::kMaxNameBytes);
    require(index.find(entry.tensor) == &entry);
    used.at(entry.shard) = true;
  }
  require(std::find(used.begin(), used.end(), false) == used.end());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Result<ShardIndex> index =
      parse_shard_index(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!index.ok()) {
    check_message(index.status());
    return 0;
  }
  check_shards(*index);
  check_entries(*index);
  return 0;
}
