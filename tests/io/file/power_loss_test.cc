// Power cuts at every call of a write: what is found afterwards is whole-old or whole-new, and new
// once the write has said that it is done.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "io/power_loss_env.h"
#include "io/temp_dir.h"
#include "winnow/io/atomic_directory.h"
#include "winnow/io/atomic_file.h"
#include "winnow/io/atomic_file_set.h"

namespace winnow {
namespace {

using testing::bytes;
using testing::IgnoredSyncs;
using testing::PowerLossEnv;

// The files of a directory and of those below it, by path, and their contents.
using Files = std::map<std::string, std::string>;

Status write_file(Env& env, const std::string& path, std::string_view content,
                  const AtomicFileOptions& options = {.overwrite = true}) {
  WINNOW_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(env, path, options));
  WINNOW_RETURN_IF_ERROR(file.append(bytes(content).first(content.size() / 2)));
  WINNOW_RETURN_IF_ERROR(file.append(bytes(content).subspan(content.size() / 2)));
  return file.commit();
}

Files files_in(PowerLossEnv& env, const std::string& directory) {
  Files out;
  const Result<std::vector<std::string>> names = env.list_directory(directory, 100);
  if (!names.ok()) return {{"", "no directory"}};
  for (const std::string& name : *names) {
    const std::string path = directory + "/" + name;
    const Result<FileInfo> info = env.link_info(path);
    if (!info.ok() || info->kind != FileKind::kDirectory) {
      out[name] = env.content(path);
      continue;
    }
    out[name] = "a directory";
    for (const auto& [below, content] : files_in(env, path)) out[name + "/" + below] = content;
  }
  return out;
}

// A way to write, and the two states that a directory may have afterwards.
struct Writing {
  std::function<Status(Env&)> setup, write;
  /// What a reader or the next run does after the power cut.
  std::function<Status(Env&)> recover;
  Files before, after;
};

constexpr const char* kDirectory = "/d";

// Whether an image is as it should be once it is recovered.
bool is_whole(PowerLossEnv& image, const Writing& writing, bool is_done) {
  if (!writing.recover(image).ok()) return false;
  const Files found = files_in(image, kDirectory);
  return found == writing.after || (!is_done && found == writing.before);
}

struct Count {
  size_t images = 0, broken = 0;
};

Count count_images(const Writing& writing, IgnoredSyncs ignored = {}) {
  PowerLossEnv env(ignored);
  EXPECT_TRUE(env.create_directory(kDirectory, 0777).ok());
  EXPECT_TRUE(writing.setup(env).ok());
  env.settle();
  const Status status = writing.write(env);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(files_in(env, kDirectory), writing.after);
  const auto images = env.take_images();
  const size_t first_done = images.size() - PowerLossEnv::kImagesPerCall;
  Count out{images.size(), 0};
  for (size_t i = 0; i < images.size(); ++i) {
    out.broken += is_whole(*images[i], writing, i >= first_done) ? 0 : 1;
  }
  return out;
}

void expect_safe(const Writing& writing) {
  const Count count = count_images(writing);
  EXPECT_GT(count.images, 30u);
  EXPECT_EQ(count.broken, 0u);
  // The test would see a sync that is missing.
  EXPECT_GT(count_images(writing, {.of_files = true}).broken, 0u);
  EXPECT_GT(count_images(writing, {.of_directories = true}).broken, 0u);
}

Status nothing(Env&) { return {}; }

// Removes what an interrupted run left: the claim of the next one does.
Status claim_file(Env& env) {
  return AtomicFile::create(env, "/d/out", {.overwrite = true}).status();
}

Writing one_file() {
  return {.setup = [](Env& env) { return write_file(env, "/d/out", "old"); },
          .write = [](Env& env) { return write_file(env, "/d/out", "the new content"); },
          .recover = claim_file,
          .before = {{"out", "old"}},
          .after = {{"out", "the new content"}}};
}

TEST(PowerLoss, LeavesAnAtomicFileWhole) { expect_safe(one_file()); }

TEST(PowerLoss, LeavesANewAtomicFileWholeOrNone) {
  Writing writing = one_file();
  writing.setup = nothing;
  writing.before = {};
  expect_safe(writing);
}

Status write_directory(Env& env) {
  WINNOW_ASSIGN_OR_RETURN(AtomicDirectory out, AtomicDirectory::create(env, kDirectory));
  for (const char* name : {"a", "b"}) {
    WINNOW_ASSIGN_OR_RETURN(const std::string path, out.path_of(name));
    WINNOW_RETURN_IF_ERROR(write_file(env, path, name));
  }
  WINNOW_RETURN_IF_ERROR(out.copy_file("c", "/source"));
  return out.commit();
}

// One file, two directories deep.
Status write_nested(Env& env) {
  WINNOW_ASSIGN_OR_RETURN(AtomicDirectory out, AtomicDirectory::create(env, kDirectory));
  WINNOW_RETURN_IF_ERROR(out.add_directory("sub"));
  WINNOW_RETURN_IF_ERROR(out.add_directory("sub/deep"));
  WINNOW_RETURN_IF_ERROR(out.copy_file("sub/deep/c", "/source"));
  return out.commit();
}

Status claim_directory(Env& env) {
  const Status status = AtomicDirectory::create(env, kDirectory).status();
  return status.code() == ErrorCode::kAlreadyExists ? Status() : status;
}

TEST(PowerLoss, LeavesAnAtomicDirectoryWholeOrFree) {
  const Writing writing{.setup = [](Env& env) { return write_file(env, "/source", "c"); },
                        .write = write_directory,
                        .recover = claim_directory,
                        .before = {},
                        .after = {{"a", "a"}, {"b", "b"}, {"c", "c"}}};
  expect_safe(writing);
}

// The top has no file of its own, so that each sync of a directory counts.
TEST(PowerLoss, LeavesANestedAtomicDirectoryWholeOrFree) {
  const Writing writing{
      .setup = [](Env& env) { return write_file(env, "/source", "c"); },
      .write = write_nested,
      .recover = claim_directory,
      .before = {},
      .after = {{"sub", "a directory"}, {"sub/deep", "a directory"}, {"sub/deep/c", "c"}}};
  expect_safe(writing);
}

const Files kOldSet = {{"config", "same"}, {"index", "old"}, {"shard1", "old 1"}, {"stale", "old"}};
const Files kNewSet = {
    {"config", "same"}, {"index", "the new index"}, {"shard1", "new 1"}, {"shard2", "new 2"}};

Status replace(Env& env, AtomicFileSet& set, const std::string& name) {
  WINNOW_ASSIGN_OR_RETURN(const StagedFile file, set.replace(name));
  return write_file(env, file.path, kNewSet.at(name), file.options);
}

Status write_set(Env& env) {
  WINNOW_ASSIGN_OR_RETURN(AtomicFileSet set, AtomicFileSet::create(env, kDirectory));
  WINNOW_RETURN_IF_ERROR(set.remove("stale"));
  for (const char* name : {"shard1", "shard2", "index"}) {
    WINNOW_RETURN_IF_ERROR(replace(env, set, name));
  }
  return set.commit();
}

Status recover_set(Env& env) { return AtomicFileSet::recover(env, kDirectory).status(); }

Writing one_set() {
  const auto setup = [](Env& env) -> Status {
    for (const auto& [name, content] : kOldSet) {
      WINNOW_RETURN_IF_ERROR(write_file(env, std::string(kDirectory) + "/" + name, content));
    }
    return {};
  };
  return {.setup = setup,
          .write = write_set,
          .recover = recover_set,
          .before = kOldSet,
          .after = kNewSet};
}

TEST(PowerLoss, LeavesASetOfFilesAllOldOrAllNew) { expect_safe(one_set()); }

// The power goes again while the next run repairs what the first cut left.
TEST(PowerLoss, DuringARecoveryLeavesASetAllOldOrAllNew) {
  const Writing writing = one_set();
  PowerLossEnv env;
  ASSERT_TRUE(env.create_directory(kDirectory, 0777).ok());
  ASSERT_TRUE(writing.setup(env).ok());
  env.settle();
  ASSERT_TRUE(writing.write(env).ok());
  size_t images = 0;
  for (const auto& first : env.take_images()) {
    ASSERT_TRUE(recover_set(*first).ok());
    const Files found = files_in(*first, kDirectory);
    for (const auto& second : first->take_images()) {
      ++images;
      ASSERT_TRUE(recover_set(*second).ok());
      const Files again = files_in(*second, kDirectory);
      ASSERT_TRUE(again == kOldSet || again == kNewSet);
      // What a run has said about the set stays true.
      ASSERT_EQ(again, found);
    }
  }
  EXPECT_GT(images, 1000u);
}

}  // namespace
}  // namespace winnow
