// Private: the text of `.winnow.journal`, see docs/journal.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/status.h"

namespace winnow::io {

inline constexpr size_t kMaxJournalEntries = 16'384;
/// Names get up to 24 bytes of suffixes, and a line its size.
inline constexpr size_t kMaxJournalName = 200;
inline constexpr size_t kMaxJournalBytes = kMaxJournalEntries * (kMaxJournalName + 32) + 64;

/// A file that is replaced by its staged content, or removed.
struct JournalEntry {
  std::string name;
  bool removes = false;
  uint64_t bytes = 0;  ///< of the new content
};

/// ok if the name can be in a journal; else kInvalidArgument.
Status check_journal_name(std::string_view name);

/// The last line of a journal: the CRC-32 of all that is before it.
std::string checksum_line(std::string_view text);

/// Precondition: good names, each once, and at most kMaxJournalEntries.
std::string journal_text(std::span<const JournalEntry> entries);

/// The entries of a text that is exactly as journal_text writes it; else kBadJournal.
Result<std::vector<JournalEntry>> parse_journal(std::string_view text);

}  // namespace winnow::io
