// Private: takes the events of a JSON parser and makes a header of them. The grammar is fixed,
// three levels deep, and held in one state variable: a hostile header cannot make it recurse or
// allocate for what the format does not have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/safetensors.h"

namespace winnow::io {

/// The contents of a header, before names and layout are checked.
struct ParsedHeader {
  std::vector<TensorInfo> tensors;
  Metadata metadata;
  size_t metadata_begin = 0;  // where the value of __metadata__ stands; 0, 0: nowhere
  size_t metadata_end = 0;
};

/// The event interface of nlohmann::json::sax_parse. Each event returns whether to go on.
class HeaderHandler {
 public:
  /// `consumed`: how many bytes the parser has taken, kept up to date by its input. `max_tensors`:
  /// no header of that text has more, so the list of them does not have to grow.
  HeaderHandler(const size_t* consumed, size_t max_tensors) : consumed_(consumed) {
    header_.tensors.reserve(max_tensors);
  }

  /// After the parse: what it found, and why it stopped early if it did.
  ParsedHeader& header() noexcept { return header_; }
  const Status& status() const noexcept { return status_; }

  bool null();
  bool boolean(bool value) { return unexpected(value ? "true" : "false"); }
  bool number_integer(int64_t) { return bad_number("a negative number"); }
  bool number_unsigned(uint64_t value);
  bool number_float(double, const std::string&) {
    return bad_number("a fraction, an exponent or a number over 64 bits");
  }
  bool string(std::string& value);
  template <typename Binary>
  bool binary(Binary&) {
    return unexpected("binary data");  // JSON has none: never called
  }
  bool start_object(size_t);
  bool key(std::string& name);
  bool end_object();
  bool start_array(size_t);
  bool end_array();

  /// The library's own message is not used: it quotes the whole token, be it as long as the header.
  template <typename Error>
  bool parse_error(size_t position, const std::string&, const Error& error) {
    constexpr int kNumberOverflow = 406;  // grammatical, but over what a double holds
    return error.id == kNumberOverflow ? bad_number("a number over 64 bits") : not_json(position);
  }

 private:
  // What the next value is.
  enum class State : uint8_t {
    kTop,            // the header itself
    kEntries,        // (a key of the header comes next)
    kMetadata,       // the value of __metadata__
    kMetadataValue,  // a value in it, or a key
    kEntry,          // a tensor's entry
    kFields,         // (a key in it comes next)
    kDtype,
    kShape,
    kDimension,
    kOffsets,
    kOffset,
  };

  // The fields of an entry that were met, as bits.
  enum Field : uint8_t { kNoField = 0, kDtypeField = 1, kShapeField = 2, kOffsetsField = 4 };

  struct Expected;
  const Expected& expected() const;
  bool fail(StatusCode code, std::string message);
  bool unexpected(std::string_view found);
  bool bad_number(std::string_view found);
  bool not_json(size_t position);
  bool start_entry(std::string& name);
  bool start_field(std::string_view name);
  bool finish_entry();
  bool finish_offsets();
  bool set_dtype(std::string_view name);
  bool add_dimension(uint64_t value);
  bool add_offset(uint64_t value);
  std::string place() const;

  const size_t* consumed_;
  ParsedHeader header_;
  Status status_;
  State state_ = State::kTop;
  bool metadata_seen_ = false;

  TensorInfo tensor_;              // the entry being read
  std::string metadata_key_;       // the metadata entry being read
  uint8_t fields_seen_ = 0;        // of tensor_
  std::vector<uint64_t> numbers_;  // the array being read
};

}  // namespace winnow::io
