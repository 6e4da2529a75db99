// Private: the pickle of a torch archive, read as data and written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/torch_value.h"

namespace winnow::io {

/// The contents of a pickle. tree.check(storages) holds, and nothing is unreachable from the root.
struct PickleContent {
  TorchTree tree;
  std::vector<TorchStorage> storages;  ///< in ascending order of their numbers
  std::vector<uint64_t> numbers;       ///< N of the record data/N, for each
};

/// Nothing is called and nothing recurses; memory is bounded (winnow/io/torch_archive.h). Messages
/// name the opcode and its offset; codes are kPickle..., kStorage..., kTensor... and kSparse....
Result<PickleContent> read_pickle(std::span<const std::byte> pickle);

/// The pickle of a tree over `storages`: protocol 2, each shared node once. That `read_pickle`
/// takes it is not checked. Errors: those of TorchTree::check.
Result<std::string> write_pickle(const TorchTree& tree, std::span<const TorchStorage> storages);

}  // namespace winnow::io
