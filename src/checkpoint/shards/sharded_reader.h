// Private: a checkpoint that is a folder: shards with an index, or one file with others beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "winnow/checkpoint/checkpoint_reader.h"

namespace winnow::checkpoint {

/// One file of the checkpoint.
struct Shard {
  std::string name;  ///< in the folder
  std::unique_ptr<CheckpointReader> reader;
  size_t first_tensor = 0;  ///< its place among the tensors of the whole
  uint64_t first_byte = 0;  ///< and among their data
};

/// The files of a checkpoint, in the order in which their tensors are shown.
struct ShardSet {
  std::string directory;
  std::string index;          ///< the name of its index; empty: one file, named by the folder
  std::vector<Shard> shards;  ///< sorted by name

  /// The names of all these files.
  std::vector<std::string> file_names() const;
};

/// Opens the file of one shard, which is no folder: see open_checkpoint.
Result<std::unique_ptr<CheckpointReader>> open_file(Env& env, const std::string& path);

/// Opens the index `name` in `directory` and all its shards. Errors: those of read_shard_index and
/// of open_file, and ShardError's if they do not fit together; the messages name both files.
Result<std::unique_ptr<CheckpointReader>> open_index(Env& env, const std::string& directory,
                                                     const std::string& name);

/// Opens the checkpoint that lies in `directory`. Errors: those of find_checkpoint and of
/// open_index.
Result<std::unique_ptr<CheckpointReader>> open_folder(Env& env, const std::string& directory);

/// Finishes or rolls back what a run that was killed left in the folder at `path`, or in that of an
/// index. Does nothing for other paths. Errors: those of AtomicFileSet::recover.
Status recover_folder(Env& env, const std::string& path);

}  // namespace winnow::checkpoint
