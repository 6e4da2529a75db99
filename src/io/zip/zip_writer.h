// Private: writes a zip file of stored, 64-byte aligned records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/atomic_file.h"

namespace winnow::io {

/// A record to come.
struct PlannedRecord {
  std::string name;
  uint64_t bytes = 0;
};

/// The size of a file of those records. Precondition: it fits into 64 bits.
uint64_t zip_bytes(std::span<const PlannedRecord> records);

class ZipWriter {
 public:
  explicit ZipWriter(AtomicFile file) : file_(std::move(file)) {}

  /// Writes a record: its header, with size and CRC in place, and `payload`.
  Status add(const std::string& name, std::span<const std::byte> payload);

  /// Writes the directory and commits the file.
  Status commit();

  void abandon() noexcept { file_.abandon(); }

  /// A number that depends on the names, sizes and contents of the records so far.
  uint64_t fingerprint() const noexcept { return fingerprint_; }

 private:
  struct Entry {
    std::string name;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    uint32_t crc32 = 0;
  };
  static void append_central(const Entry& entry, std::string& out);

  AtomicFile file_;
  std::vector<Entry> entries_;
  uint64_t fingerprint_ = 0;
};

}  // namespace winnow::io
