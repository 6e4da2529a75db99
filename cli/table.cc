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
    const std::string padding(widths[i] - display_width(cells[i]), ' ');
    if (i > 0) text += "  ";
    text += columns_[i].align == Align::kRight ? padding + cells[i] : cells[i] + padding;
  }
  // The last column needs no padding.
  text.erase(text.find_last_not_of(' ') + 1);
  text += '\n';
}

}  // namespace winnow::cli
