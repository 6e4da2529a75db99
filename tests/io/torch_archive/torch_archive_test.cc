// What is read from and written to torch archives, and what happens when the system fails. Of files
// that torch itself wrote, tests/python/test_torch_archive.py has more.
#include "winnow/io/torch_archive.h"

#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "io/fault_env.h"
#include "io/temp_dir.h"
#include "io/zip_records.h"
#include "support/torch_image.h"
#include "winnow/io/torch_archive_writer.h"

namespace winnow {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace testing;  // NOLINT: the helpers of this folder

std::string string_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <typename T>
std::string raw(const std::vector<T>& values) {
  return string_of(std::as_bytes(std::span(values)));
}

Result<TorchArchive> open_image(const std::string& image) {
  return TorchArchive::open(std::make_unique<MemoryFile>(image), "image");
}

// A tree with a matrix over storage 0 and three int64 over storage 1.
struct Sample {
  TorchTree tree;
  std::vector<TorchStorage> storages = {{DType::kF32, 6}, {DType::kI64, 3}};
  std::string floats = raw<float>({1, 2, 3, 4, 5, 6});
  std::string longs = raw<int64_t>({7, 8, 9});

  Sample() {
    const TorchNode dict = tree.add_dict({.ordered = true});
    tree.set_item(dict, tree.add_string("w"),
                  tree.add_tensor({.storage = 0, .shape = {2, 3}, .strides = {3, 1}}));
    tree.set_item(
        dict, tree.add_string("n"),
        tree.add_tensor({.storage = 1, .dtype = DType::kI64, .shape = {3}, .strides = {1}}));
    tree.set_root(dict);
  }

