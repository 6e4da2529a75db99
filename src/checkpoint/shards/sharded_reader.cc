// One view of many files: the tensors of the first shard, then those of the next, with offsets that
// run on. So whatever reads a checkpoint tensor by tensor need not know where one file ends.
#include "checkpoint/shards/sharded_reader.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/status_macros.h"
#include "checkpoint/files/container.h"
#include "checkpoint/shards/checkpoint_folder.h"
#include "checkpoint/shards/shard_index.h"
#include "io/file/temp_name.h"
#include "winnow/base/checked.h"
#include "winnow/base/concat.h"
#include "winnow/io/atomic_file_set.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/input_file.h"
#include "winnow/io/safetensors_writer.h"

namespace winnow::checkpoint {
namespace {

class ShardedReader final : public CheckpointReader {
 public:
  ShardedReader(ShardSet set, FileIdentity directory, std::optional<InputFile> index)
      : set_(std::move(set)), directory_(directory), index_(std::move(index)) {}

  // Takes the shards, in their order, and makes one view of them.
  Status add(std::vector<Shard> shards);

  std::span<const TensorInfo> tensors() const noexcept override { return tensors_; }
  const Metadata& metadata() const noexcept override { return metadata_; }
  std::string header_text(const Metadata& added) const override;
  uint64_t file_bytes() const noexcept override {
    return sum([](const CheckpointReader& shard) { return shard.file_bytes(); });
  }
  uint64_t header_bytes() const noexcept override {
    return sum([](const CheckpointReader& shard) { return shard.header_bytes(); });
  }
  bool reads(const FileIdentity& file) const noexcept override;
  bool is_compressed() const noexcept override;
  const ShardSet* shard_set() const noexcept override { return &set_; }

  uint64_t read_bytes(size_t tensor) const noexcept override {
    const Shard& shard = shard_of(tensor);
    return shard.reader->read_bytes(tensor - shard.first_tensor);
  }
  Result<StoredTensor> stored(size_t tensor) const override {
    const Shard& shard = shard_of(tensor);
    return shard.reader->stored(tensor - shard.first_tensor);
  }
  std::vector<std::string> part_names(size_t tensor) const override {
    const Shard& shard = shard_of(tensor);
    return shard.reader->part_names(tensor - shard.first_tensor);
  }
  Status read(size_t tensor, uint64_t offset, std::span<std::byte> out) const override {
    const Shard& shard = shard_of(tensor);
    return shard.reader->read(tensor - shard.first_tensor, offset, out);
  }
  Status check_unchanged() const override;

 private:
  template <typename Figure>
  uint64_t sum(const Figure& figure) const {
    uint64_t total = 0;
    for (const Shard& shard : set_.shards) total += figure(*shard.reader);
    return total;
  }
  const Shard& shard_of(size_t tensor) const noexcept;
  void add_metadata(const Metadata& metadata, std::map<std::string, size_t>& places,
                    std::set<std::string>& disputed);

