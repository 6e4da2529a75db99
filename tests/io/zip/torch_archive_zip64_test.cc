// Archives over 4 GiB, and the zip64 fields they need. Symptom once: the writer's own were refused.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/hole_file.h"
#include "io/zip_records.h"
#include "support/torch_image.h"
#include "winnow/io/torch_archive.h"
#include "winnow/io/torch_archive_writer.h"

namespace winnow {
namespace {

using namespace testing;  // NOLINT: the helpers of this folder

constexpr uint64_t k4GiB = uint64_t{1} << 32;

// Zeros that are mapped and never written: one page of memory, whatever the length.
class Zeros {
 public:
  explicit Zeros(size_t bytes)
      : bytes_(bytes),
        memory_(::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                       0)) {}
  Zeros(const Zeros&) = delete;
  Zeros& operator=(const Zeros&) = delete;
  ~Zeros() { ::munmap(memory_, bytes_); }

  bool ok() const { return memory_ != MAP_FAILED; }
  std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte*>(memory_), bytes_};
  }

 private:
  size_t bytes_;
  void* memory_;
};

TEST(TorchArchiveOver4GiB, IsReadAsItWasWritten) {
  const Zeros zeros(k4GiB);
  ASSERT_TRUE(zeros.ok());
  TorchTree tree;
  const auto bytes_of_storage = [&tree](uint32_t storage, uint64_t bytes) {
    return tree.add_tensor(
        {.storage = storage, .dtype = DType::kU8, .shape = {bytes}, .strides = {1}});
  };
  tree.set_root(
      tree.add_list(std::vector<TorchNode>{bytes_of_storage(0, k4GiB), bytes_of_storage(1, 3)}));
  const std::vector<TorchStorage> storages = {{DType::kU8, k4GiB}, {DType::kU8, 3}};
  HoleEnv env;
  Result<TorchArchiveWriter> writer = TorchArchiveWriter::create(env, "a.pt", tree, storages);
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  ASSERT_TRUE(writer->append_storage(zeros.bytes()).ok());
  ASSERT_TRUE(writer->append_storage(std::as_bytes(std::span("abc", 3))).ok());
  const Status committed = writer->commit();
  ASSERT_TRUE(committed.ok()) << committed.message();

  const Result<TorchArchive> archive = TorchArchive::open(env, "a.pt");
  ASSERT_TRUE(archive.ok()) << archive.status().message();
  EXPECT_EQ(archive->storage_record(0).bytes, k4GiB);
  EXPECT_GT(archive->storage_record(1).offset, k4GiB);
  for (const io::ZipRecord& record : testing::zip_records(env, "a.pt")) {
    EXPECT_EQ(record.payload_offset % 64, 0u);
  }
  std::vector<std::byte> out(3);
  ASSERT_TRUE(archive->read_storage(1, out).ok());
  EXPECT_EQ(std::memcmp(out.data(), "abc", 3), 0);
}

std::string zip64_field(const std::vector<uint64_t>& numbers) {
  std::string out = le(1, 2) + le(8 * numbers.size(), 2);
  for (const uint64_t number : numbers) out += le(number, 8);
  return out;
}

// A record whose payload ends with a hole of zeros.
struct BigEntry {
  ZipEntry entry;
  uint64_t hole = 0;
};

// Sizes in the zip64 fields of both headers.
BigEntry with_wide_sizes(BigEntry big) {
  const uint64_t bytes = big.entry.payload.size() + big.hole;
  for (HeaderFields* fields : {&big.entry.local, &big.entry.central}) {
    fields->bytes = fields->stored_bytes = 0xffffffff;
    fields->extra = zip64_field({bytes, bytes});
  }
  return big;
}

struct Place {
  uint64_t offset = 0;
  std::string field;  // the zip64 field that the directory has for it
};

// What a record's own header says, once its place is known.
using LocalEdit = std::function<void(ZipEntry&, const Place&)>;

// An archive of one storage of 4 GiB, in front of the pickle, whose header `edit` may change.
std::shared_ptr<HoleContent> image_over_4gib(const LocalEdit& edit) {
  const std::string pickle =
      pkl::program(pkl::tensor(pkl::storage("ByteStorage", static_cast<int64_t>(k4GiB)),
                               {static_cast<int64_t>(k4GiB)}, {1}));
  std::vector<BigEntry> all = {with_wide_sizes({zip_entry("a/data/0", ""), k4GiB}),
                               {zip_entry("a/data.pkl", pickle)},
                               {zip_entry("a/version", "3\n")}};
  auto out = std::make_shared<HoleContent>();
  std::string directory;
  for (BigEntry& big : all) {
    ZipEntry& entry = big.entry;
    const Place place = {out->size(), zip64_field({out->size()})};
    if (place.offset > 0) {
      entry.central.offset = 0xffffffff;
      entry.central.extra = place.field;
    }
    if (entry.local.name == "a/data.pkl") edit(entry, place);
    out->append(ZipImage::local(entry.local) + entry.payload);
    out->append_zeros(big.hole);
    out->append(entry.descriptor);
    directory += ZipImage::central(entry.central);
  }
  const uint64_t at = out->size(), end = at + directory.size();
  out->append(directory + le(0x06064b50, 4) + le(44, 8) + le(45, 2) + le(45, 2) + le(0, 8) +
              le(3, 8) + le(3, 8) + le(directory.size(), 8) + le(at, 8) + le(0x07064b50, 4) +
              le(0, 4) + le(end, 8) + le(1, 4) +
              ZipImage::text({.records_here = 3,
                              .records = 3,
                              .directory_bytes = directory.size(),
                              .directory_offset = 0xffffffff}));
  return out;
}

