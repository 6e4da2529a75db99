#include "winnow/io/file_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "io/file/temp_name.h"

namespace winnow {
namespace {

using ::testing::StartsWith;

TEST(FileName, IsOneInAnyDirectory) {
  for (const std::string& name :
       {std::string("model-00001-of-00003.safetensors"), std::string(".gitattributes"),
        std::string("..."), std::string("a b\nc"), std::string(255, 'n')}) {
    EXPECT_TRUE(check_file_name(name).ok()) << name;
  }
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("/"),
        std::string("../a"), std::string("a\0b", 3), std::string(256, 'n'),
        std::string(".winnow.journal"), std::string(".a.winnow.tmp")}) {
    const Status status = check_file_name(name);
    EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), StartsWith("\""));
  }
}

TEST(FileName, OfWinnowsOwnIsKnown) {
  for (const std::string& name : {std::string("a"), std::string(254, 'n')}) {
    EXPECT_TRUE(is_working_name(io::temp_path_for(name)));
    EXPECT_TRUE(is_working_name(io::staged_path_for(name)));
    EXPECT_NE(io::temp_path_for(name), io::staged_path_for(name));
  }
  EXPECT_TRUE(is_working_name(".winnow.journal"));
  EXPECT_FALSE(is_working_name("a.winnow.tmp"));
  EXPECT_FALSE(is_working_name("winnow.journal"));
  EXPECT_FALSE(is_working_name(""));
}

}  // namespace
}  // namespace winnow
