#include "typed_table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

namespace recommender {
namespace {

constexpr std::array<std::string_view, 4> kTypes = {"token", "token_seq", "float", "float_seq"};

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

std::string place(const std::string& path, size_t line) {
  return path + ":" + std::to_string(line) + ": ";
}

}  // namespace

std::vector<std::string_view> split_text(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (size_t end = text.find(separator); end != text.npos; end = text.find(separator, begin)) {
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  parts.push_back(text.substr(begin));
  return parts;
}

TypedTable TypedTable::read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw DataError(path + " cannot be opened");
  }
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) {
    throw DataError(path + " cannot be read");
  }
  return parse(path, std::move(text));
}

TypedTable TypedTable::parse(std::string path, std::string text) {
  return TypedTable(std::move(path), std::move(text));
}

TypedTable::TypedTable(std::string path, std::string text)
    : path_(std::move(path)), text_(std::make_unique<const std::string>(std::move(text))) {
  if (text_->empty()) {
    throw DataError(path_ + " is empty");
  }
  std::vector<std::string_view> lines = split_text(*text_, '\n');
  if (!lines.back().empty()) {
    throw DataError(place(path_, lines.size()) + "no newline at the end: was the file cut short?");
  }
  lines.pop_back();
  read_header(lines.front());
  cells_.reserve((lines.size() - 1) * names_.size());
  for (size_t i = 1; i < lines.size(); ++i) {
    read_line(lines[i], i + 1);
  }
}

void TypedTable::read_header(std::string_view line) {
  for (const std::string_view field : split_text(line, '\t')) {
    const size_t colon = field.find(':');
    const std::string_view type = colon == field.npos ? "" : field.substr(colon + 1);
    if (colon == 0 || std::find(kTypes.begin(), kTypes.end(), type) == kTypes.end()) {
      throw DataError(place(path_, 1) + quoted(field) +
                      " is not NAME:TYPE with one of the types token, token_seq, float, float_seq");
    }
    std::string name(field.substr(0, colon));
    if (std::find(names_.begin(), names_.end(), name) != names_.end()) {
      throw DataError(place(path_, 1) + "two columns are called " + quoted(name));
    }
    names_.push_back(std::move(name));
    types_.emplace_back(type);
  }
}

void TypedTable::read_line(std::string_view line, size_t number) {
  const std::vector<std::string_view> fields = split_text(line, '\t');
  if (fields.size() != names_.size()) {
    throw DataError(place(path_, number) + std::to_string(fields.size()) +
                    " fields where the header has " + std::to_string(names_.size()));
  }
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].empty()) {
      throw DataError(place(path_, number) + names_[i] + ": is empty");
    }
    if (fields[i].find_first_of(std::string_view("\r\0", 2)) != fields[i].npos) {
      throw DataError(place(path_, number) + names_[i] + ": holds a carriage return or NUL");
    }
  }
  cells_.insert(cells_.end(), fields.begin(), fields.end());
}

size_t TypedTable::column(std::string_view name, std::string_view type) const {
  const auto found = std::find(names_.begin(), names_.end(), name);
  if (found == names_.end()) {
    throw DataError(place(path_, 1) + "no column is called " + quoted(name));
  }
  const auto index = static_cast<size_t>(found - names_.begin());
  if (types_[index] != type) {
    throw DataError(place(path_, 1) + quoted(name) + " is of type " + types_[index] +
                    ", expected " + std::string(type));
  }
  return index;
}

double TypedTable::number(size_t row, size_t column) const {
  const std::string_view text = at(row, column);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    fail(row, column, quoted(text) + " is not a number");
  }
  return value;
}

std::vector<std::string_view> TypedTable::words(size_t row, size_t column) const {
  std::vector<std::string_view> words = split_text(at(row, column), ' ');
  if (std::any_of(words.begin(), words.end(), [](std::string_view word) { return word.empty(); })) {
    fail(row, column, quoted(at(row, column)) + " holds an empty word");
  }
  return words;
}

void TypedTable::fail(size_t row, size_t column, const std::string& what) const {
  throw DataError(place(path_, row + 2) + names_[column] + ": " + what);
}

}  // namespace recommender
