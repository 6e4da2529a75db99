// Private: what lies in the folder of a checkpoint: which file is the checkpoint, and which others
// go with it.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/env.h"

namespace winnow::checkpoint {

/// Ends the names of the files of tensors.
inline constexpr std::string_view kFileSuffix = ".safetensors";

/// DIRECTORY/NAME.
std::string path_in(const std::string& directory, const std::string& name);

/// The name of the file that readers of the folder would all take: its only index, or its only
/// safetensors file. kAmbiguousFolder: several, or an index beside the single file of the same
/// name, of which some readers take one and some the other. kUnsupportedFile: none.
/// kInterruptedFolder: see check_not_interrupted.
Result<std::string> find_checkpoint(Env& env, const std::string& directory);

/// How many names the subdirectories of a folder may have in all.
inline constexpr size_t kMaxNestedNames = 10'000;

/// What else lies in a folder, as sorted paths from it. Names of winnow's own (is_working_name) are
/// in no list.
struct Companions {
  std::vector<std::string> directories;  ///< all to be made, empty ones too; parents come first
  std::vector<std::string> carried;  ///< configurations, tokenizers and whatever else is no weights
  /// Other weights, which would be twins that nobody pruned; what is hidden, with a name that
  /// begins with a dot; and what is neither a regular file nor a directory, to which links to
  /// directories count.
  std::vector<std::string> left_out;
};

/// What lies beside the files `own` of a checkpoint, and below it. A safetensors file without
/// tensors counts as a shard that holds nothing, and is carried. A directory that is `output` is
/// left out: an output may be an empty one in the folder of the input.
///
/// kUnsupportedFile: subdirectories deeper than AtomicDirectory::kMaxDepth, or more names in them
/// than kMaxNestedNames. What is left out is not entered.
Result<Companions> companions_of(Env& env, const std::string& directory,
                                 std::span<const std::string> own, const std::string& output);

}  // namespace winnow::checkpoint
