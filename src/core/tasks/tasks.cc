#include "core/tasks/tasks.h"

#include <algorithm>

namespace winnow::core {

std::vector<Task> make_tasks(std::span<const BlockMatrix> matrices) {
  std::vector<Task> tasks;
  for (size_t m = 0; m < matrices.size(); ++m) {
    for (size_t first = 0; first < matrices[m].blocks(); first += kTaskBlocks) {
      tasks.push_back({m, first, std::min(kTaskBlocks, matrices[m].blocks() - first)});
    }
  }
  return tasks;
}

}  // namespace winnow::core
