// Small checkpoints in shards, for the tests of this folder.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/test_file.h"

namespace winnow::testing {

/// By the name of its shard, the tensors in it.
using TestShards = std::map<std::string, std::vector<TestTensor>>;

/// An index of the shards, laid out as transformers does.
inline std::string index_of(const TestShards& shards) {
  std::map<std::string, std::string> entries;  // sorted by tensor
  uint64_t bytes = 0;
  for (const auto& [file, tensors] : shards) {
    for (const TestTensor& tensor : tensors) {
      entries[tensor.name] = file;
      bytes += tensor.bytes.size();
    }
  }
  std::string text = "{\n  \"metadata\": {\n    \"total_size\": " + std::to_string(bytes) +
                     "\n  },\n  \"weight_map\": {";
  const char* separator = "\n";
  for (const auto& [tensor, file] : entries) {
    text += separator + ("    \"" + tensor + "\": \"" + file + "\"");
    separator = ",\n";
  }
  return text + "\n  }\n}\n";
}

inline constexpr char kIndexName[] = "model.safetensors.index.json";

inline std::string shard_name(int number, int count) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", number, count);
  return name;
}

/// Three shards of four tensors: two in the first, which is the larger, and one in each other.
inline TestShards three_shards() {
  const auto values = [](size_t count, float first) {
    std::vector<float> out(count);
    for (size_t i = 0; i < count; ++i) out[i] = (i % 2 == 0 ? first : -first) + float(i % 97);
    return out;
  };
  return {{shard_name(1, 3), {f32("b", {16, 12}, values(192, 3)), f32("a", {8, 8}, values(64, 5))}},
          {shard_name(2, 3), {f32("c", {4, 4}, values(16, 7))}},
          {shard_name(3, 3), {f32("d", {8, 4}, values(32, 9))}}};
}

/// Writes the shards and an index of them into a new directory.
inline void write_shards(const std::string& directory, const TestShards& shards,
                         const Metadata& metadata = {{"format", "pt"}}) {
  std::filesystem::create_directory(directory);
  for (const auto& [name, tensors] : shards) {
    write_file(directory + "/" + name, image_of(tensors, metadata));
  }
  write_file(directory + "/" + kIndexName, index_of(shards));
}

/// The files of a directory and of those below it, by path from it. Directories are "".
inline std::map<std::string, std::string> files_in(const std::string& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    files[entry.path().lexically_relative(directory)] =
        entry.is_regular_file() ? read_file(entry.path()) : "";
  }
  return files;
}

}  // namespace winnow::testing
