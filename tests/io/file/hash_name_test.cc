#include "io/file/hash_name.h"

#include <gtest/gtest.h>

#include <string>

namespace winnow::io {
namespace {

const std::string kSha1(40, 'a');
const std::string kSha256(64, '9');
const std::string kMd5Rest(30, 'e');

TEST(HashName, IsTheWholeNameInTheCachesOfHuggingFaceAndGit) {
  EXPECT_TRUE(is_hash_name(kSha1));
  EXPECT_TRUE(is_hash_name(kSha256));
  EXPECT_TRUE(is_hash_name("/cache/models--a--b/blobs/" + kSha256));
  EXPECT_TRUE(is_hash_name(".git/lfs/objects/99/99/" + kSha256));
  EXPECT_TRUE(is_hash_name("./" + kSha1));
}

TEST(HashName, HasNoOtherLengthAndNoOtherDigits) {
  for (const size_t digits : {0u, 1u, 30u, 32u, 39u, 41u, 63u, 65u, 128u}) {
    EXPECT_FALSE(is_hash_name("blobs/" + std::string(digits, 'a'))) << digits;
  }
  for (const char other : {'g', 'A', 'F', '-', '/', ' ', '\0', '`', ':'}) {
    std::string name = kSha256;
    name[20] = other;
    EXPECT_FALSE(is_hash_name(name)) << other;
  }
  EXPECT_FALSE(is_hash_name(""));
  EXPECT_FALSE(is_hash_name("model.safetensors"));
  EXPECT_FALSE(is_hash_name(kSha256 + "/model.safetensors"));
  EXPECT_FALSE(is_hash_name(kSha256 + "/"));
  EXPECT_FALSE(is_hash_name(kSha256 + ".safetensors"));
  EXPECT_FALSE(is_hash_name("run-" + kSha1));
}

TEST(HashName, IsThatOfOllama) {
  EXPECT_TRUE(is_hash_name("blobs/sha256-" + kSha256));
  EXPECT_FALSE(is_hash_name("blobs/sha256-" + kSha1));
}

TEST(HashName, IsThatOfGitAnnex) {
  const std::string key = "SHA256E-s1234--" + kSha256;
  EXPECT_TRUE(is_hash_name(key + ".safetensors/" + key + ".safetensors"));
  EXPECT_TRUE(is_hash_name("MD5E-s9--" + std::string(32, 'b') + ".tar.gz"));
  EXPECT_TRUE(is_hash_name("SHA1-s9-m3--" + kSha1));
  EXPECT_FALSE(is_hash_name("SHA256E-s1234--" + kSha256.substr(1)));
  EXPECT_FALSE(is_hash_name("WORM-s1234-m1--model.safetensors"));
  EXPECT_FALSE(is_hash_name("model-s1--" + kSha256));
  EXPECT_FALSE(is_hash_name("MODEL--" + kSha256));
}

TEST(HashName, IsThatOfDvc) {
  EXPECT_TRUE(is_hash_name("cache/files/md5/0f/" + kMd5Rest));
  EXPECT_TRUE(is_hash_name("0f/" + kMd5Rest));
  EXPECT_FALSE(is_hash_name("cache/" + kMd5Rest));
  EXPECT_FALSE(is_hash_name("0g/" + kMd5Rest));
}

}  // namespace
}  // namespace winnow::io
