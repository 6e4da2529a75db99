// Private: prune_file and verify_file with given shares of memory instead of job.max_memory, which
// does not go down to the few bytes that tests want: results must not depend on it.
#pragma once

#include "checkpoint/masks/memory_shares.h"
#include "winnow/checkpoint/prune.h"
#include "winnow/checkpoint/verify.h"

namespace winnow::checkpoint {

Result<PruneResult> prune_file_with(Env& env, const PruneJob& job, const MemoryShares& shares,
                                    ParallelFor& threads, Progress& progress);
Result<VerifyResult> verify_file_with(Env& env, const VerifyJob& job, const MemoryShares& shares,
                                      ParallelFor& threads, Progress& progress);

}  // namespace winnow::checkpoint