  ShardSet set_;
  FileIdentity directory_;
  std::optional<InputFile> index_;
  std::vector<TensorInfo> tensors_;
  Metadata metadata_;
};

Status ShardedReader::add(std::vector<Shard> shards) {
  uint64_t begin = 0;
  std::map<std::string, size_t> places;
  std::set<std::string> disputed;
  for (Shard& shard : shards) {
    shard.first_tensor = tensors_.size();
    shard.first_byte = begin;
    for (TensorInfo tensor : shard.reader->tensors()) {
      tensor.begin += begin;
      tensor.end += begin;
      tensors_.push_back(std::move(tensor));
    }
    // Each is less than a file has; together they could be more than 64 bits have.
    const auto end = checked_add(begin, shard.reader->data_bytes());
    if (!end) return {ErrorCode::kShapeOverflow, "the shards hold more than 2^64 bytes"};
    begin = *end;
    add_metadata(shard.reader->metadata(), places, disputed);
  }
  std::erase_if(metadata_, [&](const auto& entry) { return disputed.contains(entry.first); });
  set_.shards = std::move(shards);
  return Status();
}

// What one shard says holds for the whole, such as the other names of a tensor of its own, unless
// another shard says something else.
void ShardedReader::add_metadata(const Metadata& metadata, std::map<std::string, size_t>& places,
                                 std::set<std::string>& disputed) {
  for (const auto& [key, value] : metadata) {
    const auto [place, is_new] = places.try_emplace(key, metadata_.size());
    if (is_new) {
      metadata_.emplace_back(key, value);
    } else if (metadata_[place->second].second != value) {
      disputed.insert(key);
    }
  }
}

std::string ShardedReader::header_text(const Metadata& added) const {
  if (set_.shards.size() == 1) return set_.shards[0].reader->header_text(added);
  return safetensors_header_text(tensors_, with_entries(metadata_, added));
}

bool ShardedReader::reads(const FileIdentity& file) const noexcept {
  return directory_.same_file(file) || (index_ && index_->identity().same_file(file)) ||
         std::any_of(set_.shards.begin(), set_.shards.end(),
                     [&](const Shard& shard) { return shard.reader->reads(file); });
}

bool ShardedReader::is_compressed() const noexcept {
  return std::any_of(set_.shards.begin(), set_.shards.end(),
                     [](const Shard& shard) { return shard.reader->is_compressed(); });
}

Status ShardedReader::check_unchanged() const {
  if (index_) WINNOW_RETURN_IF_ERROR(index_->check_unchanged());
  for (const Shard& shard : set_.shards) WINNOW_RETURN_IF_ERROR(shard.reader->check_unchanged());
  return Status();
}

const Shard& ShardedReader::shard_of(size_t tensor) const noexcept {
  // Of shards without tensors, which begin where the next one does, the last is found.
  const auto next = std::upper_bound(
      set_.shards.begin(), set_.shards.end(), tensor,
      [](size_t wanted, const Shard& shard) { return wanted < shard.first_tensor; });
  return *std::prev(next);
}

// Finds the first tensor that is not where the index says.
class PlaceCheck {
 public:
  PlaceCheck(const ShardIndex& index, std::span<const Shard> shards)
      : index_(index), shards_(shards), seen_(index.entries.size()) {}

  Status run() {
    for (size_t shard = 0; shard < shards_.size(); ++shard) {
      const CheckpointReader& reader = *shards_[shard].reader;
      for (size_t i = 0; i < reader.tensors().size(); ++i) {
        WINNOW_RETURN_IF_ERROR(visit_tensor(reader, i, shard));
      }
    }
    for (size_t i = 0; i < seen_.size(); ++i) {
      if (!seen_[i]) return check_missing(i);
    }
    return strays_.empty() ? Status() : in_two(strays_.front());
  }

 private:
  struct Stray {
    size_t entry, shard;
  };

  // A weight that is made of others is listed by its own name, or by all of theirs.
  Status visit_tensor(const CheckpointReader& reader, size_t tensor, size_t shard) {
    const std::string& name = reader.tensors()[tensor].name;
    const std::vector<std::string> parts = reader.part_names(tensor);
    if (parts.empty() || index_.find(name) != nullptr) return visit(name, shard);
    for (const std::string& part : parts) WINNOW_RETURN_IF_ERROR(visit(part, shard));
    return Status();
  }

  Status visit(const std::string& name, size_t shard) {
    const IndexEntry* const entry = index_.find(name);
    if (entry == nullptr) {
      return {ShardError::kTensorNotInIndex,
              concat("the tensor ", in_quotes(name), " of the shard ",
                     in_quotes(shards_[shard].name), " is not in the index")};
    }
    const auto place = static_cast<size_t>(entry - index_.entries.data());
    if (entry->shard == shard) {
      seen_[place] = true;
    } else {
      strays_.push_back({place, shard});
    }
    return Status();
  }

  Status check_missing(size_t entry) const {
    const auto stray = std::find_if(strays_.begin(), strays_.end(),
                                    [&](const Stray& found) { return found.entry == entry; });
    return {ShardError::kTensorNotInShard,
            concat("expected the tensor ", in_quotes(name_of(entry)), " in ",
                   in_quotes(home_of(entry)), ", as the index says, found it in ",
                   stray == strays_.end() ? "no shard" : in_quotes(shards_[stray->shard].name))};
  }

  Status in_two(const Stray& stray) const {
    return {ShardError::kTensorInTwoShards,
            concat("the tensor ", in_quotes(name_of(stray.entry)), " is in two shards, ",
                   in_quotes(home_of(stray.entry)), " and ", in_quotes(shards_[stray.shard].name))};
  }

  const std::string& name_of(size_t entry) const { return index_.entries[entry].tensor; }
  const std::string& home_of(size_t entry) const {
    return index_.shards[index_.entries[entry].shard];
  }

