// Private: what lies in the folder of a checkpoint: which file is the checkpoint, and which others
// go with it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/env.h"

namespace winnow::checkpoint {

/// Ends the names of the files of tensors.
inline constexpr std::string_view kFileSuffix = ".safetensors";

/// The folder of the file at `path`; "." if the path names none.
std::string folder_of(const std::string& path);

/// DIRECTORY/NAME.
std::string path_in(const std::string& directory, const std::string& name);

/// The name of the file that readers of the folder would all take: its only index, or its only
/// safetensors file. kAmbiguousFolder: several, or an index beside the single file of the same
/// name, of which some readers take one and some the other. kUnsupportedFile: none.
/// kInterruptedFolder: see check_not_interrupted.
Result<std::string> find_checkpoint(Env& env, const std::string& directory);

/// The other files of a folder, sorted by name. Hidden ones, whose names begin with a dot, are in
/// neither list.
struct Companions {
  std::vector<std::string> carried;  ///< configurations, tokenizers and whatever else is no weights
  /// Other weights, which would be twins that nobody pruned, and what is no regular file, such as
  /// directories.
  std::vector<std::string> left_out;
};

/// What lies beside the files `own` of a checkpoint. A safetensors file without tensors counts as a
/// shard that holds nothing, and is carried.
Result<Companions> companions_of(Env& env, const std::string& directory,
                                 std::span<const std::string> own);

}  // namespace winnow::checkpoint
