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
  std::vector<bool> opaque_uses;       ///< for each: whether an opaque value refers to it
  /// The numbers of storages of types that are not known, in ascending order. Only opaque values
  /// refer to them.
  std::vector<uint64_t> unknown_numbers;
};

/// With `keep_unknown`, what plain data do not have becomes an opaque value, see TorchOpenOptions.
/// Nothing is called and nothing recurses; memory is bounded (winnow/io/torch_archive.h). Messages
/// name the opcode and its offset; codes are kPickle..., kStorage..., kTensor... and kSparse....
Result<PickleContent> read_pickle(std::span<const std::byte> pickle, bool keep_unknown = false);

/// The pickle of a tree over `storages`: protocol 2, each shared node once. That `read_pickle`
/// takes it is not checked. Errors: those of TorchTree::check; kInvalidArgument for an Opaque.
Result<std::string> write_pickle(const TorchTree& tree, std::span<const TorchStorage> storages);

}  // namespace winnow::io
