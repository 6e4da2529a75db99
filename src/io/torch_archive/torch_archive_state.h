// Private: an open archive, as the reader and the copy see it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "io/pickle/pickle.h"
#include "io/torch_archive/torch_records.h"
#include "winnow/base/status.h"
#include "winnow/io/input_file.h"
#include "winnow/io/torch_archive.h"

namespace winnow {

struct TorchArchive::State {
  explicit State(InputFile input) : file(std::move(input)) {}

  InputFile file;
  io::TorchRecords records;
  io::PickleContent content;
  std::vector<uint32_t> storage_records;  // for each storage, the index of its record

  Status load(const TorchOpenOptions& options);

  // A payload that is not what was written is named by its record.
  Status of_record(const TorchRecord& record, const Status& status) const;

 private:
  Status load_pickle(const TorchOpenOptions& options);
  Status take_unknown(std::vector<io::PayloadRecord>& payloads) const;
  Status match_storages();
};

}  // namespace winnow
