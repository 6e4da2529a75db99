// Archives made to cost more than they are: what opening them takes of memory and time stays within
// what torch_archive.h states. Time is the processor's, since machines are busy at times; the bound
// is far from a measurement, and what it is to catch takes minutes.
#include <gtest/gtest.h>

#include <ctime>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "io/heap_count.h"
#include "support/torch_image.h"
#include "winnow/io/torch_archive.h"

namespace winnow {
namespace {

using namespace testing;  // NOLINT: the builders of torch_image.h

constexpr size_t kMaxNodes = size_t{1} << 21;  // while a pickle is read
constexpr double kMaxSeconds = 15;

std::string repeat(const std::string& text, size_t count) {
  std::string out;
  out.reserve(text.size() * count);
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

struct Cost {
  std::string code;
  size_t peak = 0;    // bytes of the heap, the result included
  size_t result = 0;  // and those that it keeps
  double seconds = 0;
};

Cost cost_of(std::string image) {
  auto file = std::make_unique<MemoryFile>(std::move(image));
  const size_t before = live_heap_bytes();
  reset_heap_peak();
  const std::clock_t start = std::clock();
  const Result<TorchArchive> archive = TorchArchive::open(std::move(file), "image");
  Cost out;
  out.seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  out.peak = peak_heap_bytes() - before;
  // A failure gives the file back.
  if (archive.ok()) out.result = live_heap_bytes() - before;
  out.code = archive.status().code().name;
  return out;
}

// For pickles that once took 398 MB and 782 MB.
constexpr size_t kQuarterGiB = size_t{256} << 20;

void expect_bounded(std::string image, const std::string& code,
                    size_t max_peak = kMaxTorchOpenBytes) {
  const size_t size = image.size();
  const Cost cost = cost_of(std::move(image));
  EXPECT_EQ(cost.code, code);
  EXPECT_LE(cost.peak, max_peak);
  EXPECT_LE(cost.seconds, kMaxSeconds);
  const auto megabytes = [](size_t bytes) { return static_cast<int>(bytes / 1'000'000); };
  ::testing::Test::RecordProperty("file_mb", megabytes(size));
  ::testing::Test::RecordProperty("peak_mb", megabytes(cost.peak));
  ::testing::Test::RecordProperty("result_mb", megabytes(cost.result));
}

std::string pickle_image(const std::string& body, const std::vector<std::string>& payloads = {}) {
  return archive_image(pkl::program(body), payloads).build();
}

// A list of `count` times `value`, behind what `before` does.
std::string list_of(const std::string& before, const std::string& value, size_t count) {
  return before + "](" + repeat(value, count) + "e";
}

const std::string kMemo1 = "q\1", kMemo2 = "q\2";

std::string small_ints(size_t count) { return "(" + repeat("K\1", count) + "t"; }

// The function in memo 1 and its arguments in memo 2. Both stay on the stack, so that no such
// pickle ends well; what it takes shows all the same.
std::string tensor_parts(size_t rank) {
  return pkl::rebuild("_rebuild_tensor_v2") + kMemo1 +
         pkl::tuple({pkl::storage("ByteStorage", 8), pkl::integer(0), small_ints(rank),
                     small_ints(rank), "\x89", pkl::ordered_dict()}) +
         kMemo2;
}

std::string sparse_parts() {
  const std::string storage = pkl::storage("LongStorage", 1);
  return pkl::rebuild("_rebuild_sparse_tensor") + kMemo1 +
         pkl::tuple({pkl::layout("torch.sparse_coo"),
                     pkl::tuple({pkl::tensor(storage, {1, 1}, {1, 1}),
                                 pkl::tensor(storage, {1}, {1}), pkl::size({1}), "\x89"})}) +
         kMemo2;
}

constexpr size_t kMany = kMaxNodes - 1000;

TEST(TorchArchiveCost, OfSparseTensorsIsBounded) {
  expect_bounded(pickle_image(list_of(sparse_parts(), "h\1h\2R", kMany), {std::string(8, '\0')}),
                 "PickleTooLarge", kQuarterGiB);
}

TEST(TorchArchiveCost, OfTensorsIsBounded) {
  for (const size_t rank : {0, 1, 64}) {
    expect_bounded(
        pickle_image(list_of(tensor_parts(rank), "h\1h\2R", kMany), {std::string(8, '\0')}),
        "PickleTooLarge");
  }
}

TEST(TorchArchiveCost, OfStringsIsBounded) {
  expect_bounded(
      pickle_image(list_of("", "U" + std::string(1, '\x11') + std::string(17, 's'), kMany)), "Ok");
}

TEST(TorchArchiveCost, OfTuplesIsBounded) {
  expect_bounded(pickle_image(list_of("", "N\x85", kMany)), "Ok");
}

TEST(TorchArchiveCost, OfNumbersIsBounded) {
  expect_bounded(pickle_image(list_of("", "K\1", kMany)), "Ok");
  expect_bounded(pickle_image(list_of("", "M\1\1", kMany)), "Ok");
}

TEST(TorchArchiveCost, OfItemsIsBounded) {
  const std::string chunk = "(" + std::string(1'800'000, 'N') + "e";
  expect_bounded(pickle_image("]" + repeat(chunk, 9)), "Ok");
}

TEST(TorchArchiveCost, OfEqualKeysIsBounded) {
  const std::string chunk = "(" + std::string(1'800'000, 'N') + "u";
  expect_bounded(pickle_image("}" + repeat(chunk, 9)), "PickleDuplicateKey", kQuarterGiB);
}

// Symptom once: each dict compared its keys' text again, 0.8 TB of it here.
TEST(TorchArchiveCost, OfLongKeysInManyDictsIsBounded) {
  constexpr size_t kKeys = 256, kDicts = 3000;
  const std::string start(size_t{128} << 10, 'k');
  std::string first, again;
  for (size_t i = 0; i < kKeys; ++i) {
    const std::string memo = le(i, 4);
    first += pkl::text(start + std::to_string(1000 + i)) + "r" + memo + "N";
    again += "j" + memo + "N";
  }
  expect_bounded(pickle_image("](}(" + first + "u" + repeat("}(" + again + "u", kDicts) + "e"),
                 "Ok");
}

// Symptom once: each OrderedDict looked at all names of its attributes.
TEST(TorchArchiveCost, OfSharedAttributesIsBounded) {
  std::string entries;
  for (size_t i = 0; i < 200'000; ++i) entries += "U\6" + std::to_string(100'000 + i) + "N";
  expect_bounded(pickle_image("](}(" + entries + "u" + kMemo1 +
                              repeat(pkl::ordered_dict() + "h\1b", 60'000) + "e"),
                 "PickleTooLarge");
}

// Numbers that fall into one bucket of a hash table of so many.
std::vector<std::string> colliding_numbers(size_t count) {
  std::unordered_map<uint64_t, uint32_t> table;
  for (size_t i = 0; i < count; ++i) table.emplace(i, 0);
  std::vector<std::string> out;
  for (size_t i = 1; i <= count; ++i) out.push_back(std::to_string(i * table.bucket_count()));
  return out;
}

TEST(TorchArchiveCost, OfCollidingStorageNumbersIsBounded) {
  std::string ids;
  for (const std::string& number : colliding_numbers(160'000)) {
    ids += pkl::storage("ByteStorage", 0, number);
  }
  expect_bounded(pickle_image("(" + ids + "t"), "PickleValue");
}

// A zip of empty records, written in place: builders would take more memory than the reader.
struct EmptyRecords {
  std::string records, directory;
  size_t count = 0;

  void add(const std::string& name, const std::string& payload = "") {
    HeaderFields fields = zip_entry(name, payload).local;
    fields.offset = static_cast<uint32_t>(records.size());
    records += ZipImage::local(fields) + payload;
    fields.signature = 0x02014b50;
    directory += ZipImage::central(fields);
    ++count;
  }

  std::string image() const {
    const uint64_t at = records.size(), end = at + directory.size();
    return records + directory + le(0x06064b50, 4) + le(44, 8) + le(45, 2) + le(45, 2) + le(0, 8) +
           le(count, 8) + le(count, 8) + le(directory.size(), 8) + le(at, 8) + le(0x07064b50, 4) +
           le(0, 4) + le(end, 8) + le(1, 4) +
           ZipImage::text({.records_here = 0xffff,
                           .records = 0xffff,
                           .directory_bytes = directory.size(),
                           .directory_offset = 0xffffffff});
  }
};

TEST(TorchArchiveCost, OfCollidingRecordsIsBounded) {
  EmptyRecords zip;
  zip.add("a/data.pkl", pkl::program("}"));
  zip.add("a/version", "3\n");
  for (const std::string& number : colliding_numbers(160'000)) zip.add("a/data/" + number);
  expect_bounded(zip.image(), "UnreferencedRecord");
}

// A million records with long names around the largest of the pickles above.
TEST(TorchArchiveCost, OfEverythingAtOnceIsBounded) {
  const std::string prefix(58, 'p');
  EmptyRecords zip;
  zip.add(prefix + "/data.pkl",
          pkl::program(list_of("", "U" + std::string(1, '\x1c') + std::string(28, 's'), kMany)));
  zip.add(prefix + "/version", "3\n");
  for (size_t i = 0; zip.count < kMaxTorchRecords; ++i) {
    zip.add(prefix + "/data/" + std::to_string(100'000'000'000'000'000 + i));
  }
  std::string image = zip.image();
  zip = {};
  expect_bounded(std::move(image), "UnreferencedRecord");
}

}  // namespace
}  // namespace winnow
