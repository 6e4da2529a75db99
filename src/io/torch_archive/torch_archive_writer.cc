#include "winnow/io/torch_archive_writer.h"

#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "io/pickle/pickle.h"
#include "io/torch_tree/torch_tensor_checks.h"
#include "io/zip/zip_writer.h"
#include "winnow/base/checked.h"
#include "winnow/base/concat.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/torch_archive.h"

namespace winnow {
namespace {

// torch.save takes the file's name; a fixed one gives equal bytes under every name.
constexpr std::string_view kPrefix = "archive/";

// As torch 2.13 writes them, in its order, behind the pickle. Behind the payloads come the version
// and the identification.
constexpr std::pair<std::string_view, std::string_view> kFrontRecords[] = {
    {".format_version", "1"}, {".storage_alignment", "64"}, {"byteorder", "little"}};
constexpr std::string_view kVersion = "3\n";
constexpr size_t kIdDigits = 40;

std::vector<io::PlannedRecord> plan(size_t pickle_bytes, std::span<const TorchStorage> storages) {
  std::vector<io::PlannedRecord> out;
  const auto add = [&out](std::string_view name, uint64_t bytes) {
    out.push_back({concat(kPrefix, name), bytes});
  };
  add("data.pkl", pickle_bytes);
  for (const auto& [name, text] : kFrontRecords) add(name, text.size());
  for (size_t i = 0; i < storages.size(); ++i) add(concat("data/", i), storages[i].bytes());
  add("version", kVersion.size());
  add(".data/serialization_id", kIdDigits);
  return out;
}

// So that the size of the file can be computed; what a disk could hold is far below.
Status check_storages(std::span<const TorchStorage> storages) {
  // Half of what a signed offset holds: the headers and the directory come on top.
  constexpr uint64_t kMaxBytes = uint64_t{1} << 62;
  uint64_t total = 0;
  for (const TorchStorage& storage : storages) {
    WINNOW_RETURN_IF_ERROR(io::check_storage(storage));
    const auto sum = checked_add(total, storage.bytes());
    if (!sum || *sum > kMaxBytes) {
      return {ErrorCode::kInvalidArgument, "the storages do not fit into 62 bits"};
    }
    total = *sum;
  }
  return {};
}

// Reads back what was written, so that nothing is written that a reader would refuse.
Status check_readable(std::string_view pickle, std::span<const TorchStorage> storages) {
  // read_pickle has no limit of its own; the reader of archives has.
  if (pickle.size() > kMaxPickleBytes) {
    return {PickleError::kPickleTooLarge,
            concat("the pickle has ", pickle.size(), " bytes, at most ", kMaxPickleBytes,
                   " are allowed")};
  }
  WINNOW_ASSIGN_OR_RETURN(const io::PickleContent content,
                          io::read_pickle(std::as_bytes(std::span(pickle))));
  for (size_t i = 0; i < storages.size(); ++i) {
    // Read back, storages have the numbers of their records; one that is not used is missing.
    if (i < content.numbers.size() && content.numbers[i] == i) continue;
    return {TorchArchiveError::kUnreferencedRecord, concat("no tensor refers to storage ", i)};
  }
  return {};
}

// Storages that pass check_storages, and a pickle of the tree over them.
Result<std::string> make_pickle(const TorchTree& tree, std::span<const TorchStorage> storages) {
  constexpr size_t kOtherRecords = 6;  // data.pkl, three in front, two behind
  // Before the tree is written out, which takes longer.
  if (storages.size() > kMaxTorchRecords - kOtherRecords) {
    return Status(ZipError::kZipRecordCount, concat(storages.size(), " storages"));
  }
  WINNOW_RETURN_IF_ERROR(check_storages(storages));
  return torch_pickle(tree, storages);
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

Result<std::string> torch_pickle(const TorchTree& tree, std::span<const TorchStorage> storages) {
  WINNOW_ASSIGN_OR_RETURN(std::string pickle, io::write_pickle(tree, storages));
  WINNOW_RETURN_IF_ERROR(check_readable(pickle, storages));
  return pickle;
}

struct TorchArchiveWriter::State {
  io::ZipWriter zip;
  std::string name;  // of the file, as messages show it
  size_t storages = 0;
  size_t next = 0;  // the storage to be written next

  Status misused(std::string what) const {
    return {ErrorCode::kInvalidArgument, concat(name, ": ", what)};
  }
};

TorchArchiveWriter::TorchArchiveWriter(std::unique_ptr<State> state) noexcept
    : state_(std::move(state)) {}
TorchArchiveWriter::TorchArchiveWriter(TorchArchiveWriter&& other) noexcept = default;
TorchArchiveWriter& TorchArchiveWriter::operator=(TorchArchiveWriter&& other) noexcept = default;
TorchArchiveWriter::~TorchArchiveWriter() = default;

Result<TorchArchiveWriter> TorchArchiveWriter::create(Env& env, const std::string& path,
                                                      const TorchTree& tree,
                                                      std::span<const TorchStorage> storages,
                                                      AtomicFileOptions options) {
  const std::string name = escape_path(path);
  // Before the file is claimed: what cannot be written leaves no trace.
  Result<std::string> pickle = make_pickle(tree, storages);
  if (!pickle.ok()) return pickle.status().with_context(name);
  // Sizes are known before any payload, so that a disk that is too small shows at once.
  std::vector<io::PlannedRecord> records = plan(pickle->size(), storages);
  options.size_hint = io::zip_bytes(records);
  WINNOW_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(env, path, options));
  auto state = std::make_unique<State>(
      State{io::ZipWriter(std::move(file), std::move(records)), name, storages.size()});
  WINNOW_RETURN_IF_ERROR(state->zip.add(bytes_of(*pickle)));
  for (const auto& [name_in_zip, text] : kFrontRecords) {
    WINNOW_RETURN_IF_ERROR(state->zip.add(bytes_of(text)));
  }
  return TorchArchiveWriter(std::move(state));
}

Status TorchArchiveWriter::append_storage(std::span<const std::byte> payload) {
  const size_t index = state_->next;
  // A file with a wrong payload could not be committed, so it does not stay around.
  if (index == state_->storages || payload.size() != state_->zip.next().bytes) {
    abandon();
    return state_->misused(
        concat(payload.size(), " bytes as storage ", index, " of ", state_->storages));
  }
  ++state_->next;
  return state_->zip.add(payload);
}

Status TorchArchiveWriter::commit() {
  if (state_->next != state_->storages) {
    abandon();
    return state_->misused(
        concat("committed with ", state_->next, " of ", state_->storages, " storages written"));
  }
  WINNOW_RETURN_IF_ERROR(state_->zip.add(bytes_of(kVersion)));
  // torch identifies an archive by digits that depend on its names and content, and so do we.
  std::string id = std::to_string(state_->zip.fingerprint());
  // Padded, since the size of the record was planned.
  id.insert(0, kIdDigits - id.size(), '0');
  WINNOW_RETURN_IF_ERROR(state_->zip.add(bytes_of(id)));
  return state_->zip.commit();
}

void TorchArchiveWriter::abandon() noexcept {
  if (state_ != nullptr) state_->zip.abandon();
}

}  // namespace winnow
