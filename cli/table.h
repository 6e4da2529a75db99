// Plain text tables: columns as wide as their widest cell, two spaces between them.
#pragma once

#include <string>
#include <vector>

namespace winnow::cli {

/// Collects rows, then lays them out.
class Table {
 public:
  enum class Align { kLeft, kRight };

  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// Adds a row; cells that are missing at its end stay empty. Cells hold no newline.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  /// The titles and all rows, each line ending in a newline, none in a space.
  std::string text() const;

 private:
  void append_row(std::string& text, const std::vector<std::string>& cells,
                  const std::vector<size_t>& widths) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace winnow::cli
