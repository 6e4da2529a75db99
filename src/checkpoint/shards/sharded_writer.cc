// The data of a checkpoint comes as one stream, in the order of the input's tensors: that of its
// first shard, then that of the next. It is cut where the input's shards end.
#include "checkpoint/shards/sharded_writer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "checkpoint/bitmask/bitmask_config.h"
#include "checkpoint/files/container.h"
#include "checkpoint/masks/chunks.h"
#include "checkpoint/shards/checkpoint_folder.h"
#include "winnow/io/atomic_directory.h"
#include "winnow/io/atomic_file_set.h"
#include "winnow/io/input_file.h"

namespace winnow::checkpoint {
namespace {

constexpr std::string_view kConfigName = "config.json";

// A file beside the shards whose text changes with them.
struct ChangedFile {
  std::string name;
  std::string text;
};

// Where the files of a checkpoint are written, and how they get their names together.
class Place {
 public:
  virtual ~Place() = default;
  virtual Result<StagedFile> file(const std::string& name) = 0;
  virtual Status commit() = 0;
};

// A folder that is not there yet. What lies beside the checkpoint is copied to it.
class NewFolder final : public Place {
 public:
  NewFolder(AtomicDirectory directory, std::string source, Companions companions)
      : directory_(std::move(directory)),
        source_(std::move(source)),
        companions_(std::move(companions)) {}

  Result<StagedFile> file(const std::string& name) override {
    WINNOW_ASSIGN_OR_RETURN(std::string path, directory_.path_of(name));
    return StagedFile{.path = std::move(path), .options = {}};
  }

  Status commit() override {
    for (const std::string& name : companions_.directories) {
      WINNOW_RETURN_IF_ERROR(directory_.add_directory(name));
    }
    for (const std::string& name : companions_.carried) {
      WINNOW_RETURN_IF_ERROR(directory_.copy_file(name, path_in(source_, name)));
    }
    return directory_.commit();
  }

 private:
  AtomicDirectory directory_;
  std::string source_;
  Companions companions_;
};

// The folder of the input itself. Its index stays: it says the same of the new shards.
class SameFolder final : public Place {
 public:
  explicit SameFolder(AtomicFileSet files) : files_(std::move(files)) {}

  Result<StagedFile> file(const std::string& name) override { return files_.replace(name); }
  Status commit() override { return files_.commit(); }

 private:
  AtomicFileSet files_;
};

class ShardedWriter final : public CheckpointWriter {
 public:
  ShardedWriter(OutputJob job, const ShardSet& set, std::unique_ptr<Place> place,
                std::string destination, std::vector<std::string> left_out,
                std::optional<ChangedFile> config)
      : job_(std::move(job)),
        shards_(set.shards),
        place_(std::move(place)),
        destination_(std::move(destination)),
        left_out_(std::move(left_out)),
        config_(std::move(config)) {}

  const std::string& destination() const noexcept override { return destination_; }
  std::span<const std::string> left_out() const noexcept override { return left_out_; }
  Status append(std::span<const std::byte> data) override;
  Status finish() override;
  Status commit() override;
  uint64_t file_bytes() const noexcept override { return file_bytes_; }

 private:
  Status create(bool compress);
  Status begin_shard();
  Status end_shard();
  Status copy_shard();
  Status write_config();
  const Shard& current() const { return shards_[at_]; }

