#include "checkpoint/shards/shard_index.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <utility>

#include "base/plain_json.h"
#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/base/utf8.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/file_name.h"
#include "winnow/io/safetensors.h"

namespace winnow::checkpoint {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr size_t kMaxDepth = 64;  // of what is ignored; the rest has 3 levels

// Takes the events of nlohmann::json::sax_parse. Each returns whether to go on, so the first fault
// is the one that is reported.
class IndexHandler {
 public:
  // The index, once the parser is through. Errors: what is seen only then.
  Result<ShardIndex> finish();
  const Status& status() const noexcept { return status_; }

  bool null();
  bool boolean(bool) { return scalar("true or false"); }
  bool number_integer(int64_t) { return scalar("a negative number"); }
  bool number_unsigned(uint64_t value);
  bool number_float(double value, const std::string&);
  bool string(std::string& value);
  template <typename Binary>
  bool binary(Binary&) {
    return scalar("binary data");  // JSON has none: never called
  }
  bool start_object(size_t);
  bool key(std::string& name);
  bool end_object();
  bool start_array(size_t);
  bool end_array() { return leave(); }

  // The library's own message quotes the whole token, be it as long as the text.
  template <typename Error>
  bool parse_error(size_t position, const std::string&, const Error&) {
    return fail(ShardError::kIndexSyntax, concat("the index is not JSON at its byte ", position));
  }

 private:
  // What the next value is.
  enum class State : uint8_t {
    kTop,        // the index itself
    kKeys,       // (a key of it comes next)
    kWeightMap,  // the value of weight_map
    kShards,     // a value in it, or a key
    kMetadata,   // the value of metadata
    kFields,     // (a key in it comes next)
    kTotalSize,
    kIgnored,  // a value of no meaning here, `depth_` levels deep
  };

  bool fail(StatusCode code, std::string message);
  bool scalar(std::string_view found);
  bool unexpected(std::string_view found);
  bool enter(std::string_view found);
  bool leave();
  bool add_shard(std::string& name);
  bool set_total_size(std::optional<uint64_t> size, std::string_view found);
  bool start_key(std::set<std::string>& seen, const std::string& name);

