// PRIVATE. How many blocks a budget selects, and whether there is a threshold to search for.
#pragma once

#include <cstdint>

#include "winnow/core/data_norm.h"

namespace winnow::core {

struct Budget {
  uint64_t blocks;
  uint64_t selected;
  bool drops_values;  ///< a selected block loses at least one value

  Budget(const DataNormConfig& config, uint64_t all)
      : blocks(all),
        selected(blocks_to_drop(config.sparsity_level, all)),
        drops_values(config.zeros_per_block != uint64_t{0}) {}

  /// False if all blocks fare alike, which keeps_all() then says.
  bool needs_search() const noexcept { return drops_values && selected > 0 && selected < blocks; }
  bool keeps_all() const noexcept { return !drops_values || selected == 0; }
};

}  // namespace winnow::core
