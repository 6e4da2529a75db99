#include "io/power_loss_env.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "base/status_macros.h"
#include "io/file/errno_status.h"
#include "io/file/temp_name.h"

namespace winnow::testing {
namespace {

using Node = PowerLossNode;
using Pointer = Node::Pointer;

FileInfo info_of(const Node& node) {
  FileInfo out;
  out.kind = node.kind;
  out.mode = node.mode;
  out.identity.inode = node.inode;
  out.identity.size = node.content.size();
  return out;
}

class File final : public RandomAccessFile {
 public:
  explicit File(Pointer node) : node_(std::move(node)) {}

  Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) const override {
    const uint64_t end = std::min<uint64_t>(node_->content.size(), offset + out.size());
    const size_t bytes = offset < end ? static_cast<size_t>(end - offset) : 0;
    if (bytes != 0) std::memcpy(out.data(), node_->content.data() + offset, bytes);
    return bytes;
  }
  Result<FileIdentity> identity() const override { return info_of(*node_).identity; }

 private:
  Pointer node_;
};

class Writer final : public WritableFile {
 public:
  Writer(PowerLossEnv& env, Pointer node) : env_(env), node_(std::move(node)) {}

  Status reserve(uint64_t) override { return {}; }
  Status append(std::span<const std::byte> data) override {
    env_.keep_images();
    node_->content.append(reinterpret_cast<const char*>(data.data()), data.size());
    return {};
  }
  Status rewrite(uint64_t offset, std::span<const std::byte> data) override {
    env_.keep_images();
    std::memcpy(node_->content.data() + offset, data.data(), data.size());
    return {};
  }
  Status set_mode(uint32_t mode) override {
    node_->mode = mode;
    return {};
  }
  Result<bool> set_owner(uint32_t, uint32_t) override { return true; }
  Status copy_attributes(const std::string&) override { return {}; }
  Result<FileIdentity> identity() const override { return info_of(*node_).identity; }
  Status sync() override {
    env_.keep_images();
    if (!env_.ignored().of_files) node_->synced_content = node_->content;
    return {};
  }
  Status close() override { return {}; }

 private:
  PowerLossEnv& env_;
  Pointer node_;
};

class Lock final : public FileLock {
 public:
  explicit Lock(Pointer node) : node_(std::move(node)), file_(info_of(*node_).identity) {
    node_->is_locked = true;
  }
  ~Lock() override { node_->is_locked = false; }
  const FileIdentity& file() const noexcept override { return file_; }

 private:
  Pointer node_;
  FileIdentity file_;
};

Result<std::unique_ptr<FileLock>> lock(const Pointer& node, FileKind kind) {
  if (node == nullptr || node->is_locked) return std::unique_ptr<FileLock>();
  if (node->kind != kind) return Status(ErrorCode::kUnsupportedFile, "another kind of file");
  return std::unique_ptr<FileLock>(new Lock(node));
}

void apply_change(std::map<std::string, Pointer>& names, const Node::Change& change) {
  for (const auto& [name, node] : change) {
    names.erase(name);
    if (node != nullptr) names[name] = node;
  }
}

void change_names(Node& directory, Node::Change change) {
  apply_change(directory.names, change);
  directory.pending.push_back(std::move(change));
}

// How a power cut ends.
struct Outcome {
  std::function<bool()> keeps_change;
  std::function<std::string(const Node&)> content_of;
};

// The node as it is after the power cut, all of it on the disk.
Pointer copy_after(const Node& node, const Outcome& outcome) {
  auto out = std::make_shared<Node>(Node{node.kind, node.inode, node.mode});
  out->content = out->synced_content = outcome.content_of(node);
  std::map<std::string, Pointer> names = node.synced_names;
  for (const Node::Change& change : node.pending) {
    if (outcome.keeps_change()) apply_change(names, change);
  }
  for (const auto& [name, child] : names) out->names[name] = copy_after(*child, outcome);
  out->synced_names = out->names;
  return out;
}

std::vector<Outcome> outcomes(std::mt19937& random) {
  const auto synced = [](const Node& node) { return node.synced_content; };
  const auto newest = [](const Node& node) { return node.content; };
  const auto any = [&random](const Node& node) {
    const unsigned choice = random() % 3;
    if (choice == 0) return node.synced_content;
    // What was synced does not get lost; anything that was not may.
    if (choice == 1 || node.content == node.synced_content) return node.content;
    return node.content.substr(0, node.content.size() / 2);
  };
  const auto never = [] { return false; };
  const auto always = [] { return true; };
  const auto sometimes = [&random] { return random() % 2 == 0; };
  return {{never, synced},  {always, synced}, {always, newest},
          {sometimes, any}, {sometimes, any}, {sometimes, any}};
}

}  // namespace

PowerLossEnv::PowerLossEnv(IgnoredSyncs ignored)
    : ignored_(ignored), root_(std::make_shared<Node>(Node{FileKind::kDirectory, 1, 0755})) {}

void PowerLossEnv::settle() {
  root_ = copy_after(*root_, outcomes(random_)[2]);
  images_.clear();
}