  const OutputJob job_;
  std::span<const Shard> shards_;
  std::unique_ptr<Place> place_;
  std::string destination_;
  std::vector<std::string> left_out_;
  std::optional<ChangedFile> config_;
  size_t at_ = 0;                             // the shard that is being written
  std::unique_ptr<CheckpointWriter> writer_;  // of that shard; none before it is begun
  StagedFile file_;
  uint64_t left_ = 0;        // of its data
  uint64_t file_bytes_ = 0;  // of the shards that are written
};

Status ShardedWriter::begin_shard() {
  left_ = current().reader->data_bytes();
  WINNOW_ASSIGN_OR_RETURN(file_, place_->file(current().name));
  return create(job_.compress);
}

Status ShardedWriter::create(bool compress) {
  const Shard& shard = current();
  const std::string text = shard.reader->header_text(job_.entries);
  const WriterInputs inputs{job_.env, file_.path, text, shard.reader->data_bytes(), file_.options};
  if (!compress) {
    WINNOW_ASSIGN_OR_RETURN(writer_, create_plain_writer(inputs));
    return Status();
  }
  std::vector<bool> plain;
  if (!job_.plain.empty()) {
    const auto begin = job_.plain.begin() + static_cast<ptrdiff_t>(shard.first_tensor);
    plain.assign(begin, begin + static_cast<ptrdiff_t>(shard.reader->tensors().size()));
  }
  WINNOW_ASSIGN_OR_RETURN(writer_, create_compressed_writer(inputs, plain, job_.threads));
  return Status();
}

Status ShardedWriter::append(std::span<const std::byte> data) {
  while (!data.empty()) {
    if (at_ == shards_.size()) {
      return {ErrorCode::kInvalidArgument, "appended more bytes than the shards have"};
    }
    if (writer_ == nullptr) WINNOW_RETURN_IF_ERROR(begin_shard());
    const auto part = data.first(std::min<uint64_t>(left_, data.size()));
    if (!part.empty()) WINNOW_RETURN_IF_ERROR(writer_->append(part));
    left_ -= part.size();
    data = data.subspan(part.size());
    if (left_ == 0) WINNOW_RETURN_IF_ERROR(end_shard());
  }
  return Status();
}

Status ShardedWriter::end_shard() {
  WINNOW_RETURN_IF_ERROR(writer_->finish());
  if (job_.compress && job_.same_values &&
      writer_->file_bytes() >= current().reader->file_bytes()) {
    writer_.reset();  // gives the file's name free
    WINNOW_RETURN_IF_ERROR(create(/*compress=*/false));
    WINNOW_RETURN_IF_ERROR(copy_shard());
  }
  const uint64_t bytes = writer_->file_bytes();
  const Status committed = writer_->commit();
  writer_.reset();
  // To callers, kNotDurable means that the output is there, and this is only a part of it.
  if (committed.code() == ErrorCode::kNotDurable) {
    return {ErrorCode::kIoError, std::string(committed.message())};
  }
  file_bytes_ += bytes;
  ++at_;
  return committed;
}

Status ShardedWriter::copy_shard() {
  const CheckpointReader& shard = *current().reader;
  WINNOW_ASSIGN_OR_RETURN(RawBuffer buffer, RawBuffer::allocate(kChunkBytes));
  for (const size_t tensor : data_order(shard.tensors())) {
    const uint64_t bytes = shard.tensors()[tensor].bytes();
    for (uint64_t begin = 0; begin < bytes; begin += kChunkBytes) {
      const auto chunk = buffer.first(std::min<uint64_t>(kChunkBytes, bytes - begin));
      WINNOW_RETURN_IF_ERROR(shard.read(tensor, begin, chunk));
      WINNOW_RETURN_IF_ERROR(writer_->append(chunk));
    }
  }
  return Status();
}

// Shards without data are not begun by what is appended.
Status ShardedWriter::finish() {
  while (at_ < shards_.size()) {
    if (writer_ == nullptr) WINNOW_RETURN_IF_ERROR(begin_shard());
    if (left_ > 0) return {ErrorCode::kInvalidArgument, "finished with bytes left to write"};
    WINNOW_RETURN_IF_ERROR(end_shard());
  }
  return Status();
}

Status ShardedWriter::write_config() {
  WINNOW_ASSIGN_OR_RETURN(const StagedFile place, place_->file(config_->name));
  WINNOW_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(job_.env, place.path, place.options));
  WINNOW_RETURN_IF_ERROR(file.append(std::as_bytes(std::span(config_->text))));
  return file.commit();
}

Status ShardedWriter::commit() {
  WINNOW_RETURN_IF_ERROR(finish());
  if (config_) WINNOW_RETURN_IF_ERROR(write_config());
  return place_->commit();
}

// The text of the folder's config.json, if it has to change: what is written is dense, or winnow's
// own, and loaders refuse such weights if the file speaks of compressed-tensors' formats.
Result<std::optional<ChangedFile>> changed_config(const OutputJob& job, const ShardSet& set) {
  const bool was_bitmask =
      std::any_of(set.shards.begin(), set.shards.end(), [](const Shard& shard) {
        return shard.reader->is_compressed() && !shard.reader->is_container();
      });
  const std::string path = path_in(set.directory, std::string(kConfigName));
  WINNOW_ASSIGN_OR_RETURN(const FileInfo info, job.env.info(path));
  if (!was_bitmask || info.kind != FileKind::kRegular) return std::optional<ChangedFile>();
  WINNOW_ASSIGN_OR_RETURN(const InputFile file, InputFile::open(job.env, path));
  // One byte over the limit is enough for the error.
  std::string text(std::min<uint64_t>(file.size(), kMaxConfigBytes + 1), '\0');
  WINNOW_RETURN_IF_ERROR(file.read(0, std::as_writable_bytes(std::span(text))));
  Result<std::string> dense = without_sparsity_config(text);
  if (!dense.ok()) return file.named(dense.status());
  if (*dense == text) return std::optional<ChangedFile>();
  return std::optional(ChangedFile{std::string(kConfigName), std::move(*dense)});
}

}  // namespace

Result<std::unique_ptr<CheckpointWriter>> create_folder_writer(const OutputJob& job,
                                                               const ShardSet& set) {
  WINNOW_ASSIGN_OR_RETURN(Companions companions,
                          companions_of(job.env, set.directory, set.file_names(), job.path));
  WINNOW_ASSIGN_OR_RETURN(std::optional<ChangedFile> config, changed_config(job, set));
  if (config) std::erase(companions.carried, config->name);
  if (!set.index.empty()) companions.carried.push_back(set.index);
  WINNOW_ASSIGN_OR_RETURN(AtomicDirectory directory, AtomicDirectory::create(job.env, job.path));
  // As it was given, unless it is a link: then where that leads.
  const std::string given = job.path.substr(0, job.path.find_last_not_of('/') + 1);
  std::string destination = directory.destination() == given ? job.path : directory.destination();
  std::vector<std::string> left_out = std::move(companions.left_out);
  auto place =
      std::make_unique<NewFolder>(std::move(directory), set.directory, std::move(companions));
  return std::unique_ptr<CheckpointWriter>(std::make_unique<ShardedWriter>(
      job, set, std::move(place), std::move(destination), std::move(left_out), std::move(config)));
}

Result<std::unique_ptr<CheckpointWriter>> create_in_place_writer(const OutputJob& job,
                                                                 const ShardSet& set) {
  WINNOW_ASSIGN_OR_RETURN(std::optional<ChangedFile> config, changed_config(job, set));
  WINNOW_ASSIGN_OR_RETURN(AtomicFileSet files, AtomicFileSet::create(job.env, set.directory));
  return std::unique_ptr<CheckpointWriter>(
      std::make_unique<ShardedWriter>(job, set, std::make_unique<SameFolder>(std::move(files)),
                                      job.path, std::vector<std::string>(), std::move(config)));
}

}  // namespace winnow::checkpoint
