#include "io/safetensors/header_handler.h"

#include <iterator>
#include <optional>
#include <utility>

#include "io/safetensors/header_checks.h"
#include "winnow/base/concat.h"
#include "winnow/base/dtype.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

// No tensor can have this name; the format takes it for itself.
constexpr std::string_view kMetadataName = "__metadata__";

// Names come from the file; escaped, a message stays one line of a terminal.
std::string quoted(std::string_view name) { return concat("\"", escape_name(name), "\""); }

}  // namespace

// What the next value has to be, and what is said if it is not.
struct HeaderHandler::Expected {
  std::string_view place;  // of a field, behind the name of its tensor
  StatusCode code;
  std::string_view type;
};

const HeaderHandler::Expected& HeaderHandler::expected() const {
  using Error = SafetensorsError;
  // In the order of State. Of the two that expect a key, the JSON library says what is wrong.
  static constexpr Expected kExpected[] = {
      {"the header", Error::kHeaderNotObject, "a JSON object"},
      {"", Error::kFieldType, "a number"},  // kEntries
      {"__metadata__", Error::kMetadataType, "an object of strings or null"},
      {"", Error::kMetadataType, "a string"},  // kMetadataValue
      {"", Error::kEntryNotObject, "an object"},
      {"", Error::kFieldType, "a number"},  // kFields
      {": dtype", Error::kFieldType, "a string"},
      {": shape", Error::kFieldType, "an array of numbers"},
      {": a dimension in shape", Error::kFieldType, "a number"},
      {": data_offsets", Error::kFieldType, "an array of numbers"},
      {": a number in data_offsets", Error::kFieldType, "a number"},
  };
  static_assert(std::size(kExpected) == static_cast<size_t>(State::kOffset) + 1);
  return kExpected[static_cast<size_t>(state_)];
}

// Where the parser is, for messages: `tensor "a": shape`.
std::string HeaderHandler::place() const {
  if (state_ == State::kMetadataValue) return concat("__metadata__ ", quoted(metadata_key_));
  if (state_ == State::kTop || state_ == State::kMetadata) return std::string(expected().place);
  return concat(shown(tensor_), expected().place);
}

// The parser stops at false, so the first fault is the one that is reported.
bool HeaderHandler::fail(StatusCode code, std::string message) {
  status_ = Status(code, std::move(message));
  return false;
}

// A value of a type that this place does not take.
bool HeaderHandler::unexpected(std::string_view found) {
  return fail(expected().code, concat(place(), " has to be ", expected().type, ", found ", found));
}

// Numbers of a kind that JSON has and sizes have not.
bool HeaderHandler::bad_number(std::string_view found) {
  if (state_ == State::kDimension) {
    return fail(SafetensorsError::kBadDimension,
                concat(place(), " has to be a whole number below 2^63, found ", found));
  }
  if (state_ == State::kOffset) {
    return fail(SafetensorsError::kBadOffset,
                concat(place(), " has to be a whole number below 2^64, found ", found));
  }
  return unexpected("a number");
}

bool HeaderHandler::not_json(size_t position) {
  return fail(SafetensorsError::kHeaderSyntax,
              concat("the header is not JSON at its byte ", position));
}

// MLX writes `"__metadata__": null` into every file that it saves without metadata, and the
// reference reads that as none. It stands for nothing else, and nowhere else.
bool HeaderHandler::null() {
  if (state_ != State::kMetadata) return unexpected("null");
  constexpr size_t kNullBytes = 4;
  header_.metadata_begin = *consumed_ - kNullBytes;
  header_.metadata_end = *consumed_;
  state_ = State::kEntries;
  return true;
}

bool HeaderHandler::number_unsigned(uint64_t value) {
  if (state_ == State::kDimension) return add_dimension(value);
  if (state_ == State::kOffset) return add_offset(value);
  return unexpected("a number");
}

bool HeaderHandler::add_dimension(uint64_t value) {
  // torch and NumPy count elements in signed integers.
  if (value >> 63 != 0) return bad_number(std::to_string(value));
  // Before it is stored, so that one shape cannot take the memory of a whole header.
  if (numbers_.size() == kMaxRank) {
    return fail(SafetensorsError::kRankTooLarge,
                concat(shown(tensor_), ": shape has more than ", kMaxRank, " dimensions"));
  }
  numbers_.push_back(value);
  return true;
}

bool HeaderHandler::add_offset(uint64_t value) {
  // Likewise: an array of offsets could go on to the end of the header.
  if (numbers_.size() == 2) {
    return fail(SafetensorsError::kOffsetCount,
                concat(shown(tensor_), ": data_offsets has more than 2 numbers"));
  }
  numbers_.push_back(value);
  return true;
}

bool HeaderHandler::string(std::string& value) {
  if (state_ == State::kDtype) return set_dtype(value);
  if (state_ != State::kMetadataValue) return unexpected("a string");
  // An entry of a few bytes takes two strings of memory.
  if (header_.metadata.size() == kMaxMetadataEntries) {
    return fail(SafetensorsError::kTooMuchMetadata,
                concat("__metadata__ has more than ", kMaxMetadataEntries, " entries"));
  }
  // The library fills its string anew for each event, so it may be moved from.
  header_.metadata.emplace_back(std::move(metadata_key_), std::move(value));
  return true;
}

