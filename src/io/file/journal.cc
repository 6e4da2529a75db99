#include "io/file/journal.h"

#include <libdeflate.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/file_name.h"

namespace winnow::io {
namespace {

constexpr std::string_view kFirstLine = "winnow journal 1\n";
constexpr std::string_view kReplace = "replace ";
constexpr std::string_view kRemove = "remove ";

Status bad_journal(std::string_view what) {
  return {JournalError::kBadJournal, concat("the journal is damaged: ", what)};
}

// Takes the number and the space off the front. Only the form that std::to_string gives is taken.
bool take_number(std::string_view& line, uint64_t& number) {
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  const std::string prefix = concat(number, " ");
  if (error != std::errc() || !line.starts_with(prefix)) return false;
  line.remove_prefix(prefix.size());
  return true;
}

Result<JournalEntry> parse_line(std::string_view line) {
  JournalEntry entry;
  entry.removes = line.starts_with(kRemove);
  if (entry.removes) {
    line.remove_prefix(kRemove.size());
  } else {
    if (!line.starts_with(kReplace)) return bad_journal("a line that is not known");
    line.remove_prefix(kReplace.size());
    if (!take_number(line, entry.bytes)) return bad_journal("a line without a size");
  }
  if (const Status name = check_journal_name(line); !name.ok()) return bad_journal(name.message());
  entry.name = line;
  return entry;
}

Result<std::vector<JournalEntry>> parse_lines(std::string_view lines) {
  std::vector<JournalEntry> entries;
  std::set<std::string, std::less<>> names;
  while (!lines.empty()) {
    const size_t end = lines.find('\n');
    if (end == std::string_view::npos) return bad_journal("a line without an end");
    WINNOW_ASSIGN_OR_RETURN(JournalEntry entry, parse_line(lines.substr(0, end)));
    lines.remove_prefix(end + 1);
    if (!names.insert(entry.name).second) return bad_journal("a name that is there twice");
    if (names.size() > kMaxJournalEntries) return bad_journal("too many names");
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

std::string checksum_line(std::string_view text) {
  uint32_t crc = libdeflate_crc32(0, text.data(), text.size());
  std::string digits(8, '0');
  for (size_t i = digits.size(); i-- > 0; crc >>= 4) digits[i] = "0123456789abcdef"[crc & 0xF];
  return concat("crc32 ", digits, "\n");
}

Status check_journal_name(std::string_view name) {
  WINNOW_RETURN_IF_ERROR(check_file_name(name));
  const bool is_control =
      std::ranges::any_of(name, [](char c) { return static_cast<uint8_t>(c) < 0x20; });
  if (!is_control && name.size() <= kMaxJournalName) return {};
  return {ErrorCode::kInvalidArgument,
          concat("a file that is replaced in place needs a name of at most ", kMaxJournalName,
                 " bytes without control characters, found \"", escape_name(name), "\"")};
}

std::string journal_text(std::span<const JournalEntry> entries) {
  std::string text(kFirstLine);
  for (const JournalEntry& entry : entries) {
    text += entry.removes ? concat(kRemove, entry.name, "\n")
                          : concat(kReplace, entry.bytes, " ", entry.name, "\n");
  }
  return text + checksum_line(text);
}

Result<std::vector<JournalEntry>> parse_journal(std::string_view text) {
  if (!text.starts_with(kFirstLine)) {
    return bad_journal("expected \"winnow journal 1\" as the first line");
  }
  const size_t checksum_bytes = checksum_line("").size();
  if (text.size() < kFirstLine.size() + checksum_bytes) return bad_journal("it is cut short");
  const std::string_view body = text.substr(0, text.size() - checksum_bytes);
  if (text.substr(body.size()) != checksum_line(body)) return bad_journal("its checksum is wrong");
  return parse_lines(body.substr(kFirstLine.size()));
}

}  // namespace winnow::io