  Status status_;
  State state_ = State::kTop;
  State outer_ = State::kKeys;  // where an ignored value stands
  size_t depth_ = 0;
  bool weight_map_seen_ = false;
  std::set<std::string> keys_, metadata_keys_;
  std::string tensor_;  // the entry being read
  std::map<std::string, uint32_t, std::less<>> shards_;
  ShardIndex index_;
};

bool IndexHandler::fail(StatusCode code, std::string message) {
  status_ = Status(code, std::move(message));
  return false;
}

// A value of a type that this place does not take.
bool IndexHandler::unexpected(std::string_view found) {
  switch (state_) {
    case State::kTop:
      return fail(ShardError::kIndexNotObject,
                  concat("the index has to be a JSON object, found ", found));
    case State::kWeightMap:
      return fail(ShardError::kWeightMapType,
                  concat("weight_map has to be an object of file names, found ", found));
    case State::kShards:
      return fail(ShardError::kWeightMapType, concat("weight_map ", in_quotes(tensor_),
                                                     " has to be a file name, found ", found));
    case State::kTotalSize:
      return fail(ShardError::kIndexMetadataType,
                  concat("total_size has to be a number of bytes, found ", found));
    default:  // where a key has to stand, the library has refused it
      return fail(ShardError::kIndexMetadataType,
                  concat("metadata has to be an object or null, found ", found));
  }
}

bool IndexHandler::scalar(std::string_view found) {
  if (state_ != State::kIgnored) return unexpected(found);
  if (depth_ == 0) state_ = outer_;
  return true;
}

bool IndexHandler::null() {
  if (state_ == State::kMetadata) {
    state_ = State::kKeys;
    return true;
  }
  return scalar("null");
}

bool IndexHandler::set_total_size(std::optional<uint64_t> size, std::string_view found) {
  if (!size) return unexpected(found);
  index_.total_size = size;
  state_ = State::kFields;
  return true;
}

bool IndexHandler::number_unsigned(uint64_t value) {
  return state_ == State::kTotalSize ? set_total_size(value, "") : scalar("a number");
}

// Python writes a size that went through a division as 123.0.
bool IndexHandler::number_float(double value, const std::string&) {
  if (state_ != State::kTotalSize) return scalar("a number");
  constexpr double kExact = 9007199254740992;  // 2^53: whole numbers up to here are exact
  const bool is_size = value >= 0 && value <= kExact && value == static_cast<uint64_t>(value);
  return set_total_size(is_size ? std::optional(static_cast<uint64_t>(value)) : std::nullopt,
                        "a fraction or a number out of range");
}

bool IndexHandler::string(std::string& value) {
  if (state_ == State::kShards) return add_shard(value);
  if (state_ != State::kTotalSize) return scalar("a string");
  uint64_t size = 0;
  const char* const end = value.data() + value.size();
  const auto [at, error] = std::from_chars(value.data(), end, size);
  const bool is_size = error == std::errc() && at == end;
  return set_total_size(is_size ? std::optional(size) : std::nullopt, in_quotes(value));
}

bool IndexHandler::add_shard(std::string& name) {
  const auto shard = shards_.find(name);
  if (shard != shards_.end()) {  // as for nearly all tensors
    index_.entries.push_back({std::move(tensor_), shard->second});
    return true;
  }
  const Status valid = check_file_name(name);
  if (!valid.ok()) {
    return fail(ShardError::kShardName,
                concat("weight_map ", in_quotes(tensor_), ": ", valid.message()));
  }
  const auto number = static_cast<uint32_t>(shards_.size());
  shards_.emplace(std::move(name), number);
  if (shards_.size() > kMaxShards) {
    return fail(ShardError::kTooManyShards,
                concat("weight_map names more than ", kMaxShards, " files"));
  }
  index_.entries.push_back({std::move(tensor_), number});
  return true;
}

bool IndexHandler::start_object(size_t) {
  switch (state_) {
    case State::kTop:
      state_ = State::kKeys;
      return true;
    case State::kWeightMap:
      state_ = State::kShards;
      return true;
    case State::kMetadata:
      state_ = State::kFields;
      return true;
    default:
      return enter("an object");
  }
}

bool IndexHandler::start_array(size_t) { return enter("an array"); }

bool IndexHandler::enter(std::string_view found) {
  if (state_ != State::kIgnored) return unexpected(found);
  if (++depth_ <= kMaxDepth) return true;
  return fail(ShardError::kIndexTooDeep,
              concat("the index is nested deeper than ", kMaxDepth, " levels"));
}

bool IndexHandler::leave() {
  if (--depth_ == 0) state_ = outer_;
  return true;
}

bool IndexHandler::end_object() {
  if (state_ == State::kIgnored) return leave();
  state_ = State::kKeys;  // of the index itself: nothing comes after it
  return true;
}

bool IndexHandler::start_key(std::set<std::string>& seen, const std::string& name) {
  // Readers differ in which of two they take.
  if (!seen.insert(name).second) {
    return fail(ShardError::kDuplicateIndexKey, concat(in_quotes(name), " is there twice"));
  }
  outer_ = state_;
  state_ = State::kIgnored;
  return true;
}

bool IndexHandler::key(std::string& name) {
  if (state_ == State::kIgnored) return true;
  if (state_ == State::kShards) {
    tensor_ = std::move(name);
    if (tensor_.size() <= kMaxNameBytes) return true;
    return fail(ShardError::kWeightMapType,
                concat("weight_map ", in_quotes(tensor_), ": a name has at most ", kMaxNameBytes,
                       " bytes"));
  }
  const bool in_metadata = state_ == State::kFields;
  if (!start_key(in_metadata ? metadata_keys_ : keys_, name)) return false;
  if (in_metadata) {
    if (name == "total_size") state_ = State::kTotalSize;
  } else if (name == "weight_map") {
    weight_map_seen_ = true;
    state_ = State::kWeightMap;
  } else if (name == "metadata") {
    state_ = State::kMetadata;
  }
  return true;
}

Result<ShardIndex> IndexHandler::finish() {
  if (index_.entries.empty()) {
    return Status(ShardError::kMissingWeightMap,
                  weight_map_seen_ ? "weight_map lists no tensor" : "the index has no weight_map");
  }
  // When all are known: sorting once is cheaper than a set that grows.
  std::vector<IndexEntry>& entries = index_.entries;
  std::sort(entries.begin(), entries.end(),
            [](const IndexEntry& a, const IndexEntry& b) { return a.tensor < b.tensor; });
  const auto twice = std::adjacent_find(
      entries.begin(), entries.end(),
      [](const IndexEntry& a, const IndexEntry& b) { return a.tensor == b.tensor; });
  if (twice != entries.end()) {
    return Status(ShardError::kDuplicateIndexTensor,
                  concat("weight_map ", in_quotes(twice->tensor), " is there twice"));
  }
  std::vector<uint32_t> places(shards_.size());  // by order of appearance: that in the alphabet
  for (const auto& [name, number] : shards_) {
    places[number] = static_cast<uint32_t>(index_.shards.size());
    index_.shards.push_back(name);
  }
  for (IndexEntry& entry : entries) entry.shard = places[entry.shard];
  return std::move(index_);
}

Status check_size(uint64_t bytes) {
  if (bytes <= kMaxIndexBytes) return {};
  return {ShardError::kIndexTooLarge,
          concat("the index has ", bytes, " bytes, at most ", kMaxIndexBytes, " are allowed")};
}

// The checks of the bytes before they are looked at as JSON. To the library, a NUL is the end.
Status check_bytes(std::string_view text) {
  WINNOW_RETURN_IF_ERROR(check_size(text.size()));
  if (text.starts_with(kByteOrderMark)) {
    return {ShardError::kIndexNotUtf8, "the index starts with a byte order mark"};
  }
  const size_t invalid = find_invalid_utf8(text);
  if (invalid != text.size()) {
    return {ShardError::kIndexNotUtf8, concat("byte ", invalid, " of the index is not UTF-8")};
  }
  const size_t nul = text.find('\0');
  if (nul == std::string_view::npos) return {};
  return {ShardError::kIndexSyntax, concat("the index is not JSON at its byte ", nul, ", a NUL")};
}

}  // namespace

