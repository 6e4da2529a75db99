#include "table.h"

#include <algorithm>
#include <string_view>

namespace winnow::cli {
namespace {

// Code points, which for most scripts are columns.
size_t display_width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string Table::text() const {
  std::vector<std::string> titles;
  std::vector<size_t> widths;
  for (const Column& column : columns_) {
    titles.push_back(column.title);
    widths.push_back(display_width(column.title));
  }
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string text;
  append_row(text, titles, widths);
  for (const auto& row : rows_) append_row(text, row, widths);
  return text;
}

void Table::append_row(std::string& text, const std::vector<std::string>& cells,
                       const std::vector<size_t>& widths) const {
  for (size_t i = 0; i < cells.size(); ++i) {
    const size_t padding = widths[i] - display_width(cells[i]);
    const bool is_right = columns_[i].align == Align::kRight;
    text.append((i > 0 ? 2 : 0) + (is_right ? padding : 0), ' ');
    text += cells[i];
    if (!is_right) text.append(padding, ' ');
  }
  // The last column needs no padding.
  text.erase(text.find_last_not_of(' ') + 1);
  text += '\n';
}

}  // namespace winnow::cli
