// A tab-separated file whose first line gives each column a name and a type, as RecBole's "atomic
// files" are:
//
//   user_id:token<TAB>age:token<TAB>gender:token
//   1<TAB>24<TAB>M
//
// Strict: a file that differs from this is refused, with the place. Thread-safety: const members
// may be called at the same time.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace recommender {

/// A fault in a file; what() starts with the file and, if there is one, the line.
class DataError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class TypedTable {
 public:
  /// Reads the whole file. DataError if it cannot be read, or as parse().
  static TypedTable read(const std::string& path);

  /// @param path only for messages
  /// DataError: no line at all; a header field that is not NAME:TYPE, with TYPE one of token,
  /// token_seq, float, float_seq; a name twice; a line with more or fewer fields than the header;
  /// an empty field; a carriage return or NUL; a last line without a newline (a file cut short).
  static TypedTable parse(std::string path, std::string text);

  /// Lines after the header.
  size_t rows() const noexcept { return cells_.size() / names_.size(); }

  /// The number of the column with this name. DataError if there is none, or it has another type.
  size_t column(std::string_view name, std::string_view type) const;

  /// A field as written in the file. Valid as long as the table.
  std::string_view at(size_t row, size_t column) const {
    return cells_[row * names_.size() + column];
  }

  /// The field as a finite number. DataError if it is anything else.
  double number(size_t row, size_t column) const;

  /// The words of a token_seq, separated by single spaces. DataError for an empty word.
  std::vector<std::string_view> words(size_t row, size_t column) const;

  /// Throws the DataError "FILE:LINE: COLUMN: what".
  [[noreturn]] void fail(size_t row, size_t column, const std::string& what) const;

 private:
  TypedTable(std::string path, std::string text);
  void read_header(std::string_view line);
  void read_line(std::string_view line, size_t number);

  std::string path_;
  std::unique_ptr<const std::string> text_;  // cells_ point into it, also after a move
  std::vector<std::string> names_;
  std::vector<std::string> types_;
  std::vector<std::string_view> cells_;
};

/// The parts of `text` between the separators: one more part than separators.
std::vector<std::string_view> split_text(std::string_view text, char separator);

}  // namespace recommender
