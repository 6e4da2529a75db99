#include "winnow/base/edit_distance.h"

#include <algorithm>
#include <vector>

namespace winnow {

size_t edit_distance(std::string_view pattern, std::string_view name) {
  std::vector<size_t> row(name.size() + 1);
  for (size_t j = 0; j <= name.size(); ++j) row[j] = j;
  for (const char wanted : pattern) {
    const bool any = wanted == kAnyText;
    size_t diagonal = row[0];
    if (!any) ++row[0];
    for (size_t j = 1; j <= name.size(); ++j) {
      const size_t above = row[j];
      row[j] = any ? std::min(above, row[j - 1])
                   : std::min({above + 1, row[j - 1] + 1, diagonal + (wanted != name[j - 1])});
      diagonal = above;
    }
  }
  return row[name.size()];
}

bool is_misspelt(std::string_view known, std::string_view name) {
  return edit_distance(known, name) <= (known.size() >= 5 ? 2 : known.size() / 3);
}

}  // namespace winnow
