#include <gtest/gtest.h>

#include <memory>

#include "io/zip/zip_reader.h"
#include "support/torch_image.h"
#include "winnow/io/error_codes.h"

namespace winnow {
namespace {

using testing::MemoryFile;
using testing::zip_entry;
using testing::ZipImage;

TEST(ZipDirectory, HasAtMostAsManyRecordsAsTheCallerAllows) {
  ZipImage image;
  for (const char* name : {"a/1", "a/2", "a/3"}) image.entries.push_back(zip_entry(name, "x"));
  const Result<InputFile> file =
      InputFile::open(std::make_unique<MemoryFile>(image.build()), "image");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(io::read_zip_directory(*file, 3)->records.size(), 3u);
  EXPECT_EQ(io::read_zip_directory(*file, 2).status().code(), ZipError::kZipRecordCount);
}

}  // namespace
}  // namespace winnow
