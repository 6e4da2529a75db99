// What the two tables of malformed torch archives share.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "support/torch_image.h"
#include "winnow/io/torch_archive.h"

namespace winnow::testing {

struct RejectCase {
  std::string name;
  StatusCode code;
  std::string image;
};

inline void PrintTo(const RejectCase& c, std::ostream* out) { *out << c.name; }

inline std::string case_name(const ::testing::TestParamInfo<RejectCase>& info) {
  return info.param.name;
}

class TorchArchiveRejects : public ::testing::TestWithParam<RejectCase> {};

inline Result<TorchArchive> open_image(const std::string& image) {
  return TorchArchive::open(std::make_unique<MemoryFile>(image), "in\"put");
}

inline Status open_status(const std::string& image) { return open_image(image).status(); }

inline std::string open_code(const std::string& image) {
  return std::string(open_status(image).code().name);
}

inline void expect_rejected(const RejectCase& c) {
  const Status status = open_status(c.image);
  EXPECT_EQ(status.code().name, c.code.name) << status.message();
  EXPECT_TRUE(status.message().starts_with("in\\\"put: ")) << status.message();
  EXPECT_LT(status.message().size(), 1500u);
  EXPECT_EQ(status.message().find('\n'), std::string_view::npos);
}

}  // namespace winnow::testing
