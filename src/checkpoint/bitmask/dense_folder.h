// Private: what a folder says of weights in compressed-tensors' sparse formats, besides its shards.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/shards/sharded_reader.h"
#include "winnow/base/status.h"

namespace winnow::checkpoint {

/// A file of a folder, and what it has to say there.
struct RewrittenFile {
  std::string name, text;
};

/// The files of `set`'s folder that have to change once its weights are dense; `input` reads the
/// set. None if no weight is made of parts. Else, in this order:
///
/// - config.json, without `sparsity_config`;
/// - the index, if it lists the parts of a weight: with P.weight in the place of P.compressed and
///   without the other parts, and with the size of the dense tensors as `total_size`, if it has
///   one. All other bytes are kept.
///
/// Reads both files; memory a few times their size. kSparsityConfig: see without_sparsity_config;
/// kInputChanged: the index is not the one that `input` has read. Else errors of reading and of
/// parse_shard_index. The messages name the file.
Result<std::vector<RewrittenFile>> rewritten_files(Env& env, const CheckpointReader& input,
                                                   const ShardSet& set);

}  // namespace winnow::checkpoint
