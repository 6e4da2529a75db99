// Status and Result: how every layer below torch reports failure. Nothing here throws.
//
//   Result<SafetensorsFile> file = SafetensorsFile::open(env, path);
//   if (!file.ok()) return file.status();     // code + one line for a person
//   use(file->tensors());
//
// Thread-safety: const members of one object may be called from several threads at once.
#pragma once

#include <cassert>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace winnow {

/// What went wrong, one code for each kind. The numbers are stable: they may be logged and compared
/// across versions. `error_code_name` gives the stable text form.
enum class ErrorCode : uint16_t {
  kOk = 0,

  // The caller asked for something that has no meaning (the tool exits with 2).
  kInvalidArgument = 1,   ///< a value out of its range; the message gives the range
  kUnknownTensor = 2,     ///< a name or pattern that matches nothing
  kUnavailableLevel = 3,  ///< a SIMD level that this machine or build does not have
  kAlreadyExists = 4,     ///< an output that is there, and overwriting was not asked for
  kSameFile = 5,          ///< input and output are one file, and overwriting was not asked for
  kLeftAlone = 6,         ///< a pattern for what the default selection leaves alone, without force

  // A check that was asked for did not hold (exit 1).
  kCheckFailed = 20,

  // The operating system refused (exit 4).
  kIoError = 40,          ///< open, read, write, fsync, rename...: the message holds errno's text
  kNotDurable = 41,       ///< the output is in place, but the directory could not be synced
  kInputChanged = 42,     ///< the input was changed or cut short while it was read
  kBusy = 43,             ///< another process is writing the same output
  kUnsupportedFile = 44,  ///< a directory, FIFO, device or dangling link where a file is needed
  kOutOfMemory = 45,
  kInterrupted = 46,  ///< the caller asked a long call to stop

  // Input data that cannot be processed (exit 3).
  kNanValue = 60,     ///< a NaN under the policy "error"
  kBadSettings = 61,  ///< the settings in a file's metadata are not what winnow writes
  kOtherRule = 62,    ///< they were recorded under another rule of the default selection

  // A malformed safetensors file (exit 3), in the order in which a reader meets them.
  kFileTooShort = 100,         ///< under 8 bytes: no header length
  kHeaderTooLarge = 101,       ///< header length over 100,000,000 bytes
  kHeaderPastEnd = 102,        ///< header length over what the file holds
  kHeaderEmpty = 103,          ///< header length 0
  kHeaderNotUtf8 = 104,        ///< invalid UTF-8, a surrogate included
  kHeaderByteOrderMark = 105,  ///< the header starts with U+FEFF
  kHeaderSyntax = 106,         ///< not JSON by RFC 8259
  kHeaderNotObject = 107,      ///< the top level is no object
  kHeaderTrailingBytes = 108,  ///< something other than spaces after the closing brace
  kHeaderTooDeep = 109,        ///< nested deeper than the format's three levels
  kEntryNotObject = 110,       ///< a tensor's entry is no object
  kDuplicateTensor = 111,      ///< two entries with one name (escapes resolved)
  kDuplicateField = 112,       ///< dtype, shape or data_offsets twice in an entry
  kUnknownField = 113,         ///< a field other than those three
  kMissingField = 114,
  kFieldType = 115,  ///< a field's value is of the wrong JSON type
  kUnknownDtype = 116,
  kRankTooLarge = 117,       ///< more than 64 dimensions
  kBadDimension = 118,       ///< negative, fractional, exponent or at least 2^63
  kBadOffset = 119,          ///< negative, fractional, exponent or at least 2^64
  kOffsetCount = 120,        ///< data_offsets has not exactly two numbers
  kOffsetOrder = 121,        ///< begin > end
  kShapeOverflow = 122,      ///< elements or bits do not fit into 64 bits
  kSizeMismatch = 123,       ///< end - begin differs from shape times dtype
  kPartialByte = 124,        ///< a sub-byte dtype that does not end on a byte
  kOverlap = 125,            ///< two tensors share bytes
  kHole = 126,               ///< bytes that belong to no tensor, before or between tensors
  kDataPastEnd = 127,        ///< a tensor ends past the end of the file
  kTrailingData = 128,       ///< bytes after the last tensor
  kDuplicateMetadata = 129,  ///< `__metadata__` twice
  kMetadataType = 130,       ///< `__metadata__` is no object of strings
  kDuplicateMetadataKey = 131,
  kNameTooLong = 132,      ///< a tensor name over 64 KiB
  kStringTooLong = 133,    ///< any string over 8 MiB
  kTooMuchMetadata = 134,  ///< `__metadata__` with more than 262,144 entries

