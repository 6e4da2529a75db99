#include "winnow/io/file_name.h"

#include "io/file/temp_name.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow {
namespace {

// What is wrong with the name; empty if nothing is.
std::string_view fault_of(std::string_view name) noexcept {
  if (name.empty()) return "it is empty";
  if (name.size() > io::kMaxFileName) return "it has more than 255 bytes";
  if (name == "." || name == "..") return "it is a directory";
  if (name.find('/') != std::string_view::npos) return "it has a slash";
  if (name.find('\0') != std::string_view::npos) return "it has a NUL";
  return is_working_name(name) ? "winnow gives such names to files that it is writing" : "";
}

}  // namespace

Status check_file_name(std::string_view name) {
  const std::string_view fault = fault_of(name);
  if (fault.empty()) return {};
  return {
      ErrorCode::kInvalidArgument,
      concat("\"", escape_name(name), "\" cannot be the name of a file in a directory: ", fault)};
}

bool is_working_name(std::string_view name) noexcept {
  return name == io::kJournalName || (name.starts_with('.') && (name.ends_with(io::kTempSuffix) ||
                                                                name.ends_with(io::kStagedSuffix)));
}

}  // namespace winnow
