// Private: reads the pickle of a torch archive as data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/torch_value.h"

namespace winnow::io {

/// What a pickle holds. tree.check(storages) holds, and nothing is unreachable from the root.
struct PickleContent {
  TorchTree tree;
  std::vector<TorchStorage> storages;  ///< in ascending order of their numbers
  std::vector<uint64_t> numbers;       ///< N of the record data/N, for each
};

/// Nothing is called and nothing recurses; memory is bounded (winnow/io/torch_archive.h). Messages
/// name the opcode and its offset; codes are kPickle..., kStorage..., kTensor... and kSparse....
Result<PickleContent> read_pickle(std::span<const std::byte> pickle);

}  // namespace winnow::io