  // A torch archive whose zip file is malformed or not what torch writes (exit 3).
  kLegacyArchive = 200,  ///< a tar file or plain pickle, as torch wrote them before 1.6
  kNotZip = 201,         ///< the file does not start with a record
  kZipEnd = 202,    ///< the file does not end with an end record: cut short, or bytes behind it
  kZipDisks = 203,  ///< more than one disk
  kZip64Mismatch = 204,   ///< zip64 fields that disagree with the others, or are not as many
  kZipDirectory = 205,    ///< the directory is not as long, or not where, the end record says
  kZipRecordCount = 206,  ///< the end record counts other records than there are, or too many
  kZipHeader = 207,       ///< a record's header has another signature, or is cut short
  kZipName = 208,  ///< empty, no UTF-8, a NUL, a backslash, a leading slash or dots as a directory
  kZipPrefix = 209,      ///< a record outside the directory of the first one
  kZipDuplicate = 210,   ///< two records of one name
  kZipFlags = 211,       ///< encrypted, or flags, attributes or a version that torch does not set
  kZipCompressed = 212,  ///< a record that is not stored
  kZipExtra = 213,       ///< a comment, or an extra field that torch does not write
  kZipLocalMismatch = 214,  ///< a record's own header differs from the directory's
  kZipPastEnd = 215,        ///< a record ends past the directory's start
  kZipOverlap = 216,        ///< two records share bytes
  kZipHole = 217,           ///< bytes that belong to no record
  kZipCrc = 218,            ///< a payload's CRC-32 is not the one in the directory

  // Records that a torch archive must or may not have (exit 3).
  kTorchScript = 220,         ///< a TorchScript module: code, not data
  kUnknownRecord = 221,       ///< a record that no data archive has
  kMissingRecord = 222,       ///< no data.pkl, no version, or no payload of a storage
  kUnreferencedRecord = 223,  ///< a payload that no tensor refers to
  kArchiveVersion = 224,      ///< a version other than 3
  kBigEndian = 225,           ///< a byte order other than little
  kBadRecord = 226,           ///< a small record whose text is not what torch writes
  kRecordTooLarge = 227,      ///< data.pkl over 64 MiB, or a small record over 64 bytes
  kRecordSize = 228,          ///< a payload that is not as long as its storage

  // The pickle of a torch archive (exit 3).
  kPickleProtocol = 230,      ///< not protocol 2
  kPickleOpcode = 231,        ///< an opcode that plain data do not need
  kPickleTruncated = 232,     ///< an argument or the end is missing
  kPickleTrailing = 233,      ///< bytes behind the end
  kPickleStack = 234,         ///< an opcode finds too few values or no mark, or the end too many
  kPickleMemo = 235,          ///< a memo that was not written, is written twice or is out of range
  kPickleTooDeep = 236,       ///< nested deeper than 500
  kPickleTooLarge = 237,      ///< too many nodes
  kPickleGlobal = 238,        ///< a name that is not on the list, be it UTF-8 or not
  kPickleCall = 239,          ///< a name that is called with other arguments than torch.save writes
  kPickleTarget = 240,        ///< an item, entry or state for a value that takes none
  kPickleKey = 241,           ///< a key or set element that is no string, number, bool or None
  kPickleDuplicateKey = 242,  ///< a key or set element twice
  kPickleText = 243,          ///< a string that is not UTF-8
  kPickleInt = 244,           ///< an integer of more than 64 bits
  kPickleValue = 245,         ///< a storage or name where data should be
  kPickleCycle = 246,         ///< a value that contains itself
  kStorageId = 247,           ///< a persistent id that names no storage as torch.save does
  kStorageMismatch = 248,     ///< one storage with two types or sizes