  const ShardIndex& index_;
  std::span<const Shard> shards_;
  std::vector<bool> seen_;  // by entry: in its own shard
  std::vector<Stray> strays_;
};

// That no shard was replaced while the others were opened. In this order: a shard that has its new
// file only after the first check is found by the second one.
Status check_one_version(Env& env, const std::string& directory, std::span<const Shard> shards) {
  WINNOW_ASSIGN_OR_RETURN(const bool interrupted, AtomicFileSet::is_interrupted(env, directory));
  if (interrupted) {
    return {ShardError::kInterruptedFolder,
            concat(escape_path(directory),
                   ": its files are being replaced, or a run that did so was killed: run that "
                   "command again, and it finishes what was begun")};
  }
  for (const Shard& shard : shards) {
    const std::string path = path_in(directory, shard.name);
    WINNOW_ASSIGN_OR_RETURN(const FileInfo info, env.info(path));
    if (info.kind != FileKind::kMissing && shard.reader->reads(info.identity)) continue;
    return {ErrorCode::kInputChanged, concat(escape_path(path), ": replaced while it was opened")};
  }
  return Status();
}

Result<std::vector<Shard>> open_shards(Env& env, const std::string& directory,
                                       const ShardIndex& index) {
  std::vector<Shard> shards;
  for (const std::string& name : index.shards) {
    const std::string path = path_in(directory, name);
    WINNOW_ASSIGN_OR_RETURN(const FileInfo info, env.info(path));
    if (info.kind == FileKind::kMissing) {
      return Status(ShardError::kMissingShard, concat("expected the shard ", in_quotes(name),
                                                      " beside the index, found no such file"));
    }
    WINNOW_ASSIGN_OR_RETURN(auto reader, open_file(env, path));
    shards.push_back({.name = name, .reader = std::move(reader)});
  }
  WINNOW_RETURN_IF_ERROR(check_one_version(env, directory, shards));
  return shards;
}

}  // namespace

std::vector<std::string> ShardSet::file_names() const {
  std::vector<std::string> names;
  for (const Shard& shard : shards) names.push_back(shard.name);
  if (!index.empty()) names.push_back(index);
  return names;
}

Result<std::unique_ptr<CheckpointReader>> open_index(Env& env, const std::string& directory,
                                                     const std::string& name) {
  WINNOW_ASSIGN_OR_RETURN(InputFile file, InputFile::open(env, path_in(directory, name)));
  WINNOW_ASSIGN_OR_RETURN(const ShardIndex index, read_shard_index(file));
  WINNOW_ASSIGN_OR_RETURN(const FileInfo info, env.info(directory));
  Result<std::vector<Shard>> shards = open_shards(env, directory, index);
  if (!shards.ok()) {
    const bool is_own = shards.status().code() == ShardError::kMissingShard;
    return is_own ? file.named(shards.status()) : shards.status();
  }
  const Status placed = PlaceCheck(index, *shards).run();
  if (!placed.ok()) return file.named(placed);
  auto reader =
      std::make_unique<ShardedReader>(ShardSet{.directory = directory, .index = name, .shards = {}},
                                      info.identity, std::move(file));
  WINNOW_RETURN_IF_ERROR(reader->add(std::move(*shards)).with_context(escape_path(directory)));
  return std::unique_ptr<CheckpointReader>(std::move(reader));
}

Status recover_folder(Env& env, const std::string& path) {
  if (path.ends_with(kIndexSuffix)) {
    return AtomicFileSet::recover(env, io::directory_of(path)).status();
  }
  WINNOW_ASSIGN_OR_RETURN(const FileInfo info, env.info(path));
  if (info.kind != FileKind::kDirectory) return Status();
  return AtomicFileSet::recover(env, path).status();
}

Result<std::unique_ptr<CheckpointReader>> open_folder(Env& env, const std::string& directory) {
  WINNOW_ASSIGN_OR_RETURN(const std::string name, find_checkpoint(env, directory));
  if (name.ends_with(kIndexSuffix)) return open_index(env, directory, name);
  WINNOW_ASSIGN_OR_RETURN(const FileInfo info, env.info(directory));
  WINNOW_ASSIGN_OR_RETURN(auto file, open_file(env, path_in(directory, name)));
  std::vector<Shard> shards;
  shards.push_back({.name = name, .reader = std::move(file)});
  WINNOW_RETURN_IF_ERROR(check_one_version(env, directory, shards));
  auto reader = std::make_unique<ShardedReader>(
      ShardSet{.directory = directory, .index = {}, .shards = {}}, info.identity, std::nullopt);
  WINNOW_RETURN_IF_ERROR(reader->add(std::move(shards)));
  return std::unique_ptr<CheckpointReader>(std::move(reader));
}

}  // namespace winnow::checkpoint