std::string in_quotes(std::string_view name) { return concat("'", escape_name(name), "'"); }

const IndexEntry* ShardIndex::find(std::string_view tensor) const noexcept {
  const auto at = std::lower_bound(
      entries.begin(), entries.end(), tensor,
      [](const IndexEntry& entry, std::string_view wanted) { return entry.tensor < wanted; });
  return at == entries.end() || at->tensor != tensor ? nullptr : &*at;
}

Result<ShardIndex> parse_shard_index(std::string_view text) try {
  WINNOW_RETURN_IF_ERROR(check_bytes(text));
  IndexHandler plain;
  size_t consumed = 0;
  if (PlainJson(text, plain, consumed).visit() &&
      text.find_first_not_of(" \t\n\r", consumed) == std::string_view::npos) {
    return plain.finish();
  }
  IndexHandler handler;
  const bool parsed = nlohmann::json::sax_parse(text.begin(), text.end(), &handler);
  return parsed ? handler.finish() : handler.status();
} catch (const std::bad_alloc&) {
  return Status(ErrorCode::kOutOfMemory, "not enough memory for the index");
}

Result<ShardIndex> read_shard_index(const InputFile& file) {
  const Status size = check_size(file.size());  // before memory is taken for it
  if (!size.ok()) return file.named(size);
  WINNOW_ASSIGN_OR_RETURN(const std::string text, file.read_front(file.size()));
  Result<ShardIndex> index = parse_shard_index(text);
  if (!index.ok()) return file.named(index.status());
  return index;
}

Result<ShardIndex> read_shard_index(Env& env, const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(const InputFile file, InputFile::open(env, path));
  return read_shard_index(file);
}

}  // namespace winnow::checkpoint