  // The tensors of a torch archive (exit 3).
  kStorageDtype = 250,     ///< a type that winnow has not, or that does not go with the storage
  kTensorRank = 251,       ///< more than 64 dimensions
  kTensorShape = 252,      ///< negative, over 63 bits in all, or not as many strides
  kTensorStride = 253,     ///< a negative stride or offset
  kTensorBounds = 254,     ///< an element outside the storage
  kTensorHooks = 255,      ///< hooks or other Python state
  kSparseLayout = 256,     ///< a sparse layout other than COO
  kSparseShape = 257,      ///< indices, values and shape that do not fit together
  kSparseIndex = 258,      ///< an index outside its dimension
  kSparseDuplicate = 259,  ///< two entries with the same indices
  kSparseOrder = 260,      ///< coalesced by its own account, but not in order
  kTensorGrad = 261,       ///< requires_grad of integers or bools
};

/// The stable text form of a code: its identifier without the `k`, for example "HeaderSyntax".
std::string_view error_code_name(ErrorCode code) noexcept;

/// A code, and for errors one line for a person: what was wrong, where, what was expected and
/// found. Cheap to copy and move when ok (one null pointer).
class [[nodiscard]] Status {
 public:
  /// Success.
  Status() noexcept = default;

  /// An error. `message` is one line without a newline at its end; `code` must not be kOk.
  /// `system_error` is the errno of the call that failed, where there was one.
  Status(ErrorCode code, std::string message, int system_error = 0)
      : error_(std::make_shared<const Error>(Error{code, std::move(message), system_error})) {
    assert(code != ErrorCode::kOk);
  }

  bool ok() const noexcept { return error_ == nullptr; }
  ErrorCode code() const noexcept { return ok() ? ErrorCode::kOk : error_->code; }

  /// The message; empty when ok. Valid as long as this object or a copy of it.
  std::string_view message() const noexcept {
    return ok() ? std::string_view() : std::string_view(error_->message);
  }

  /// The errno behind the error, for callers who tell a missing file from a forbidden one; else 0.
  int system_error() const noexcept { return ok() ? 0 : error_->system_error; }

  /// The same error with `context` and ": " before its message; ok stays ok.
  Status with_context(std::string_view context) const;

 private:
  struct Error {
    ErrorCode code;
    std::string message;
    int system_error;
  };
  std::shared_ptr<const Error> error_;
};

/// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}  // NOLINT: implicit, so that `return value;` works
  Result(Status error) : state_(std::move(error)) {  // NOLINT: implicit, as above
    assert(!ok() && !std::get<Status>(state_).ok());
  }

  bool ok() const noexcept { return std::holds_alternative<T>(state_); }

  /// The error; Status() when ok.
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }

  /// The value. Precondition: ok().
  T& value() & { return *get(); }
  const T& value() const& { return *get(); }
  T&& value() && { return std::move(*get()); }
  T& operator*() & { return *get(); }
  const T& operator*() const& { return *get(); }
  T* operator->() { return get(); }
  const T* operator->() const { return get(); }

 private:
  T* get() {
    assert(ok());
    return std::get_if<T>(&state_);
  }
  const T* get() const {
    assert(ok());
    return std::get_if<T>(&state_);
  }

  std::variant<T, Status> state_;
};

}  // namespace winnow
