// The records of an archive's zip file, for tests of where and how they are written.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/zip/zip_reader.h"
#include "winnow/io/torch_archive.h"

namespace winnow::testing {

inline std::vector<io::ZipRecord> zip_records(Env& env, const std::string& path) {
  const Result<InputFile> file = InputFile::open(env, path);
  EXPECT_TRUE(file.ok()) << file.status().message();
  Result<io::ZipDirectory> directory = io::read_zip_directory(*file, kMaxTorchRecords);
  EXPECT_TRUE(directory.ok()) << directory.status().message();
  const Status checked = io::check_zip_records(*file, *directory);
  EXPECT_TRUE(checked.ok()) << checked.message();
  return directory->records;
}

}  // namespace winnow::testing
