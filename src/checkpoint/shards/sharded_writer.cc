// The data of a checkpoint comes as one stream, in the order of the input's tensors: that of its
// first shard, then that of the next. It is cut where the input's shards end.
#include "checkpoint/shards/sharded_writer.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "checkpoint/bitmask/dense_folder.h"
#include "checkpoint/files/copier.h"
#include "checkpoint/shards/checkpoint_folder.h"
#include "winnow/io/atomic_directory.h"
#include "winnow/io/atomic_file_set.h"

namespace winnow::checkpoint {
namespace {

// Where the files of a checkpoint are written, and how they get their names together.
class Place {
 public:
  virtual ~Place() = default;
  virtual Result<StagedFile> file(const std::string& name) = 0;
  virtual Status commit() = 0;
};

// To callers, kNotDurable means that the output is there, and this is only a part of it.
Status commit_part(auto& file) {
  const Status committed = file.commit();
  if (committed.code() != ErrorCode::kNotDurable) return committed;
  return {ErrorCode::kIoError, std::string(committed.message())};
}

Status write_text(Env& env, const StagedFile& file, const std::string& text) {
  WINNOW_ASSIGN_OR_RETURN(AtomicFile out, AtomicFile::create(env, file.path, file.options));
  WINNOW_RETURN_IF_ERROR(out.append(std::as_bytes(std::span(text))));
  return commit_part(out);
}

// A folder that is not there yet. What lies beside the checkpoint is copied to it.
class NewFolder final : public Place {
 public:
  // `companions.carried` has the names of `rewritten` too.
  NewFolder(Env& env, AtomicDirectory directory, std::string source, Companions companions,
            std::vector<RewrittenFile> rewritten)
      : env_(env),
        directory_(std::move(directory)),
        source_(std::move(source)),
        companions_(std::move(companions)),
        rewritten_(std::move(rewritten)) {}

  Result<StagedFile> file(const std::string& name) override {
    WINNOW_ASSIGN_OR_RETURN(std::string path, directory_.path_of(name));
    return StagedFile{.path = std::move(path), .options = {}};
  }

  Status commit() override {
    for (const std::string& name : companions_.directories) {
      WINNOW_RETURN_IF_ERROR(directory_.add_directory(name));
    }
    for (const std::string& name : companions_.carried) WINNOW_RETURN_IF_ERROR(carry(name));
    return directory_.commit();
  }

 private:
  Status carry(const std::string& name) {
    const std::string source = path_in(source_, name);
    const auto rewritten = std::find_if(rewritten_.begin(), rewritten_.end(),
                                        [&](const auto& other) { return other.name == name; });
    if (rewritten == rewritten_.end()) return directory_.copy_file(name, source);
    WINNOW_ASSIGN_OR_RETURN(StagedFile staged, file(name));
    staged.options.permissions_of = source;
    return write_text(env_, staged, rewritten->text);
  }

  Env& env_;
  AtomicDirectory directory_;
  std::string source_;
  Companions companions_;
  std::vector<RewrittenFile> rewritten_;
};

// The folder of the input itself. Other files stay, but for those that speak of the old shards.
class SameFolder final : public Place {
 public:
  SameFolder(Env& env, AtomicFileSet files, std::vector<RewrittenFile> rewritten)
      : env_(env), files_(std::move(files)), rewritten_(std::move(rewritten)) {}

  Result<StagedFile> file(const std::string& name) override { return files_.replace(name); }
  Status commit() override {
    for (const RewrittenFile& rewritten : rewritten_) {
      WINNOW_ASSIGN_OR_RETURN(const StagedFile staged, file(rewritten.name));
      WINNOW_RETURN_IF_ERROR(write_text(env_, staged, rewritten.text));
    }
    return files_.commit();
  }

 private:
  Env& env_;
  AtomicFileSet files_;
  std::vector<RewrittenFile> rewritten_;
};

class ShardedWriter final : public CheckpointWriter {
 public:
  ShardedWriter(OutputJob job, const ShardSet& set, std::unique_ptr<Place> place,
                std::string destination, std::vector<std::string> left_out)
      : job_(std::move(job)),
        shards_(set.shards),
        place_(std::move(place)),
        destination_(std::move(destination)),
        left_out_(std::move(left_out)) {}

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
  const Shard& current() const { return shards_[at_]; }

  const OutputJob job_;
  std::span<const Shard> shards_;
  std::unique_ptr<Place> place_;
  std::string destination_;
  std::vector<std::string> left_out_;
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
  std::vector<bool> plain;
  if (!job_.plain.empty()) {
    const auto begin = job_.plain.begin() + static_cast<ptrdiff_t>(shard.first_tensor);
    plain.assign(begin, begin + static_cast<ptrdiff_t>(shard.reader->tensors().size()));
  }
  WINNOW_ASSIGN_OR_RETURN(writer_,
                          create_file_writer(inputs, compress, std::move(plain), job_.threads));
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
    Progress progress;
    StageSeconds seconds;
    Copier copier(*current().reader, job_.threads, progress, seconds);
    WINNOW_RETURN_IF_ERROR(copier.copy(writer_.get()));
  }
  const uint64_t bytes = writer_->file_bytes();
  const Status committed = commit_part(*writer_);
  writer_.reset();
  file_bytes_ += bytes;
  ++at_;
  return committed;
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

Status ShardedWriter::commit() {
  WINNOW_RETURN_IF_ERROR(finish());
  return place_->commit();
}

}  // namespace

Result<std::unique_ptr<CheckpointWriter>> create_folder_writer(const OutputJob& job,
                                                               const ShardSet& set) {
  WINNOW_ASSIGN_OR_RETURN(Companions companions,
                          companions_of(job.env, set.directory, set.file_names(), job.path));
  if (!set.index.empty()) companions.carried.push_back(set.index);
  WINNOW_ASSIGN_OR_RETURN(std::vector<RewrittenFile> rewritten,
                          rewritten_files(job.env, job.input, set));
  WINNOW_ASSIGN_OR_RETURN(AtomicDirectory directory, AtomicDirectory::create(job.env, job.path));
  // As it was given, unless it is a link: then where that leads.
  const std::string given = job.path.substr(0, job.path.find_last_not_of('/') + 1);
  std::string destination = directory.destination() == given ? job.path : directory.destination();
  std::vector<std::string> left_out = std::move(companions.left_out);
  auto place = std::make_unique<NewFolder>(job.env, std::move(directory), set.directory,
                                           std::move(companions), std::move(rewritten));
  return std::unique_ptr<CheckpointWriter>(std::make_unique<ShardedWriter>(
      job, set, std::move(place), std::move(destination), std::move(left_out)));
}

Result<std::unique_ptr<CheckpointWriter>> create_in_place_writer(const OutputJob& job,
                                                                 const ShardSet& set) {
  WINNOW_ASSIGN_OR_RETURN(std::vector<RewrittenFile> rewritten,
                          rewritten_files(job.env, job.input, set));
  WINNOW_ASSIGN_OR_RETURN(AtomicFileSet files, AtomicFileSet::create(job.env, set.directory));
  auto place = std::make_unique<SameFolder>(job.env, std::move(files), std::move(rewritten));
  return std::unique_ptr<CheckpointWriter>(std::make_unique<ShardedWriter>(
      job, set, std::move(place), job.path, std::vector<std::string>()));
}

}  // namespace winnow::checkpoint
