// The index of a checkpoint in shards: what it says, and a code for each way to be malformed.
#include "checkpoint/shards/shard_index.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "winnow/io/safetensors.h"

namespace winnow::checkpoint {
namespace {

std::string nested(size_t levels) {
  return R"({"weight_map": {"w": "a"}, "other": )" + std::string(levels, '[') +
         std::string(levels, ']') + "}";
}

TEST(ShardIndexTest, ListsShardsAndTensorsInOrder) {
  const auto index = parse_shard_index(
      R"({"metadata": {"total_size": 7}, "weight_map": {"w": "b", "\u0061": "c", "x": "b"}})");
  ASSERT_TRUE(index.ok()) << index.status().message();
  EXPECT_EQ(index->shards, (std::vector<std::string>{"b", "c"}));
  ASSERT_EQ(index->entries.size(), 3);
  ASSERT_NE(index->find("a"), nullptr);
  EXPECT_EQ(index->shards[index->find("a")->shard], "c");
  EXPECT_EQ(index->shards[index->find("x")->shard], "b");
  EXPECT_EQ(index->find("y"), nullptr);
  EXPECT_EQ(index->total_size, 7);
}

TEST(ShardIndexTest, TakesEveryTotalSizeThatWritersWrite) {
  const auto total = [](const std::string& metadata) {
    return parse_shard_index(R"({"weight_map": {"w": "a"})" + metadata + "}").value().total_size;
  };
  EXPECT_EQ(total(""), std::nullopt);
  EXPECT_EQ(total(R"(, "metadata": null)"), std::nullopt);
  EXPECT_EQ(total(R"(, "metadata": {})"), std::nullopt);
  EXPECT_EQ(total(R"(, "metadata": {"total_size": "123"})"), 123);
  EXPECT_EQ(total(R"(, "metadata": {"total_size": 123.0, "total_parameters": 5})"), 123);
  EXPECT_EQ(total(R"(, "metadata": {"total_size": 18446744073709551615})"), UINT64_MAX);
}

TEST(ShardIndexTest, IgnoresWhatItDoesNotKnow) {
  const auto index = parse_shard_index(
      R"({"a": [1, -2, 0.5, {"a": [true, null, "x"]}], "metadata": {"format": {"x": []}},)"
      R"( "weight_map": {"w": "s"}, "b": {"weight_map": {}, "weight_map": 3}})");
  ASSERT_TRUE(index.ok()) << index.status().message();
  EXPECT_EQ(index->entries.size(), 1);
  EXPECT_TRUE(parse_shard_index(nested(64)).ok());
}

TEST(ShardIndexTest, GivesEachFaultItsCode) {
  const auto with_shard = [](const std::string& json) {
    return R"({"weight_map": {"w": )" + json + "}}";
  };
  const auto with_metadata = [](const std::string& json) {
    return R"({"metadata": )" + json + R"(, "weight_map": {"w": "a"}})";
  };
  std::string many = R"({"weight_map": {)";
  for (size_t i = 0; i <= kMaxShards; ++i) {
    many += (i == 0 ? "\"" : ", \"") + std::to_string(i) + R"(": "s)" + std::to_string(i) + "\"";
  }
  const std::string valid = with_shard(R"("a")");
  const struct {
    std::string text;
    StatusCode code;
    std::string part;  // of the message
  } cases[] = {
      {std::string(kMaxIndexBytes + 1, ' '), ShardError::kIndexTooLarge, "100000001 bytes"},
      {"\xEF\xBB\xBF" + valid, ShardError::kIndexNotUtf8, "byte order mark"},
      {with_shard("\"\xff\""), ShardError::kIndexNotUtf8, "byte 22"},
      {"", ShardError::kIndexSyntax, "not JSON"},
      {valid + "x", ShardError::kIndexSyntax, "not JSON"},
      {valid + std::string(1, '\0'), ShardError::kIndexSyntax, "a NUL"},
      {valid.substr(0, 20), ShardError::kIndexSyntax, "not JSON"},
      {R"({"weight_map": {"w": "\ud800"}})", ShardError::kIndexSyntax, "not JSON"},
      {"[]", ShardError::kIndexNotObject, "an array"},
      {"null", ShardError::kIndexNotObject, "null"},
      {nested(65), ShardError::kIndexTooDeep, "64 levels"},
      {R"({"a": 1, "\u0061": 2, "weight_map": {"w": "a"}})", ShardError::kDuplicateIndexKey, "'a'"},
      {R"({"weight_map": {"w": "a"}, "weight_map": {"x": "a"}})", ShardError::kDuplicateIndexKey,
       "'weight_map'"},
      {with_metadata(R"({"total_size": 1, "total_size": 1})"), ShardError::kDuplicateIndexKey,
       "'total_size'"},
      {R"({"weight_map": {"w": "a", "x": "a", "\u0077": "a"}})", ShardError::kDuplicateIndexTensor,
       "'w'"},
      {"{}", ShardError::kMissingWeightMap, "no weight_map"},
      {R"({"weight_map": {}})", ShardError::kMissingWeightMap, "no tensor"},
      {R"({"weight_map": ["a"]})", ShardError::kWeightMapType, "an array"},
      {R"({"weight_map": null})", ShardError::kWeightMapType, "null"},
      {with_shard("1"), ShardError::kWeightMapType, "'w' has to be a file name, found a number"},
      {with_shard("{}"), ShardError::kWeightMapType, "an object"},
      {R"({"weight_map": {")" + std::string(kMaxNameBytes + 1, 'w') + R"(": "a"}})",
       ShardError::kWeightMapType, "65536 bytes"},
      {with_shard(R"("")"), ShardError::kShardName, "'w': \"\""},
      {with_shard(R"("..")"), ShardError::kShardName, "it is a directory"},
      {with_shard(R"("a/b")"), ShardError::kShardName, "slash"},
      {with_shard(R"("/etc/passwd")"), ShardError::kShardName, "slash"},
      {with_shard(R"("a\u0000")"), ShardError::kShardName, "NUL"},
      {with_shard(R"(".a.winnow.tmp")"), ShardError::kShardName, "winnow"},
      {with_metadata("[]"), ShardError::kIndexMetadataType, "metadata has to be an object"},
      {with_metadata("5"), ShardError::kIndexMetadataType, "found a number"},
      {with_metadata(R"({"total_size": null})"), ShardError::kIndexMetadataType, "found null"},
      {with_metadata(R"({"total_size": -1})"), ShardError::kIndexMetadataType, "negative"},
      {with_metadata(R"({"total_size": 0.5})"), ShardError::kIndexMetadataType, "a fraction"},
      {with_metadata(R"({"total_size": 1e300})"), ShardError::kIndexMetadataType, "out of range"},
      {with_metadata(R"({"total_size": "1 GB"})"), ShardError::kIndexMetadataType, "'1 GB'"},
      {with_metadata(R"({"total_size": []})"), ShardError::kIndexMetadataType, "an array"},
      {many + "}}", ShardError::kTooManyShards, "4096"},
  };
  for (const auto& [text, code, part] : cases) {
    const Status status = parse_shard_index(text).status();
    EXPECT_EQ(status.code(), code) << text.substr(0, 80) << ": " << status.message();
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace winnow::checkpoint
