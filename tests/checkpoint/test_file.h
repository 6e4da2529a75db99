// Small safetensors files for the tests of this folder.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "io/temp_dir.h"
#include "winnow/checkpoint/progress.h"
#include "winnow/io/safetensors.h"
#include "winnow/io/safetensors_writer.h"

namespace winnow::testing {

/// A tensor with its bytes.
struct TestTensor {
  std::string name;
  DType dtype;
  std::vector<uint64_t> shape;
  std::string bytes;
};

/// The bytes of values as they stand in a file.
template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

inline TestTensor f32(std::string name, std::vector<uint64_t> shape,
                      const std::vector<float>& values) {
  return {std::move(name), DType::kF32, std::move(shape), bytes_of(values)};
}

/// The tensors' infos, their data one after the other.
inline std::vector<TensorInfo> infos_of(const std::vector<TestTensor>& tensors) {
  std::vector<TensorInfo> infos;
  uint64_t offset = 0;
  for (const TestTensor& tensor : tensors) {
    const uint64_t end = offset + tensor.bytes.size();
    infos.push_back({tensor.name, tensor.dtype, tensor.shape, offset, end});
    offset = end;
  }
  return infos;
}

/// A whole file of the tensors, their data in the given order.
inline std::string image_of(const std::vector<TestTensor>& tensors, const Metadata& metadata = {}) {
  const std::string text = safetensors_header_text(infos_of(tensors), metadata);
  const uint64_t length = text.size();
  std::string image(reinterpret_cast<const char*>(&length), sizeof length);
  image += text;
  for (const TestTensor& tensor : tensors) image += tensor.bytes;
  return image;
}

/// The header of a file on disk. A test that asks for it knows that the file is well-formed.
inline SafetensorsHeader header_of(const std::string& path) {
  return SafetensorsFile::open(Env::posix(), path).value().header();
}

/// The bytes of one tensor of a file on disk.
inline std::string data_of(const std::string& path, const std::string& name) {
  const SafetensorsFile file = SafetensorsFile::open(Env::posix(), path).value();
  for (const TensorInfo& tensor : file.header().tensors()) {
    if (tensor.name != name) continue;
    std::string data(tensor.bytes(), '\0');
    EXPECT_TRUE(file.read(tensor, 0, std::as_writable_bytes(std::span(data))).ok());
    return data;
  }
  ADD_FAILURE() << "no tensor " << name << " in " << path;
  return "";
}

/// The same, as values.
template <typename T>
std::vector<T> values_of(const std::string& path, const std::string& name) {
  const std::string data = data_of(path, name);
  std::vector<T> values(data.size() / sizeof(T));
  std::memcpy(values.data(), data.data(), data.size());
  return values;
}

/// Adds up what it is told.
struct CountingProgress : Progress {
  void begin(std::string_view stage, uint64_t bytes) override {
    stages.push_back({std::string(stage), bytes, 0});
  }
  void advance(uint64_t bytes) override { stages.back().done += bytes; }

  struct Stage {
    std::string name;
    uint64_t expected, done;
    bool operator==(const Stage&) const = default;
  };
  std::vector<Stage> stages;
};

/// The value of a metadata key; empty where there is none.
inline std::string metadata_of(const std::string& path, std::string_view key) {
  const SafetensorsHeader header = header_of(path);
  for (const auto& [known, value] : header.metadata()) {
    if (known == key) return value;
  }
  return "";
}

}  // namespace winnow::testing
