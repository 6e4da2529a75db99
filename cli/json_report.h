// Results for programs, one JSON object each. Fields may be added, but are never renamed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "winnow/checkpoint/compress.h"
#include "winnow/checkpoint/inspect.h"
#include "winnow/checkpoint/prune.h"
#include "winnow/checkpoint/verify.h"

namespace winnow::cli {

/// Facts about a run besides its result.
struct RunFacts {
  size_t threads = 1;
  std::string simd_level;
  uint64_t peak_memory_bytes = 0;
};

/// Returns the current facts of this process.
Result<RunFacts> run_facts(size_t threads);

/// These print to standard output, one tensor a line. They do not return the text, because with
/// very many tensors it would be larger than the header that it describes.
Status print_inspect_json(const std::string& path, const Inspection& inspection);
Status print_prune_json(const PruneJob& job, const PruneResult& result, const RunFacts& facts);

/// The same for compress and decompress, which `command` says.
Status print_compress_json(std::string_view command, const CompressJob& job,
                           const CompressResult& result, const RunFacts& facts);

/// Returns the object for a verification.
std::string verify_json(const VerifyJob& job, const VerifyResult& result, const RunFacts& facts);

/// Returns {"error": {"code": ..., "message": ..., "exit_code": ...}}.
std::string error_json(const Status& status);

}  // namespace winnow::cli
