// Converts the texts of flags to checked values. All errors are kInvalidArgument and name the flag.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arguments.h"
#include "winnow/base/status.h"
#include "winnow/checkpoint/prune_settings.h"

namespace winnow::cli {

/// Returns the settings of the flags, with defaults for flags that are not given. Reads no file.
Result<PruneSettings> settings_from(const SettingsFlags& flags);

/// Returns ok if the flags say where the result goes: to --output, --in-place, or nowhere.
Status check_target(const Arguments& arguments);

/// Returns the number of threads; without the flag, the number that this process may use.
Result<size_t> thread_count(const RunFlags& flags);

/// Returns the bytes of memory to use.
Result<uint64_t> max_memory(const RunFlags& flags);

}  // namespace winnow::cli
