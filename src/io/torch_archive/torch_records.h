// Private: which records a torch archive has, and what the small ones say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/zip/zip_reader.h"
#include "winnow/base/status.h"
#include "winnow/io/torch_archive.h"

namespace winnow::io {

/// A record data/N.
struct PayloadRecord {
  uint64_t number = 0;  ///< N
  uint32_t index = 0;   ///< of the record
};

/// Where the numbers stand that belong to a record, in the file.
struct RecordPlace {
  uint64_t header = 0;   ///< its header, where it begins
  uint64_t central = 0;  ///< its header in the directory
  bool has_descriptor = false;
};

struct TorchRecords {
  bool has_checksums = true;
  std::vector<TorchRecord> all;         ///< in the order of the file
  std::vector<RecordPlace> places;      ///< of each
  size_t pickle = 0;                    ///< index of data.pkl
  std::vector<PayloadRecord> payloads;  ///< in ascending order of their numbers
};

/// Reads the zip's structure, sorts its records by their names, and reads the small ones.
/// kLegacyArchive, kNotZip: what the file starts with is not an archive.
Result<TorchRecords> read_torch_records(const InputFile& file, const TorchOpenOptions& options);

/// kZipCrc if there are checksums and that of the record is not `crc`.
Status compare_crc(const TorchRecord& record, bool has_checksum, uint32_t crc);

/// Fills `out`, which is as long as the record, and verifies the CRC if there is one: kZipCrc.
Status read_record(const InputFile& file, const TorchRecord& record, bool has_checksum,
                   std::span<std::byte> out);

/// The same without keeping the bytes; takes 256 KiB.
Status check_record(const InputFile& file, const TorchRecord& record, bool has_checksum);

}  // namespace winnow::io
