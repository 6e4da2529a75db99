// An Env in memory that knows what would be left after a power cut.
//
//   PowerLossEnv env;
//   ... make files; env.settle();         // all of that is on the disk
//   write(env);
//   for (auto& image : env.take_images()) // as power cuts at each call may have left the disk
//     EXPECT_TRUE(is_whole(*image));
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "winnow/io/env.h"

namespace winnow::testing {

/// A file or directory, as it is and as the disk surely has it. Used by PowerLossEnv alone.
struct PowerLossNode {
  using Pointer = std::shared_ptr<PowerLossNode>;
  /// Names that one call gave to nodes, or took away (null). It is on the disk as a whole or not.
  using Change = std::vector<std::pair<std::string, Pointer>>;

  FileKind kind = FileKind::kRegular;
  uint64_t inode = 0;
  uint32_t mode = 0;
  std::string content = {}, synced_content = {};
  std::map<std::string, Pointer> names = {}, synced_names = {};
  std::vector<Change> pending = {};  ///< from synced_names to names
  bool is_locked = false;
};

/// Which syncs do nothing: for tests of the tests.
struct IgnoredSyncs {
  bool of_files = false;
  bool of_directories = false;
};

/// A file system in memory, with the root "/" and no symbolic links.
///
/// Before each call that writes, an image is kept for each way in which a power cut at that moment
/// may end: nothing stays that was not synced; all names stay, but no data; all stays, as if the
/// process was killed; and three at random, in which each change of a name stays or not, whatever
/// its order, and each file has its old, new or half of its new content. That is harsher than the
/// usual file systems, which keep an order.
class PowerLossEnv final : public Env {
 public:
  explicit PowerLossEnv(IgnoredSyncs ignored = {});

  /// Makes all that is there durable, and forgets the images.
  void settle();

  /// The images so far and those of this moment, the latter last; then there are none.
  std::vector<std::unique_ptr<PowerLossEnv>> take_images();

  /// How many images there are for one moment.
  static constexpr size_t kImagesPerCall = 6;

  /// The content of a file; "<none>" if there is no such file.
  std::string content(const std::string& path) const;

  Result<FileInfo> info(const std::string& path) override;
  Result<FileInfo> link_info(const std::string& path) override;
  Result<std::string> resolve(const std::string& path) override;
  Status check_writable(const std::string&) override { return {}; }
  Result<std::unique_ptr<RandomAccessFile>> open_for_read(const std::string& path) override;
  Result<std::unique_ptr<WritableFile>> create_exclusive(const std::string& path,
                                                         uint32_t mode) override;
  Result<std::unique_ptr<FileLock>> try_lock(const std::string& path) override;
  Status create_directory(const std::string& path, uint32_t mode) override;
  Result<std::vector<std::string>> list_directory(const std::string& path,
                                                  size_t max_names) override;
  Result<std::unique_ptr<FileLock>> try_lock_directory(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to, IfExists if_exists) override;
  Status remove(const std::string& path) override;
  Status remove_directory(const std::string& path) override;
  Status sync_directory(const std::string& path) override;

  /// To be called before anything that writes.
  void keep_images();
  const IgnoredSyncs& ignored() const noexcept { return ignored_; }

 private:
  PowerLossNode::Pointer find(const std::string& path) const;
  PowerLossNode::Pointer parent_of(const std::string& path) const;
  Result<PowerLossNode::Pointer> add(const std::string& path, FileKind kind, uint32_t mode);

  IgnoredSyncs ignored_;
  PowerLossNode::Pointer root_;
  uint64_t last_inode_ = 1;
  std::mt19937 random_{1};
  std::vector<std::unique_ptr<PowerLossEnv>> images_;
};

}  // namespace winnow::testing