std::string code_over_4gib(const LocalEdit& edit) {
  const Status status =
      TorchArchive::open(std::make_unique<HoleFile>(image_over_4gib(edit)), "image").status();
  return std::string(status.code().name);
}

// As torch writes it: the directory's field, and the sizes behind the payload.
void defer(ZipEntry& entry, const Place& place) {
  entry.descriptor = le(0x08074b50, 4) + le(entry.local.crc, 4) + le(entry.payload.size(), 8) +
                     le(entry.payload.size(), 8);
  entry.local.flags = entry.central.flags = 0x808;
  entry.local.crc = entry.local.bytes = entry.local.stored_bytes = 0;
  entry.local.extra = place.field;
}

TEST(TorchArchiveOver4GiB, MayHaveSmallRecordsWithoutAFieldOfTheirOwn) {
  EXPECT_EQ(code_over_4gib([](ZipEntry&, const Place&) {}), "Ok");
}

TEST(TorchArchiveOver4GiB, MayRepeatTheDirectorysField) {
  EXPECT_EQ(code_over_4gib([](ZipEntry& e, const Place& p) { e.local.extra = p.field; }), "Ok");
}

TEST(TorchArchiveOver4GiB, MayHaveADescriptorOf24Bytes) { EXPECT_EQ(code_over_4gib(defer), "Ok"); }

TEST(TorchArchiveOver4GiB, ChecksTheDescriptorOf24Bytes) {
  for (const size_t at : {0, 4, 8, 12, 16, 20}) {
    EXPECT_EQ(code_over_4gib([at](ZipEntry& e, const Place& p) {
                defer(e, p);
                e.descriptor[at] ^= 1;
              }),
              "ZipLocalMismatch")
        << at;
  }
}

TEST(TorchArchiveOver4GiB, HasNoFieldThatContradictsTheDirectory) {
  EXPECT_EQ(code_over_4gib(
                [](ZipEntry& e, const Place& p) { e.local.extra = zip64_field({p.offset + 1}); }),
            "Zip64Mismatch");
  EXPECT_EQ(code_over_4gib([](ZipEntry& e, const Place& p) {
              e.local.extra = zip64_field({p.offset, 0});
            }),
            "Zip64Mismatch");
}

TEST(TorchArchiveOver4GiB, HasTheDirectorysFieldBesideADescriptor) {
  EXPECT_EQ(code_over_4gib([](ZipEntry& e, const Place& p) {
              defer(e, p);
              e.local.extra.clear();
            }),
            "Zip64Mismatch");
}

TEST(TorchArchive, MayHaveWideSizesWithoutNeed) {
  ZipImage image = archive_image(pkl::program("}"));
  image.entries[0] = with_wide_sizes({image.entries[0]}).entry;
  const Status status =
      TorchArchive::open(std::make_unique<MemoryFile>(image.build()), "image").status();
  EXPECT_TRUE(status.ok()) << status.message();
}

// A pickle of 4 bytes as torch 2.13 writes records over 4 GiB: zip64 sizes in all headers, those of
// its own header as given.
std::string streamed_code(const std::vector<uint64_t>& local_sizes) {
  ZipImage image = archive_image(pkl::program("}"));
  ZipEntry& entry = image.entries[0];
  entry.descriptor = le(0x08074b50, 4) + le(entry.local.crc, 4) + le(4, 8) + le(4, 8);
  entry.local.flags = entry.central.flags = 0x808;
  entry.local.crc = entry.local.bytes = entry.local.stored_bytes = 0;
  entry.local.extra = zip64_field(local_sizes);
  entry.central.bytes = entry.central.stored_bytes = 0xffffffff;
  entry.central.extra = zip64_field({4, 4});
  const Status status =
      TorchArchive::open(std::make_unique<MemoryFile>(image.build()), "image").status();
  return std::string(status.code().name);
}

// Symptom once: every file of torch.save with a storage over 4 GiB was refused.
TEST(TorchArchive, MayLeaveTheStoredSizeToTheDescriptor) {
  EXPECT_EQ(streamed_code({4, 0}), "Ok");
  EXPECT_EQ(streamed_code({4, 4}), "Ok");
  EXPECT_EQ(streamed_code({5, 0}), "Zip64Mismatch");
  EXPECT_EQ(streamed_code({4, 5}), "Zip64Mismatch");
  EXPECT_EQ(streamed_code({0, 0}), "Zip64Mismatch");
}

// The size that is all ones is a number only where a field says so.
TEST(TorchArchive, NeedsTheFieldForASizeOfAllOnes) {
  const ZipEntry entry = with_wide_sizes({zip_entry("a/data/0", ""), 0xffffffff}).entry;
  for (const bool has_field : {false, true}) {
    ZipImage image = archive_image(
        pkl::program(pkl::tensor(pkl::storage("ByteStorage", 0xffffffff), {0xffffffff}, {1})));
    image.entries.insert(image.entries.begin(), entry);
    if (!has_field) image.entries[0].local.extra.clear();
    // The payload is missing, which shows only once the header has been found right.
    const Status status =
        TorchArchive::open(std::make_unique<MemoryFile>(image.build()), "image").status();
    EXPECT_EQ(status.code().name, has_field ? "ZipPastEnd" : "Zip64Mismatch");
  }
}

}  // namespace
}  // namespace winnow
