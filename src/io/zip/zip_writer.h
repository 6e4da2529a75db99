// Private: writes a zip file of stored, 64-byte aligned records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/atomic_file.h"

namespace winnow::io {

/// A record to come.
struct PlannedRecord {
  std::string name;
  uint64_t bytes = 0;
  uint64_t offset = 0;  ///< of its header; set when it is written
  uint32_t crc32 = 0;   ///< likewise
};

/// The size of a file of those records. Precondition: it fits into 64 bits.
uint64_t zip_bytes(std::span<const PlannedRecord> records);

class ZipWriter {
 public:
  ZipWriter(AtomicFile file, std::vector<PlannedRecord> records)
      : file_(std::move(file)), records_(std::move(records)) {}

  /// The record that `add` writes next. Precondition: there is one.
  const PlannedRecord& next() const { return records_[written_]; }

  /// Writes the next record: its header, with size and CRC in place, and `payload`, which has the
  /// planned size. Precondition: there is one, or the file is committed or abandoned, an error.
  Status add(std::span<const std::byte> payload);

  /// Writes the directory and commits the file. Precondition: all records are written.
  Status commit();

  void abandon() noexcept { file_.abandon(); }

  /// A number that depends on the names, sizes and contents of the records so far.
  uint64_t fingerprint() const noexcept { return fingerprint_; }

 private:
  AtomicFile file_;
  std::vector<PlannedRecord> records_;
  size_t written_ = 0;
  uint64_t fingerprint_ = 0;
};

}  // namespace winnow::io
