// From the texts of flags to checked values. Every error is kInvalidArgument and names the flag.
#pragma once

#include <cstddef>

#include "arguments.h"
#include "winnow/base/status.h"
#include "winnow/checkpoint/prune_settings.h"

namespace winnow::cli {

/// The settings that the flags ask for, with the defaults where they do not. Nothing is read.
Result<PruneSettings> settings_from(const SettingsFlags& flags);

/// How many threads; without the flag, as many as this process may use.
Result<size_t> thread_count(const RunFlags& flags);

}  // namespace winnow::cli
