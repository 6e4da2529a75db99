// Destinations that are named by the hash of their content, as in the caches of Hugging Face,
// git-lfs and others. Which names these are: hash_name_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "io/temp_dir.h"
#include "winnow/io/atomic_file.h"

namespace winnow {
namespace {

using testing::bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::read_file;
using ::testing::StartsWith;
using testing::TempDir;
using testing::write_file;

Status create_status(const std::string& path, bool overwrite = true) {
  return AtomicFile::create(Env::posix(), path, {.overwrite = overwrite}).status();
}

// A cache in which files are found by the hash of their content, with names that lead there.
struct BlobCache {
  TempDir dir;
  std::string blob = dir.path("blobs/" + std::string(64, 'a'));
  std::string link = dir.path("snapshot");

  BlobCache() {
    std::filesystem::create_directory(dir.path("blobs"));
    write_file(blob, "old");
    std::filesystem::create_symlink("blobs/" + std::string(64, 'a'), link);
  }
};

TEST(AtomicFileBlob, IsNotReplaced) {
  const BlobCache cache;
  for (const std::string& path : {cache.link, cache.blob}) {
    for (const bool overwrite : {false, true}) {
      const Status status = create_status(path, overwrite);
      EXPECT_EQ(status.code(), ErrorCode::kNamedByHash);
      EXPECT_THAT(std::string(status.message()), StartsWith(path + ": "));
      EXPECT_THAT(std::string(status.message()), HasSubstr("the hash of its content"));
      EXPECT_EQ(AtomicFile::check(Env::posix(), path, {.overwrite = overwrite}).message(),
                status.message());
    }
  }
  EXPECT_THAT(std::string(create_status(cache.link).message()),
              HasSubstr("a symbolic link to \"" +
                        std::string(std::filesystem::canonical(cache.blob)) + '"'));
  EXPECT_EQ(read_file(cache.blob), "old");
  EXPECT_THAT(cache.dir.names(), ElementsAre("blobs", "snapshot"));
}

TEST(AtomicFileBlob, IsReplacedWhereThatIsAskedFor) {
  const BlobCache cache;
  EXPECT_EQ(AtomicFile::create(Env::posix(), cache.link, {.overwrite_blob = true}).status().code(),
            ErrorCode::kAlreadyExists);
  Result<AtomicFile> file =
      AtomicFile::create(Env::posix(), cache.link, {.overwrite = true, .overwrite_blob = true});
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_TRUE(file->append(bytes("new")).ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(read_file(cache.blob), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(cache.link));
}

TEST(AtomicFileBlob, MayBeMadeNewUnderAnyName) {
  const TempDir dir;
  Result<AtomicFile> file = AtomicFile::create(Env::posix(), dir.path(std::string(64, 'a')));
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_TRUE(file->append(bytes("new")).ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(read_file(dir.path(std::string(64, 'a'))), "new");
}

}  // namespace
}  // namespace winnow