  Status write(Env& env, const std::string& path, bool overwrite = false) const {
    Result<TorchArchiveWriter> writer =
        TorchArchiveWriter::create(env, path, tree, storages, {.overwrite = overwrite});
    if (!writer.ok()) return writer.status();
    for (const std::string& payload : {floats, longs}) {
      if (Status status = writer->append_storage(bytes(payload)); !status.ok()) return status;
    }
    return writer->commit();
  }
};

std::string read_storage(const TorchArchive& archive, size_t index) {
  std::vector<std::byte> out(archive.storages()[index].bytes());
  const Status status = archive.read_storage(index, out);
  EXPECT_TRUE(status.ok()) << status.message();
  return string_of(out);
}

TEST(TorchArchive, HoldsWhatWasWritten) {
  const TempDir dir;
  const Sample sample;
  ASSERT_TRUE(sample.write(Env::posix(), dir.path("a.pt")).ok());
  Result<TorchArchive> archive = TorchArchive::open(Env::posix(), dir.path("a.pt"));
  ASSERT_TRUE(archive.ok()) << archive.status().message();
  EXPECT_THAT(archive->storages(), ElementsAre(sample.storages[0], sample.storages[1]));
  EXPECT_EQ(read_storage(*archive, 0), sample.floats);
  EXPECT_EQ(read_storage(*archive, 1), sample.longs);
  const TorchTensor* w = archive->root().find("w")->as_tensor();
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(*w, (TorchTensor{.storage = 0, .shape = {2, 3}, .strides = {3, 1}}));
  EXPECT_TRUE(archive->check_unchanged().ok());
}

TEST(TorchArchive, StandsInAlignedRecordsOfOneFolder) {
  const TempDir dir;
  ASSERT_TRUE(Sample().write(Env::posix(), dir.path("a.pt")).ok());
  Result<TorchArchive> archive = TorchArchive::open(Env::posix(), dir.path("a.pt"));
  std::vector<std::string> names;
  for (const io::ZipRecord& record : testing::zip_records(Env::posix(), dir.path("a.pt"))) {
    EXPECT_EQ(record.payload_offset % 64, 0u) << record.name;
    names.push_back(record.name);
  }
  EXPECT_THAT(names,
              ElementsAre("archive/data.pkl", "archive/.format_version",
                          "archive/.storage_alignment", "archive/byteorder", "archive/data/0",
                          "archive/data/1", "archive/version", "archive/.data/serialization_id"));
  EXPECT_EQ(archive->storage_record(1).bytes, 24u);
  EXPECT_EQ(archive->storage_record(1).crc32, plain_crc32(Sample().longs));
}

TEST(TorchArchive, NumbersStoragesAsTheFileDoes) {
  const auto tensor = [](const std::string& number) {
    return pkl::tensor(pkl::storage("ByteStorage", 1, number), {1}, {1});
  };
  ZipImage image = archive_image(pkl::program(tensor("12") + tensor("3") + "\x86"));
  image.entries.push_back(zip_entry("a/data/12", "x"));
  image.entries.push_back(zip_entry("a/data/3", "y"));
  const Result<TorchArchive> archive = open_image(image.build());
  ASSERT_TRUE(archive.ok()) << archive.status().message();
  EXPECT_EQ(archive->storage_record(0).name, "data/3");
  EXPECT_EQ(archive->root()[0].as_tensor()->storage, 1u);
  EXPECT_EQ(read_storage(*archive, 1), "x");
}

TEST(TorchArchive, FindsEachFlippedBitOfAPayload) {
  const std::string pickle = pkl::program(pkl::tensor(pkl::storage("ByteStorage", 9), {9}, {1}));
  const std::string image = archive_image(pickle, {"123456789"}).build();
  const size_t at = image.find("123456789");
  for (size_t bit = 0; bit < 72; ++bit) {
    std::string flipped = image;
    flipped[at + bit / 8] ^= static_cast<char>(1 << bit % 8);
    const Result<TorchArchive> archive = open_image(flipped);
    ASSERT_TRUE(archive.ok());
    std::vector<std::byte> out(9);
    const Status status = archive->read_storage(0, out);
    EXPECT_EQ(status.code(), ZipError::kZipCrc);
    EXPECT_THAT(std::string(status.message()), HasSubstr("image: record \"data/0\": "));
  }
}

TEST(TorchArchive, ChecksPayloadsThatAreLongerThanAChunk) {
  std::string payload(700'001, 'x');
  payload[600'000] = 'y';
  const std::string pickle =
      pkl::program(pkl::tensor(pkl::storage("ByteStorage", 700'001), {2}, {1}));
  const std::string image = archive_image(pickle, {payload}).build();
  EXPECT_EQ(read_storage(*open_image(image), 0), payload);
  std::string flipped = image;
  flipped[image.find("xyx") + 1] = 'x';
  std::vector<std::byte> out(payload.size());
  EXPECT_EQ(open_image(flipped)->read_storage(0, out).code(), ZipError::kZipCrc);
}

TEST(TorchArchive, ReadsOnlyWholeStorages) {
  const std::string pickle = pkl::program(pkl::tensor(pkl::storage("ByteStorage", 4), {4}, {1}));
  const Result<TorchArchive> archive = open_image(archive_image(pickle, {"abcd"}).build());
  std::vector<std::byte> out(5);
  for (const size_t size : {3, 5}) {
    EXPECT_EQ(archive->read_storage(0, std::span(out).first(size)).code(),
              ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(archive->read_storage(1, std::span(out).first(4)).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(archive->read_tensor(*archive->root().as_tensor(), out).code(),
            ErrorCode::kInvalidArgument);
}

// The elements of a view of the storage "abcdefgh".
std::string elements(const TorchTensor& tensor) {
  const std::string pickle = pkl::program(pkl::tensor(pkl::storage("ByteStorage", 8), {8}, {1}));
  const Result<TorchArchive> archive = open_image(archive_image(pickle, {"abcdefgh"}).build());
  std::vector<std::byte> out(tensor.numel());
  const Status status = archive->read_tensor(tensor, out);
  EXPECT_TRUE(status.ok()) << status.message();
  return string_of(out);
}

TorchTensor view(std::vector<uint64_t> shape, std::vector<uint64_t> strides, uint64_t offset = 0) {
  return {.dtype = DType::kU8,
          .shape = std::move(shape),
          .strides = std::move(strides),
          .offset = offset};
}

TEST(TorchArchive, ReadsViewsRowMajor) {
  EXPECT_EQ(elements(view({8}, {1})), "abcdefgh");
  EXPECT_EQ(elements(view({2, 4}, {4, 1})), "abcdefgh");
  EXPECT_EQ(elements(view({4, 2}, {1, 4})), "aebfcgdh");
  EXPECT_EQ(elements(view({2, 2, 2}, {1, 2, 4})), "aecgbfdh");
  EXPECT_EQ(elements(view({3}, {2}, 1)), "bdf");
  EXPECT_EQ(elements(view({}, {}, 7)), "h");
  EXPECT_EQ(elements(view({2, 3}, {0, 1}, 2)), "cdecde");
  EXPECT_EQ(elements(view({8}, {0})), "aaaaaaaa");
  EXPECT_EQ(elements(view({0, 8}, {8, 1})), "");
  EXPECT_EQ(elements(view({1, 8}, {99, 1})), "abcdefgh");
}

TEST(TorchArchive, ReadsViewsOfWiderTypes) {
  const std::vector<double> values = {1, 2, 3, 4};
  const std::string pickle =
      pkl::program(pkl::tensor(pkl::storage("DoubleStorage", 4), {2, 2}, {1, 2}));
  const Result<TorchArchive> archive = open_image(archive_image(pickle, {raw(values)}).build());
  std::vector<double> out(4);
  ASSERT_TRUE(
      archive->read_tensor(*archive->root().as_tensor(), std::as_writable_bytes(std::span(out)))
          .ok());
  EXPECT_THAT(out, ElementsAre(1, 3, 2, 4));
}

struct SparseCase {
  std::vector<int64_t> indices;  // [2, 2]
  bool is_coalesced = false;
};

// Reads a sparse tensor of shape [3, 2] with two entries.
Status read_sparse(const SparseCase& c, std::vector<int64_t>& indices, std::string& values) {
  const std::string pickle =
      pkl::program(pkl::sparse(pkl::tensor(pkl::storage("LongStorage", 4, "0"), {2, 2}, {2, 1}),
                               pkl::tensor(pkl::storage("ByteStorage", 2, "1"), {2}, {1}), {3, 2},
                               c.is_coalesced ? "\x88" : "\x89"));
  const Result<TorchArchive> archive =
      open_image(archive_image(pickle, {raw(c.indices), "xy"}).build());
  EXPECT_TRUE(archive.ok()) << archive.status().message();
  indices.resize(4);
  std::vector<std::byte> out(2);
  const Status status = archive->read_sparse(*archive->root().as_sparse(), indices, out);
  values = string_of(out);
  return status;
}

StatusCode sparse_code(const SparseCase& c) {
  std::vector<int64_t> indices;
  std::string values;
  return read_sparse(c, indices, values).code();
}

TEST(TorchArchive, ReadsSparseTensors) {
  std::vector<int64_t> indices;
  std::string values;
  ASSERT_TRUE(read_sparse({{0, 2, 1, 0}, true}, indices, values).ok());
  EXPECT_THAT(indices, ElementsAre(0, 2, 1, 0));
  EXPECT_EQ(values, "xy");
}

TEST(TorchArchive, ChecksTheIndicesOfSparseTensors) {
  EXPECT_EQ(sparse_code({{0, 3, 0, 0}}), TorchArchiveError::kSparseIndex);
  EXPECT_EQ(sparse_code({{0, 1, 0, 2}}), TorchArchiveError::kSparseIndex);
  EXPECT_EQ(sparse_code({{-1, 1, 0, 0}}), TorchArchiveError::kSparseIndex);
  EXPECT_EQ(sparse_code({{1, 1, 1, 1}}), TorchArchiveError::kSparseDuplicate);
  EXPECT_EQ(sparse_code({{2, 1, 0, 0}, true}), TorchArchiveError::kSparseOrder);
  EXPECT_EQ(sparse_code({{1, 1, 1, 0}, true}), TorchArchiveError::kSparseOrder);
  EXPECT_EQ(sparse_code({{2, 1, 0, 0}, false}), ErrorCode::kOk);
}

// The mark of a tensor of that many entries, and that of the tensor that is written and read again.
std::vector<bool> coalesced_marks(int64_t nnz, const std::string& mark) {
  const std::string indices = pkl::tensor(pkl::storage("LongStorage", 2, "0"), {1, nnz}, {nnz, 1});
  const std::string values = pkl::tensor(pkl::storage("ByteStorage", 2, "1"), {nnz}, {1});
  const std::vector<std::string> payloads = {raw<int64_t>({0, 1}), "xy"};
  const Result<TorchArchive> first = open_image(
      archive_image(pkl::program(pkl::sparse(indices, values, {3}, mark)), payloads).build());
  const Result<std::string> pickle = torch_pickle(first->tree(), first->storages());
  const Result<TorchArchive> second = open_image(archive_image(*pickle, payloads).build());
  return {first->root().as_sparse()->is_coalesced, second->root().as_sparse()->is_coalesced};
}

TEST(TorchArchive, CallsFewerThanTwoEntriesCoalescedIfTheFileDoesNotSay) {
  for (const int64_t nnz : {0, 1, 2}) {
    EXPECT_THAT(coalesced_marks(nnz, ""), Each(nnz < 2)) << nnz;
    EXPECT_THAT(coalesced_marks(nnz, "\x88"), Each(true)) << nnz;
    EXPECT_THAT(coalesced_marks(nnz, "\x89"), Each(false)) << nnz;
  }
}

TEST(TorchArchive, FindsDuplicatesThatStandApart) {
  const std::string pickle = pkl::program(
      pkl::sparse(pkl::tensor(pkl::storage("LongStorage", 4, "0"), {1, 4}, {4, 1}),
                  pkl::tensor(pkl::storage("ByteStorage", 4, "1"), {4}, {1}), {9}, "\x89"));
  const auto code = [&](const std::vector<int64_t>& indices) {
    const Result<TorchArchive> archive =
        open_image(archive_image(pickle, {raw(indices), "wxyz"}).build());
    std::vector<int64_t> out(4);
    std::vector<std::byte> values(4);
    return archive->read_sparse(*archive->root().as_sparse(), out, values).code();
  };
  EXPECT_EQ(code({5, 2, 8, 5}), TorchArchiveError::kSparseDuplicate);
  EXPECT_EQ(code({5, 2, 8, 4}), ErrorCode::kOk);
}

TEST(TorchArchive, NoticesThatItsFileChanged) {
  const TempDir dir;
  ASSERT_TRUE(Sample().write(Env::posix(), dir.path("a.pt")).ok());
  const Result<TorchArchive> archive = TorchArchive::open(Env::posix(), dir.path("a.pt"));
  std::filesystem::resize_file(dir.path("a.pt"), archive->storage_record(0).offset);
  std::vector<std::byte> out(24);
  const Status read = archive->read_storage(0, out);
  EXPECT_EQ(read.code(), ErrorCode::kInputChanged);
  EXPECT_THAT(std::string(read.message()), HasSubstr("a.pt\" was cut short"));
  EXPECT_EQ(archive->check_unchanged().code(), ErrorCode::kInputChanged);
}

TEST(TorchArchive, ReportsWhatCannotBeOpened) {
  const TempDir dir;
  const auto code = [](const std::string& path) {
    return TorchArchive::open(Env::posix(), path).status().code();
  };
  EXPECT_EQ(code(dir.path("none")), ErrorCode::kIoError);
  EXPECT_EQ(code(dir.root()), ErrorCode::kUnsupportedFile);
}

TEST(TorchArchive, ReportsEachFailureOfTheSystem) {
  const TempDir dir;
  ASSERT_TRUE(Sample().write(Env::posix(), dir.path("a.pt")).ok());
  for (int call = 1;; ++call) {
    FaultPlan plan{.fail_at = call, .error = EIO};
    FaultEnv env(Env::posix(), plan);
    const Result<TorchArchive> archive = TorchArchive::open(env, dir.path("a.pt"));
    if (archive.ok()) {
      EXPECT_GT(call, 10);
      break;
    }
    EXPECT_EQ(archive.status().code(), ErrorCode::kIoError) << call;
  }
}

// A matrix of 2 x 3 floats, by torch's own headers, in an archive without checksums.
ZipImage image_without_checksums() {
  ZipImage image =
      archive_image(pkl::program(pkl::tensor(pkl::storage("FloatStorage", 6), {2, 3}, {3, 1})),
                    {std::string(24, 'f')});
  for (ZipEntry& entry : image.entries) entry = torch_entry(entry.local.name, entry.payload);
  return without_checksums(std::move(image));
}

TEST(TorchArchiveWithoutChecksums, IsRefusedByTheNameOfTheOptionThatMadeIt) {
  const Status status = open_image(image_without_checksums().build()).status();
  EXPECT_EQ(status.code(), TorchArchiveError::kNoChecksums);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("torch.serialization.set_crc32_options(False)"));
}

TEST(TorchArchiveWithoutChecksums, IsReadWhereThatIsAllowed) {
  const Result<TorchArchive> archive =
      TorchArchive::open(std::make_unique<MemoryFile>(image_without_checksums().build()), "image",
                         {.allow_missing_checksums = true});
  ASSERT_TRUE(archive.ok()) << archive.status().message();
  EXPECT_FALSE(archive->has_checksums());
  EXPECT_EQ(read_storage(*archive, 0), std::string(24, 'f'));
}

TEST(TorchArchiveWithoutChecksums, IsCheckedInAllElse) {
  const auto code = [](const std::function<void(ZipImage&)>& change) {
    ZipImage image = image_without_checksums();
    change(image);
    return TorchArchive::open(std::make_unique<MemoryFile>(image.build()), "image",
                              {.allow_missing_checksums = true})
        .status()
        .code();
  };
  const auto replace = [](ZipEntry& entry, const std::string& payload) {
    entry = without_checksums({{torch_entry(entry.local.name, payload)}}).entries[0];
  };
  EXPECT_EQ(code([](ZipImage&) {}), ErrorCode::kOk);
  EXPECT_EQ(code([&](ZipImage& z) { replace(z.entries[0], pkl::program("c")); }),
            PickleError::kPickleTruncated);
  EXPECT_EQ(code([&](ZipImage& z) { replace(z.entries[1], "big"); }),
            TorchArchiveError::kBigEndian);
  EXPECT_EQ(code([&](ZipImage& z) { replace(z.entries[2], "123"); }),
            TorchArchiveError::kRecordSize);
  EXPECT_EQ(code([](ZipImage& z) { z.entries[2].before = "x"; }), ZipError::kZipHole);
  EXPECT_EQ(code([](ZipImage& z) { z.entries[2].descriptor[4] = 1; }), ZipError::kZipLocalMismatch);
}

// One CRC that is there says that the others are meant.
TEST(TorchArchiveWithoutChecksums, IsNoExcuseForOneThatIsMissing) {
  for (size_t missing = 0; missing < 4; ++missing) {
    ZipImage image = archive_image(
        pkl::program(pkl::tensor(pkl::storage("FloatStorage", 1), {1}, {1})), {"1234"});
    image.entries[missing].local.crc = image.entries[missing].central.crc = 0;
    const Result<TorchArchive> archive = TorchArchive::open(
        std::make_unique<MemoryFile>(image.build()), "image", {.allow_missing_checksums = true});
    std::vector<std::byte> out(4);
    const Status status = archive.ok() ? archive->read_storage(0, out) : archive.status();
    EXPECT_EQ(status.code(), ZipError::kZipCrc) << missing;
  }
}

TEST(TorchArchive, VerifiesChecksumsWhereMissingOnesAreAllowed) {
  std::string image =
      archive_image(pkl::program(pkl::tensor(pkl::storage("FloatStorage", 1), {1}, {1})), {"1234"})
          .build();
  image[image.find("1234")] ^= 1;
  const Result<TorchArchive> archive = TorchArchive::open(
      std::make_unique<MemoryFile>(image), "image", {.allow_missing_checksums = true});
  ASSERT_TRUE(archive.ok()) << archive.status().message();
  EXPECT_TRUE(archive->has_checksums());
  std::vector<std::byte> out(4);
  EXPECT_EQ(archive->read_storage(0, out).code(), ZipError::kZipCrc);
}

}  // namespace
}  // namespace winnow
