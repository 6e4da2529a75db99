// Private: the short way through JSON as writers of headers and indexes write it. A JSON library
// takes ten times as long, because it copies each byte twice to be able to quote it in a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace winnow {

/// Tells a handler what a JSON value consists of: strings without escapes, integers from 0 on,
/// null, objects and arrays up to 8 levels deep. The events are those of nlohmann::json::sax_parse,
/// which begins anew, with a new handler, where this gives up: it then says what is wrong, if
/// anything is.
template <typename Handler>
class PlainJson {
 public:
  /// `text` is UTF-8. `consumed`, from 0 on, is how many bytes were taken at each event.
  PlainJson(std::string_view text, Handler& handler, size_t& consumed)
      : text_(text), handler_(handler), at_(consumed) {}

  /// Visits the value that the text begins with. False: it has something else, or is no JSON, or
  /// the handler stopped.
  bool visit() { return value(0); }

 private:
  static constexpr int kMaxDepth = 8;
  static constexpr size_t kMaxDigits = 19;  // any number of so many fits into 64 bits

  static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

  // The byte that comes next, spaces skipped; NUL at the end, which is no byte of plain JSON.
  char next() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  bool take(char wanted) {
    if (next() != wanted) return false;
    ++at_;
    return true;
  }

  bool value(int depth) {
    switch (next()) {
      case '{':
        return depth < kMaxDepth && object(depth + 1);
      case '[':
        return depth < kMaxDepth && array(depth + 1);
      case '"':
        return string() && handler_.string(string_);
      case 'n':
        return null();
      default:
        return number();
    }
  }

  bool string() {
    if (!take('"')) return false;
    const size_t begin = at_;
    for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\' || static_cast<uint8_t>(text_[at_]) < 0x20) return false;
    }
    if (at_ == text_.size()) return false;
    string_.assign(text_, begin, at_ - begin);
    ++at_;
    return true;
  }

  bool number() {
    const size_t begin = at_;
    uint64_t number = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      if (at_ - begin == kMaxDigits) return false;
      number = 10 * number + static_cast<uint64_t>(text_[at_] - '0');
    }
    const bool has_zero_in_front = at_ - begin > 1 && text_[begin] == '0';
    const char behind = at_ < text_.size() ? text_[at_] : '\0';
    if (behind == '.' || behind == 'e' || behind == 'E') return false;  // a fraction
    return at_ > begin && !has_zero_in_front && handler_.number_unsigned(number);
  }

  bool null() {
    constexpr std::string_view kNull = "null";
    if (text_.substr(at_, kNull.size()) != kNull) return false;
    at_ += kNull.size();
    return handler_.null();
  }

  bool object(int depth) {
    if (!take('{') || !handler_.start_object(0)) return false;
    if (!take('}')) {
      do {
        if (next() != '"' || !string() || !handler_.key(string_)) return false;
        if (!take(':') || !value(depth)) return false;
      } while (take(','));
      if (!take('}')) return false;
    }
    return handler_.end_object();
  }

  bool array(int depth) {
    if (!take('[') || !handler_.start_array(0)) return false;
    if (!take(']')) {
      do {
        if (!value(depth)) return false;
      } while (take(','));
      if (!take(']')) return false;
    }
    return handler_.end_array();
  }

  std::string_view text_;
  Handler& handler_;
  size_t& at_;
  std::string string_;  // the last one: handlers may take it
};

}  // namespace winnow
