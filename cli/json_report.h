// Results as one JSON object each, for machines. Fields are added over time, never renamed.
#pragma once

#include <cstdint>
#include <string>

#include "winnow/checkpoint/inspect.h"
#include "winnow/checkpoint/prune.h"
#include "winnow/checkpoint/verify.h"

namespace winnow::cli {

/// What is true of a run besides its result.
struct RunFacts {
  size_t threads = 1;
  std::string simd_level;
  uint64_t peak_memory_bytes = 0;
};

/// The facts of this process now.
Result<RunFacts> run_facts(size_t threads);

/// These print to standard output, one tensor a line: with very many tensors, the text as a whole
/// would be larger than the header it tells of.
Status print_inspect_json(const std::string& path, const Inspection& inspection);
Status print_prune_json(const PruneJob& job, const PruneResult& result, const RunFacts& facts);

std::string verify_json(const VerifyJob& job, const VerifyResult& result, const RunFacts& facts);

/// {"error": {"code": ..., "message": ..., "exit_code": ...}}
std::string error_json(const Status& status);

}  // namespace winnow::cli
