// Plain text tables. Each column is as wide as its widest cell, with two spaces in between.
#pragma once

#include <string>
#include <vector>

namespace winnow::cli {

/// Collects rows and lays them out as text.
class Table {
 public:
  enum class Align { kLeft, kRight };

  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// Adds a row. Missing cells at its end are empty. Cells must not contain newlines.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  /// Returns the titles and all rows. Each line ends with a newline and has no trailing spaces.
  std::string text() const;

 private:
  void append_row(std::string& text, const std::vector<std::string>& cells,
                  const std::vector<size_t>& widths) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace winnow::cli