bool HeaderHandler::set_dtype(std::string_view name) {
  // Unknown types are refused at once: without their size no offset can be checked.
  const std::optional<DType> dtype = dtype_from_name(name);
  if (!dtype) {
    return fail(SafetensorsError::kUnknownDtype,
                concat(shown(tensor_), ": dtype ", quoted(name), " is not known"));
  }
  tensor_.dtype = *dtype;
  state_ = State::kFields;
  return true;
}

bool HeaderHandler::start_object(size_t) {
  switch (state_) {
    case State::kTop:
      state_ = State::kEntries;
      return true;
    case State::kEntry:
      state_ = State::kFields;
      return true;
    case State::kMetadata:
      header_.metadata_begin = *consumed_ - 1;  // the brace itself is consumed
      state_ = State::kMetadataValue;
      return true;
    // A fourth level, which the format does not have, has its own code.
    case State::kDimension:
    case State::kOffset:
      return fail(SafetensorsError::kHeaderTooDeep,
                  concat(place(), " has to be a number, found an object"));
    default:
      return unexpected("an object");
  }
}

bool HeaderHandler::start_array(size_t) {
  // One vector for all arrays: its memory is used again.
  numbers_.clear();
  switch (state_) {
    case State::kShape:
      state_ = State::kDimension;
      return true;
    case State::kOffsets:
      state_ = State::kOffset;
      return true;
    case State::kDimension:
    case State::kOffset:
      return fail(SafetensorsError::kHeaderTooDeep,
                  concat(place(), " has to be a number, found an array"));
    default:
      return unexpected("an array");
  }
}

bool HeaderHandler::end_array() {
  if (state_ == State::kOffset) return finish_offsets();
  // Copied into a vector of its exact size: headers have up to millions of shapes.
  tensor_.shape.assign(numbers_.begin(), numbers_.end());
  state_ = State::kFields;
  return true;
}

bool HeaderHandler::finish_offsets() {
  // More than two were refused when they came.
  if (numbers_.size() != 2) {
    return fail(SafetensorsError::kOffsetCount,
                concat(shown(tensor_), ": data_offsets has to hold 2 numbers, ", "found ",
                       numbers_.size()));
  }
  tensor_.begin = numbers_[0];
  tensor_.end = numbers_[1];
  state_ = State::kFields;
  return true;
}

bool HeaderHandler::key(std::string& name) {
  if (state_ == State::kEntries) return start_entry(name);
  if (state_ == State::kFields) return start_field(name);
  metadata_key_ = name;
  return true;
}

bool HeaderHandler::start_entry(std::string& name) {
  if (name == kMetadataName) {
    // The library reports each key, equal ones too. Python would keep the last.
    if (metadata_seen_)
      return fail(SafetensorsError::kDuplicateMetadata, "__metadata__ is there twice");
    metadata_seen_ = true;
    state_ = State::kMetadata;
    return true;
  }
  tensor_ = TensorInfo{};
  tensor_.name = name;
  fields_seen_ = kNoField;
  state_ = State::kEntry;
  if (name.size() <= kMaxNameBytes) return true;
  return fail(SafetensorsError::kNameTooLong,
              concat(shown(tensor_), ": a name has at most ", kMaxNameBytes, " bytes"));
}

bool HeaderHandler::start_field(std::string_view name) {
  Field field = kNoField;
  if (name == "dtype") field = kDtypeField, state_ = State::kDtype;
  if (name == "shape") field = kShapeField, state_ = State::kShape;
  if (name == "data_offsets") field = kOffsetsField, state_ = State::kOffsets;
  if (field == kNoField) {
    return fail(SafetensorsError::kUnknownField,
                concat(shown(tensor_), ": unknown field ", quoted(name)));
  }
  // Readers differ in which of the two they take.
  if ((fields_seen_ & field) != 0) {
    return fail(SafetensorsError::kDuplicateField,
                concat(shown(tensor_), ": ", name, " is there twice"));
  }
  fields_seen_ |= field;
  return true;
}

bool HeaderHandler::end_object() {
  if (state_ == State::kFields) return finish_entry();
  if (state_ == State::kMetadataValue) {
    header_.metadata_end = *consumed_;
    state_ = State::kEntries;
  }
  return true;
}

bool HeaderHandler::finish_entry() {
  const auto missing = [&](std::string_view field) {
    return fail(SafetensorsError::kMissingField, concat(shown(tensor_), " has no ", field));
  };
  if ((fields_seen_ & kDtypeField) == 0) return missing("dtype");
  if ((fields_seen_ & kShapeField) == 0) return missing("shape");
  if ((fields_seen_ & kOffsetsField) == 0) return missing("data_offsets");
  // While its name is at hand, and before millions more are read.
  status_ = check_tensor(tensor_);
  if (!status_.ok()) return false;
  header_.tensors.push_back(std::move(tensor_));
  state_ = State::kEntries;
  return true;
}

}  // namespace winnow::io
