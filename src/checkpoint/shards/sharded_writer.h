// Private: writes a checkpoint that is a folder, shard by shard.
#pragma once

#include <memory>

#include "checkpoint/files/checkpoint_writer.h"
#include "checkpoint/shards/sharded_reader.h"

namespace winnow::checkpoint {

/// Writes the shards of `job.input`, whose files are `set`, under their names into the new folder
/// `job.path`. Its index and the files that companions_of says are carried byte for byte, those of
/// subdirectories too, but for rewritten_files. The folder appears whole or not at all.
///
/// A compressed shard that would not be smaller is a copy of the input's, if `job.same_values`.
/// Errors: those of companions_of, of rewritten_files and of AtomicDirectory::create.
Result<std::unique_ptr<CheckpointWriter>> create_folder_writer(const OutputJob& job,
                                                               const ShardSet& set);

/// Replaces the shards of `job.input` where they are: all of them or none, see AtomicFileSet, whose
/// errors it has. Nothing else in the folder changes, but for rewritten_files, whose errors it has
/// too.
Result<std::unique_ptr<CheckpointWriter>> create_in_place_writer(const OutputJob& job,
                                                                 const ShardSet& set);

}  // namespace winnow::checkpoint
