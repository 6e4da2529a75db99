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

/// What went wrong. Numbers and names are stable: both may be logged and compared across versions.
///
/// The codes are the members of ErrorCode and, for malformed files, of the structs in
/// winnow/io/error_codes.h. A layer declares the codes of its own faults; nothing lists them all.
struct StatusCode {
  uint16_t number = 0;
  std::string_view name;  ///< the code's identifier without the `k`: "HeaderSyntax"

  /// Whether it is of malformed input: from 100 on.
  constexpr bool is_of_format() const noexcept { return number >= 100; }

  /// By number, which no two codes share.
  friend constexpr bool operator==(const StatusCode& a, const StatusCode& b) noexcept {
    return a.number == b.number;
  }
};

/// The codes that are not of a file format. The range of the number decides the tool's exit code.
struct ErrorCode {
  /// Success; no error has it.
  static constexpr StatusCode kOk = {0, "Ok"};

  // 1 to 19: the caller asked for something that has no meaning (the tool exits with 2).
  /// A value out of its range; the message gives the range.
  static constexpr StatusCode kInvalidArgument = {1, "InvalidArgument"};
  /// A name or pattern that matches nothing.
  static constexpr StatusCode kUnknownTensor = {2, "UnknownTensor"};
  /// A SIMD level that this machine or build does not have.
  static constexpr StatusCode kUnavailableLevel = {3, "UnavailableLevel"};
  /// An output that is there, and overwriting was not asked for.
  static constexpr StatusCode kAlreadyExists = {4, "AlreadyExists"};
  /// Input and output are one file, and overwriting was not asked for.
  static constexpr StatusCode kSameFile = {5, "SameFile"};
  /// An output that is named by its hash, and that was not asked for.
  static constexpr StatusCode kNamedByHash = {6, "NamedByHash"};
  /// A pattern for what the default selection leaves alone, without force.
  static constexpr StatusCode kLeftAlone = {7, "LeftAlone"};

  // 20 to 39: a check that was asked for did not hold (exit 1).
  /// A file is not what it is said to be: the message names the first difference.
  static constexpr StatusCode kCheckFailed = {20, "CheckFailed"};

  // 40 to 59: the operating system refused (exit 4).
  /// Open, read, write, fsync, rename...: the message holds errno's text.
  static constexpr StatusCode kIoError = {40, "IoError"};
  /// The output is in place, but the directory could not be synced.
  static constexpr StatusCode kNotDurable = {41, "NotDurable"};
  /// The input was changed or cut short while it was read.
  static constexpr StatusCode kInputChanged = {42, "InputChanged"};
  /// Another process or thread is writing the same output.
  static constexpr StatusCode kBusy = {43, "Busy"};
  /// A directory, FIFO, device or dangling link where a file is needed.
  static constexpr StatusCode kUnsupportedFile = {44, "UnsupportedFile"};
  /// Memory ran out.
  static constexpr StatusCode kOutOfMemory = {45, "OutOfMemory"};
  /// The caller asked a long call to stop.
  static constexpr StatusCode kInterrupted = {46, "Interrupted"};

  // 60 to 99: input data that cannot be processed (exit 3).
  static constexpr StatusCode kNanValue = {60, "NanValue"};  ///< a NaN under the policy "error"
  /// The settings in a file's metadata are not what winnow writes.
  static constexpr StatusCode kBadSettings = {61, "BadSettings"};
  /// They were recorded under another rule of the default selection.
  static constexpr StatusCode kOtherRule = {62, "OtherRule"};

  // From 100 on, malformed input (exit 3), in the layer that reads it; this one is also given for
  // matrices in memory.
  /// Elements or bits do not fit into 64 bits.
  static constexpr StatusCode kShapeOverflow = {122, "ShapeOverflow"};
};

/// A code, and for errors one line for a person: what was wrong, where, what was expected and
/// found. Cheap to copy and move when ok (one null pointer).
class [[nodiscard]] Status {
 public:
  /// Success.
  Status() noexcept = default;

  /// An error. `message` is one line without a newline at its end; `code` must not be kOk.
  /// `system_error` is the errno of the call that failed, if there was one.
  Status(StatusCode code, std::string message, int system_error = 0)
      : error_(std::make_shared<const Error>(Error{code, std::move(message), system_error})) {
    assert(code != ErrorCode::kOk);
  }

  /// Whether this is success.
  bool ok() const noexcept { return error_ == nullptr; }
  /// The code; kOk for success.
  StatusCode code() const noexcept { return ok() ? ErrorCode::kOk : error_->code; }

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
    StatusCode code;
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

  /// Whether there is a value.
  bool ok() const noexcept { return std::holds_alternative<T>(state_); }

  /// The error; Status() when ok.
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }

  /// The value. Precondition: ok().
  T& value() & { return *get(); }
  const T& value() const& { return *get(); }
  T&& value() && { return std::move(*get()); }
  /// The same by other syntax.
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