void PowerLossEnv::keep_images() {
  for (const Outcome& outcome : outcomes(random_)) {
    auto image = std::make_unique<PowerLossEnv>();
    image->root_ = copy_after(*root_, outcome);
    image->last_inode_ = last_inode_;
    images_.push_back(std::move(image));
  }
}

std::vector<std::unique_ptr<PowerLossEnv>> PowerLossEnv::take_images() {
  keep_images();
  return std::exchange(images_, {});
}

std::string PowerLossEnv::content(const std::string& path) const {
  const Pointer node = find(path);
  return node == nullptr ? "<none>" : node->content;
}

Pointer PowerLossEnv::find(const std::string& path) const {
  Pointer node = root_;
  for (size_t at = 1; at < path.size() && node != nullptr;) {
    const size_t end = std::min(path.find('/', at), path.size());
    const auto found = node->names.find(path.substr(at, end - at));
    node = found == node->names.end() ? nullptr : found->second;
    at = end + 1;
  }
  return node;
}

Pointer PowerLossEnv::parent_of(const std::string& path) const {
  return find(io::directory_of(path));
}

Result<Pointer> PowerLossEnv::add(const std::string& path, FileKind kind, uint32_t mode) {
  const Pointer parent = parent_of(path);
  if (parent == nullptr) return io::errno_status("create", path, ENOENT);
  if (find(path) != nullptr) return io::errno_status("create", path, EEXIST);
  keep_images();
  auto node = std::make_shared<Node>(Node{kind, ++last_inode_, mode});
  change_names(*parent, {{io::file_name_of(path), node}});
  return node;
}

Result<FileInfo> PowerLossEnv::info(const std::string& path) { return link_info(path); }

Result<FileInfo> PowerLossEnv::link_info(const std::string& path) {
  const Pointer node = find(path);
  return node == nullptr ? FileInfo{} : info_of(*node);
}

Result<std::string> PowerLossEnv::resolve(const std::string& path) {
  if (find(path) == nullptr) return io::errno_status("resolve", path, ENOENT);
  return path;
}

Result<std::unique_ptr<RandomAccessFile>> PowerLossEnv::open_for_read(const std::string& path) {
  const Pointer node = find(path);
  if (node == nullptr) return io::errno_status("open", path, ENOENT);
  return std::unique_ptr<RandomAccessFile>(new File(node));
}

Result<std::unique_ptr<WritableFile>> PowerLossEnv::create_exclusive(const std::string& path,
                                                                     uint32_t mode) {
  WINNOW_ASSIGN_OR_RETURN(Pointer node, add(path, FileKind::kRegular, mode));
  return std::unique_ptr<WritableFile>(new Writer(*this, std::move(node)));
}

Result<std::unique_ptr<FileLock>> PowerLossEnv::try_lock(const std::string& path) {
  return lock(find(path), FileKind::kRegular);
}

Result<std::unique_ptr<FileLock>> PowerLossEnv::try_lock_directory(const std::string& path) {
  return lock(find(path), FileKind::kDirectory);
}

Status PowerLossEnv::create_directory(const std::string& path, uint32_t mode) {
  return add(path, FileKind::kDirectory, mode).status();
}

Result<std::vector<std::string>> PowerLossEnv::list_directory(const std::string& path,
                                                              size_t max_names) {
  const Pointer node = find(path);
  if (node == nullptr) return io::errno_status("list", path, ENOENT);
  std::vector<std::string> names;
  for (const auto& [name, child] : node->names) {
    if (names.size() < max_names) names.push_back(name);
  }
  return names;
}

Status PowerLossEnv::rename(const std::string& from, const std::string& to, IfExists if_exists) {
  const Pointer node = find(from), old = find(to), parent = parent_of(to);
  if (node == nullptr) return io::errno_status("create", to, ENOENT);
  const bool is_in_use = old != nullptr && !old->names.empty();
  if (is_in_use || (old != nullptr && if_exists == IfExists::kFail)) {
    return io::errno_status("create", to, EEXIST);
  }
  // Between directories, the old name and the new one would reach the disk each by itself.
  if (parent != parent_of(from)) return io::errno_status("create", to, EXDEV);
  keep_images();
  change_names(*parent, {{io::file_name_of(from), nullptr}, {io::file_name_of(to), node}});
  return {};
}

Status PowerLossEnv::remove(const std::string& path) {
  if (find(path) == nullptr) return io::errno_status("remove", path, ENOENT);
  keep_images();
  change_names(*parent_of(path), {{io::file_name_of(path), nullptr}});
  return {};
}

Status PowerLossEnv::remove_directory(const std::string& path) {
  const Pointer node = find(path);
  if (node != nullptr && !node->names.empty()) return io::errno_status("remove", path, ENOTEMPTY);
  return remove(path);
}

Status PowerLossEnv::sync_directory(const std::string& path) {
  const Pointer node = find(path);
  if (node == nullptr) return io::errno_status("sync", path, ENOENT);
  keep_images();
  if (ignored_.of_directories) return {};
  node->synced_names = node->names;
  node->pending.clear();
  return {};
}

}  // namespace winnow::testing
