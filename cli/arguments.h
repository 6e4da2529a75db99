// The command line as the user typed it. Only its form is checked here.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "winnow/base/status.h"

namespace winnow::cli {

/// The flags that decide which values are pruned. A flag that was not given is unset.
struct SettingsFlags {
  std::optional<std::string> sparsity_level, block, zeros_per_block, norm, nm, scope, nan;
  std::vector<std::string> include, exclude, force, levels;

  bool any() const {
    return sparsity_level || block || zeros_per_block || norm || nm || scope || nan ||
           !include.empty() || !exclude.empty() || !force.empty() || !levels.empty();
  }
};

/// The flags that decide how the tool runs and what it prints.
struct RunFlags {
  std::optional<std::string> threads, max_memory;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  bool no_progress = false;
};

/// The subcommands.
enum class Command { kInspect, kPrune, kVerify, kCompress, kDecompress };

/// A command line. Fields that belong to other commands keep their defaults.
struct Arguments {
  Command command = Command::kInspect;
  std::string file;  ///< the input; for verify, the pruned file
  RunFlags run;
  SettingsFlags settings;  ///< prune, verify; of compress only include and exclude

  bool stats = false;  ///< inspect
  std::string sort;    ///< inspect: "", "size", "name" or "sparsity"

  std::string output;     ///< prune, compress, decompress; may be empty in a dry run
  bool compress = false;  ///< prune
  bool dry_run = false;
  bool overwrite = false;
  bool overwrite_blob = false;
  bool in_place = false;

  std::string against;  ///< verify
};

/// Parses the command line. If it asks for help or the version, returns nullopt and sets `text` to
/// the text for standard output. Error: kInvalidArgument.
Result<std::optional<Arguments>> parse_arguments(int argc, const char* const* argv,
                                                 std::string& text);

}  // namespace winnow::cli
