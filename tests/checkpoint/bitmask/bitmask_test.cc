// Files of compressed-tensors' sparse formats: as its own decoder reads them (tests/data/bitmask,
// made by make_bitmask.py), in any pieces, and each fault with its code.
#include <gtest/gtest.h>

#include <functional>

#include "checkpoint/test_file.h"
#include "support/threads.h"
#include "winnow/checkpoint/checkpoint_reader.h"
#include "winnow/checkpoint/compress.h"
#include "winnow/checkpoint/inspect.h"
#include "winnow/checkpoint/prune.h"
#include "winnow/sparse/error_codes.h"

namespace winnow {
namespace {

using testing::bytes_of;
using testing::data_of;
using testing::header_of;
using testing::image_of;
using testing::read_file;
using testing::TempDir;
using testing::TestTensor;
using testing::write_file;

std::string golden_path(const std::string& name) {
  return std::string(WINNOW_TEST_DATA "/bitmask/") + name + ".safetensors";
}

std::string read_bytes(const CheckpointReader& file, size_t tensor, uint64_t begin, size_t size) {
  std::string bytes(size, '?');
  const Status status = file.read(tensor, begin, std::as_writable_bytes(std::span(bytes)));
  EXPECT_TRUE(status.ok()) << status.message();
  return bytes;
}

class BitmaskGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(BitmaskGolden, HasTheValuesOfItsOwnDecoder) {
  const std::string name = GetParam(), dense = golden_path(name + ".dense");
  const auto file = open_checkpoint(Env::posix(), golden_path(name)).value();
  const SafetensorsHeader expected = header_of(dense);
  ASSERT_EQ(file->tensors().size(), expected.tensors().size());
  for (size_t i = 0; i < file->tensors().size(); ++i) {
    const TensorInfo& tensor = file->tensors()[i];
    const auto same_name = [&](const TensorInfo& other) { return other.name == tensor.name; };
    const auto other =
        std::find_if(expected.tensors().begin(), expected.tensors().end(), same_name);
    ASSERT_NE(other, expected.tensors().end()) << tensor.name;
    EXPECT_EQ(tensor.dtype, other->dtype) << tensor.name;
    EXPECT_EQ(tensor.shape, other->shape) << tensor.name;
    EXPECT_EQ(read_bytes(*file, i, 0, tensor.bytes()), data_of(dense, tensor.name)) << tensor.name;
  }
}

TEST_P(BitmaskGolden, ReadsAnyPartOfATensor) {
  const std::string name = GetParam();
  const auto file = open_checkpoint(Env::posix(), golden_path(name)).value();
  for (size_t i = 0; i < file->tensors().size(); ++i) {
    const std::string whole = read_bytes(*file, i, 0, file->tensors()[i].bytes());
    for (size_t begin = 0; begin <= whole.size(); ++begin) {
      for (const size_t size : {0, 1, 2, 3, 8, 50, 200}) {
        if (size > whole.size() - begin) continue;
        ASSERT_EQ(read_bytes(*file, i, begin, size), whole.substr(begin, size))
            << i << " " << begin;
      }
    }
  }
}

TEST_P(BitmaskGolden, RefusesRangesThatLeaveTheTensor) {
  const auto file = open_checkpoint(Env::posix(), golden_path(GetParam())).value();
  std::vector<std::byte> out(2);
  const uint64_t bytes = file->tensors()[0].bytes();
  EXPECT_EQ(file->read(0, bytes - 1, out).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(file->read(0, UINT64_MAX, out).code(), ErrorCode::kInvalidArgument);
}

TEST_P(BitmaskGolden, IsDecompressedPrunedAndCompressed) {
  TempDir dir;
  SerialFor serial;
  Progress progress;
  CompressJob job;
  job.input = golden_path(GetParam());
  job.output = dir.path("dense");
  ASSERT_TRUE(decompress_file(Env::posix(), job, serial, progress).ok());
  job.output = dir.path("small");
  ASSERT_TRUE(compress_file(Env::posix(), job, serial, progress).ok());
  job.input = dir.path("small");
  job.output = dir.path("back");
  ASSERT_TRUE(decompress_file(Env::posix(), job, serial, progress).ok());
  EXPECT_EQ(read_file(dir.path("back")), read_file(dir.path("dense")));

  PruneJob prune;
  prune.settings.nan = NanPolicy::kKeep;
  prune.settings.config.sparsity_level = 1;
  prune.settings.force = {"f32.weight"};
  prune.input = golden_path(GetParam());
  prune.output = dir.path("pruned");
  const auto pruned = prune_file(Env::posix(), prune, serial, progress);
  ASSERT_TRUE(pruned.ok()) << pruned.status().message();
  const std::string zeros = data_of(dir.path("pruned"), "f32.weight");
  EXPECT_EQ(zeros, std::string(zeros.size(), '\0'));
}

INSTANTIATE_TEST_SUITE_P(Formats, BitmaskGolden,
                         ::testing::Values("sparse-bitmask", "sparse-24-bitmask"));

// A file of one weight, 3 x 10 of F32, of which the values 1, 2, ... 7 are stored.
struct Parts {
  TestTensor values = testing::f32("w.compressed", {7}, {1, 2, 3, 4, 5, 6, 7});
  TestTensor bitmask = {
      "w.bitmask", DType::kU8, {3, 2}, std::string("\x05\x02\x00\x00\x0f\x00", 6)};
  TestTensor shape = {"w.shape", DType::kI64, {2}, bytes_of<int64_t>({3, 10})};
  TestTensor row_offsets = {"w.row_offsets", DType::kI64, {3}, bytes_of<int64_t>({0, 3, 3})};
  std::vector<TestTensor> others = {testing::f32("w.bias", {1}, {9})};

  std::string image() const {
    std::vector<TestTensor> tensors = {shape, row_offsets, values, bitmask};
    std::erase_if(tensors, [](const TestTensor& tensor) { return tensor.name.empty(); });
    tensors.insert(tensors.end(), others.begin(), others.end());
    return image_of(tensors);
  }
};

// Of opening the file and reading its first tensor.
Status read_status(const Parts& parts) {
  TempDir dir;
  write_file(dir.path("file"), parts.image());
  auto file = open_checkpoint(Env::posix(), dir.path("file"));
  if (!file.ok()) return file.status();
  std::vector<std::byte> out((*file)->tensors()[0].bytes());
  return (*file)->read(0, 0, out);
}

StatusCode code_of(const std::function<void(Parts&)>& change) {
  Parts parts;
  change(parts);
  const Status status = read_status(parts);
  EXPECT_NE(status.message().find("file: "), std::string_view::npos) << status.message();
  return status.code();
}

TEST(BitmaskFaults, TheFileIsWellFormedWithoutOne) {
  EXPECT_TRUE(read_status(Parts()).ok());
  Parts scalar_list;  // as sparse-24-bitmask has its shape
  scalar_list.shape.shape = {2, 1};
  EXPECT_TRUE(read_status(scalar_list).ok());
}

TEST(BitmaskFaults, MissingParts) {
  EXPECT_EQ(code_of([](Parts& p) { p.shape.name = ""; }), BitmaskError::kBitmaskParts);
  EXPECT_EQ(code_of([](Parts& p) { p.others = {testing::f32("w2.compressed", {1}, {9})}; }),
            BitmaskError::kBitmaskParts);
  EXPECT_EQ(code_of([](Parts& p) { p.others = {testing::f32("w2.bitmask", {1}, {9})}; }),
            BitmaskError::kBitmaskParts);
  EXPECT_EQ(code_of([](Parts& p) { p.others = {testing::f32("w.weight", {1}, {9})}; }),
            SafetensorsError::kDuplicateTensor);
}

TEST(BitmaskFaults, AFileWithoutAnyPairOfPartsIsAnOrdinaryOne) {
  Parts parts;
  parts.values.name = "w.values";
  TempDir dir;
  write_file(dir.path("file"), parts.image());
  const auto file = open_checkpoint(Env::posix(), dir.path("file")).value();
  EXPECT_FALSE(file->is_compressed());
  EXPECT_EQ(file->tensors().size(), 5);
}

TEST(BitmaskFaults, Shape) {
  const auto with_shape = [](std::vector<int64_t> numbers) {
    return code_of([&](Parts& p) {
      p.shape = {"w.shape", DType::kI64, {numbers.size()}, bytes_of(numbers)};
    });
  };
  EXPECT_EQ(with_shape({}), BitmaskError::kBitmaskShape);
  EXPECT_EQ(with_shape({3, -10}), BitmaskError::kBitmaskShape);
  EXPECT_EQ(with_shape(std::vector<int64_t>(65, 1)), BitmaskError::kBitmaskShape);
  EXPECT_EQ(code_of([](Parts& p) { p.shape.dtype = DType::kU64; }), BitmaskError::kBitmaskShape);
  EXPECT_EQ(code_of([](Parts& p) { p.shape.shape = {1, 2}; }), BitmaskError::kBitmaskShape);
}

TEST(BitmaskFaults, Size) {
  const auto with_shape = [](std::vector<int64_t> numbers) {
    return code_of([&](Parts& p) {
      p.shape = {"w.shape", DType::kI64, {numbers.size()}, bytes_of(numbers)};
    });
  };
  // A shape that asks for more than the bitmask has bits.
  EXPECT_EQ(with_shape({3, INT64_MAX}), BitmaskError::kBitmaskSize);
  EXPECT_EQ(with_shape({INT64_MAX, 10}), BitmaskError::kBitmaskSize);
  EXPECT_EQ(with_shape({3, 17}), BitmaskError::kBitmaskSize);
  EXPECT_EQ(with_shape({30}), BitmaskError::kBitmaskSize);
  EXPECT_EQ(code_of([](Parts& p) { p.bitmask.dtype = DType::kI8; }), BitmaskError::kBitmaskSize);
  EXPECT_EQ(code_of([](Parts& p) { p.values.shape = {7, 1}; }), BitmaskError::kBitmaskSize);
  EXPECT_EQ(code_of([](Parts& p) {
              p.values = {"w.compressed", DType::kF4, {8}, std::string(4, '\0')};
            }),
            BitmaskError::kBitmaskSize);
  EXPECT_EQ(code_of([](Parts& p) { p.row_offsets.dtype = DType::kU64; }),
            BitmaskError::kBitmaskSize);
  EXPECT_EQ(code_of([](Parts& p) { p.row_offsets.shape = {3, 1}; }), BitmaskError::kBitmaskSize);
  // 2:4, but the values are a list.
  EXPECT_EQ(code_of([](Parts& p) { p.row_offsets.name = ""; }), BitmaskError::kBitmaskSize);
}

TEST(BitmaskFaults, Overflow) {
  // 2^61 empty rows have no bytes, but of F64 values their number does not fit into 64 bits.
  EXPECT_EQ(code_of([](Parts& p) {
              p.row_offsets.name = "";
              p.values = {"w.compressed", DType::kF64, {1ULL << 61, 0}, ""};
              p.bitmask = {"w.bitmask", DType::kU8, {1ULL << 61, 0}, ""};
              p.shape.bytes = bytes_of<uint64_t>({1ULL << 61, 0});
            }),
            ErrorCode::kShapeOverflow);
}

TEST(BitmaskFaults, Bits) {
  const auto with_bits = [](const char* bits) {
    return code_of([&](Parts& p) { p.bitmask.bytes.assign(bits, 6); });
  };
  EXPECT_EQ(with_bits("\x05\x02\x00\x00\x1f\x00"), BitmaskError::kBitmaskCount);
  EXPECT_EQ(with_bits("\x05\x02\x00\x00\x07\x00"), BitmaskError::kBitmaskCount);
  EXPECT_EQ(with_bits("\x05\x02\x00\x00\x07\x04"), BitmaskError::kBitmaskPadding);
  EXPECT_EQ(with_bits("\x05\x00\x02\x00\x0f\x00"), BitmaskError::kBitmaskRowOffsets);
}

TEST(BitmaskFaults, TwoOfFour) {
  const auto with_bits = [](const std::string& bits) {
    Parts parts;
    parts.row_offsets.name = "";
    parts.values = testing::f32("w.compressed", {1, 6}, {1, 2, 3, 4, 5, 6});
    parts.shape.bytes = bytes_of<int64_t>({1, 12});
    parts.bitmask = {"w.bitmask", DType::kU8, {1, 2}, bits};
    return read_status(parts).code();
  };
  EXPECT_EQ(with_bits("\x53\x0c"), ErrorCode::kOk);
  EXPECT_EQ(with_bits("\x71\x0c"), BitmaskError::kBitmaskPattern);  // 1 and 3 in one byte
  EXPECT_EQ(with_bits("\x57\x04"), BitmaskError::kBitmaskPattern);
}

// Rows of one byte and rows that are longer than what is read together, over many steps.
TEST(BitmaskReader, ReadsManyStepsInAnyPieces) {
  for (const uint64_t columns : {5, 1'000'003}) {
    const uint64_t rows = 2'000'006 / columns, row_bytes = (columns + 7) / 8;
    Parts parts;
    parts.others.clear();
    std::string bits(rows * row_bytes, '\0'), dense;
    std::vector<uint16_t> values;
    std::vector<int64_t> row_offsets;
    for (uint64_t row = 0; row < rows; ++row) {
      row_offsets.push_back(static_cast<int64_t>(values.size()));
      for (uint64_t column = 0; column < columns; ++column) {
        const bool kept = (row * columns + column) * 2'654'435'761U % 1'000'003 < 300'000;
        const auto value = static_cast<uint16_t>(kept ? values.size() % 65'535 + 1 : 0);
        dense.append(reinterpret_cast<const char*>(&value), sizeof(value));
        if (!kept) continue;
        values.push_back(value);
        bits[row * row_bytes + column / 8] |= static_cast<char>(1U << column % 8);
      }
    }
    parts.values = {"w.compressed", DType::kF16, {values.size()}, bytes_of(values)};
    parts.bitmask = {"w.bitmask", DType::kU8, {rows, row_bytes}, bits};
    parts.shape.bytes = bytes_of(std::vector<uint64_t>{rows, columns});
    parts.row_offsets = {"w.row_offsets", DType::kI64, {rows}, bytes_of(row_offsets)};
    TempDir dir;
    write_file(dir.path("file"), parts.image());
    const auto file = open_checkpoint(Env::posix(), dir.path("file")).value();
    EXPECT_TRUE(read_bytes(*file, 0, 0, dense.size()) == dense);
    for (uint64_t begin = 0; begin < dense.size(); begin += 399'989) {
      const size_t size = std::min<uint64_t>(777'777, dense.size() - begin);
      EXPECT_TRUE(read_bytes(*file, 0, begin, size) == dense.substr(begin, size)) << begin;
    }
  }
}

}  // namespace
}  // namespace winnow
