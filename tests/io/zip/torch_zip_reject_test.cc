// Every way in which an archive's zip file and its records can be malformed, with the one code it
// gives (docs/torch_archive.md has the same list).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <ostream>
#include <string>

#include "io/torch_reject.h"
#include "support/torch_image.h"

namespace winnow {
namespace {

using namespace testing;  // NOLINT: the builders of torch_image.h
using EndEdit = std::function<void(std::vector<ZipEntry>&, EndFields&)>;

const std::string kPickle = pkl::program("}");

// A valid archive but for what `change` does to it.
std::string changed(const std::function<void(ZipImage&)>& change) {
  ZipImage image = archive_image(kPickle);
  change(image);
  return image.build();
}

// The same, with torch's own headers.
std::string torch_changed(const std::function<void(ZipEntry&)>& change) {
  return changed([&](ZipImage& image) {
    image.entries[0] = torch_entry("a/data.pkl", kPickle);
    change(image.entries[0]);
  });
}

// What changes after all offsets and sizes are known.
std::string edited(const EndEdit& edit) {
  return changed([&](ZipImage& image) { image.edit = edit; });
}

std::string with_central(const std::function<void(HeaderFields&)>& change) {
  return edited([&](auto& entries, EndFields&) { change(entries[0].central); });
}

std::string with_local(const std::function<void(HeaderFields&)>& change) {
  return changed([&](ZipImage& image) { change(image.entries[0].local); });
}

std::string with_both(const std::function<void(HeaderFields&)>& change) {
  return changed([&](ZipImage& image) {
    change(image.entries[0].local);
    change(image.entries[0].central);
  });
}

std::string with_record(const std::string& name, const std::string& payload = "x") {
  return changed([&](ZipImage& image) { image.entries.push_back(zip_entry(name, payload)); });
}

std::string without_record(size_t index) {
  return changed([&](ZipImage& image) {
    image.entries.erase(image.entries.begin() + static_cast<ptrdiff_t>(index));
  });
}

std::string with_payload(size_t index, const std::string& payload) {
  return changed([&](ZipImage& image) {
    image.entries[index] = zip_entry(image.entries[index].local.name, payload);
  });
}

std::string version(const std::string& text) { return with_payload(2, text); }
std::string byteorder(const std::string& text) { return with_payload(1, text); }

// The last name of the directory, "a/version", is said to have a byte more than are left.
std::string with_long_last_name() {
  std::string image = archive_image(kPickle).build();
  image[image.size() - 22 - (46 + 9) + 28] = 10;
  return image;
}

// An archive with a zip64 end record, of which one field is off by `delta`.
struct End64 {
  int64_t size_delta = 0;
  int64_t records_delta = 0;
  int64_t bytes_delta = 0;
  int64_t offset_delta = 0;
  int64_t locator_delta = 0;
  uint32_t disk = 0;
  uint32_t locator_disk = 0;
  uint32_t disks = 1;
};

std::string with_end64(const End64& f, bool full = true) {
  ZipImage image = archive_image(kPickle);
  EndFields plain;
  image.edit = [&](auto&, EndFields& end) { plain = end; };
  const std::string without = image.build();
  const uint64_t bytes = without.size() - 22 - plain.directory_offset;
  const uint64_t place = plain.directory_offset + bytes;
  image.end64 = le(0x06064b50, 4) + le(44 + f.size_delta, 8) + le(45, 2) + le(45, 2) +
                le(f.disk, 4) + le(0, 4) + le(plain.records, 8) +
                le(plain.records + f.records_delta, 8) + le(bytes + f.bytes_delta, 8) +
                le(plain.directory_offset + f.offset_delta, 8) + le(0x07064b50, 4) +
                le(f.locator_disk, 4) + le(place + f.locator_delta, 8) + le(f.disks, 4);
  image.edit = [&](auto&, EndFields& end) {
    if (full) end.directory_offset = 0xffffffff;
  };
  return image.build();
}

const RejectCase kFrontCases[] = {
    {"EmptyFile", ZipError::kNotZip, ""},
    {"Text", ZipError::kNotZip, "no archive at all"},
    {"TextThatEndsAsATarBegins", ZipError::kNotZip, "a jar of mustard is no ustar"},
    {"BytesInFront", ZipError::kNotZip, "x" + archive_image(kPickle).build()},
    {"EmptyZip", ZipError::kNotZip, ZipImage{}.build()},
    {"LegacyPickle", TorchArchiveError::kLegacyArchive,
     "\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19."},
    {"LegacyTar", TorchArchiveError::kLegacyArchive,
     std::string(257, 'n') + "ustar" + std::string(2000, '\0')},
    {"TooShortForAnEnd", ZipError::kZipEnd, "PK\x03\x04"},
    {"CutShort", ZipError::kZipEnd,
     archive_image(kPickle).build().substr(0, archive_image(kPickle).build().size() - 1)},
    {"BytesBehind", ZipError::kZipEnd, changed([](ZipImage& z) { z.after_end = "x"; })},
    {"EndSignature", ZipError::kZipEnd, edited([](auto&, EndFields& e) { e.signature ^= 1; })},
    {"EndComment", ZipError::kZipEnd, edited([](auto&, EndFields& e) { e.comment = "x"; })},
    {"TwoEndRecords", ZipError::kZipDirectory,
     changed([](ZipImage& z) { z.after_directory = ZipImage::text({}); })},
    {"TwoArchives", ZipError::kZipDirectory,
     archive_image(kPickle).build() + archive_image(kPickle).build()},
    {"BytesBehindDirectory", ZipError::kZipDirectory,
     changed([](ZipImage& z) { z.after_directory = "x"; })},
    {"DirectoryOffset", ZipError::kZipDirectory,
     edited([](auto&, EndFields& e) { --e.directory_offset; })},
    {"DirectoryPastEnd", ZipError::kZipDirectory,
     edited([](auto&, EndFields& e) { e.directory_offset = 0xfffffff0; })},
    {"DirectoryBytes", ZipError::kZipDirectory,
     edited([](auto&, EndFields& e) { e.directory_bytes = 1; })},
    {"OtherDisk", ZipError::kZipDisks, edited([](auto&, EndFields& e) { e.disk = 1; })},
    {"DirectoryOnOtherDisk", ZipError::kZipDisks,
     edited([](auto&, EndFields& e) { e.first_disk = 1; })},
    {"RecordsOnOtherDisk", ZipError::kZipDisks,
     edited([](auto&, EndFields& e) { --e.records_here; })},
    {"OneRecordTooFew", ZipError::kZipRecordCount,
     edited([](auto&, EndFields& e) { e.records = e.records_here = 2; })},
    {"OneRecordTooMany", ZipError::kZipRecordCount,
     edited([](auto&, EndFields& e) { e.records = e.records_here = 4; })},
    {"TooManyRecords", ZipError::kZipRecordCount,
     [] {
       ZipImage image = archive_image(kPickle);
       image.entries.clear();
       return std::string("PK\x03\x04") + std::string(26, '\0') + le(0x06064b50, 4) + le(44, 8) +
              le(0, 12) + le(1'000'001, 8) + le(1'000'001, 8) + le(0, 8) + le(30, 8) +
              le(0x07064b50, 4) + le(0, 4) + le(30, 8) + le(1, 4) +
              ZipImage::text({.records_here = 0xffff, .records = 0xffff, .directory_offset = 30});
     }()},
};

const RejectCase kEnd64Cases[] = {
    {"Count", ZipError::kZipDisks, with_end64({.records_delta = 1})},
    {"Size", ZipError::kZip64Mismatch, with_end64({.size_delta = 1})},
    {"Place", ZipError::kZip64Mismatch, with_end64({.locator_delta = -1})},
    {"Disk", ZipError::kZipDisks, with_end64({.disk = 1})},
    {"LocatorDisk", ZipError::kZipDisks, with_end64({.locator_disk = 1})},
    {"Disks", ZipError::kZipDisks, with_end64({.disks = 2})},
    {"Bytes", ZipError::kZip64Mismatch, with_end64({.bytes_delta = 1})},
    {"Offset", ZipError::kZipDirectory, with_end64({.offset_delta = 1})},
    {"OffsetBesideAnother", ZipError::kZip64Mismatch, with_end64({.offset_delta = 1}, false)},
};

const RejectCase kDirectoryCases[] = {
    {"CentralSignature", ZipError::kZipHeader, with_central([](auto& f) { f.signature ^= 1; })},
    {"CentralCutShort", ZipError::kZipHeader, with_long_last_name()},
    {"NameEmpty", ZipError::kZipName, with_both([](auto& f) { f.name = ""; })},
    {"NameNotUtf8", ZipError::kZipName, with_both([](auto& f) { f.name = "a/\xff"; })},
    {"NameWithNul", ZipError::kZipName,
     with_both([](auto& f) { f.name = std::string("a/data.pkl\0", 11); })},
    {"NameWithBackslash", ZipError::kZipName, with_both([](auto& f) { f.name = "a\\x"; })},
    {"NameAbsolute", ZipError::kZipName, with_both([](auto& f) { f.name = "/a/data.pkl"; })},
    {"NameWithDots", ZipError::kZipName, with_both([](auto& f) { f.name = "a/../data.pkl"; })},
    {"NameStartsWithDots", ZipError::kZipName, with_both([](auto& f) { f.name = "../x"; })},
    {"NameOfAFolder", ZipError::kZipName, with_record("a/data/", "")},
    {"OtherPrefix", ZipError::kZipPrefix, with_record("b/data/0")},
    {"NoPrefix", ZipError::kZipPrefix, with_record("data.pkl")},
    {"DuplicateName", ZipError::kZipDuplicate, with_record("a/data.pkl", kPickle)},
    {"Encrypted", ZipError::kZipFlags, with_both([](auto& f) { f.flags = 1; })},
    {"UnknownFlag", ZipError::kZipFlags, with_both([](auto& f) { f.flags = 1 << 13; })},
    {"NewerVersionOfZip", ZipError::kZipFlags, with_central([](auto& f) { f.version = 46; })},
    {"Folder", ZipError::kZipFlags, with_central([](auto& f) { f.attributes = 0x10; })},
    {"Deflated", ZipError::kZipCompressed, with_both([](auto& f) { f.method = 8; })},
    {"OtherStoredSize", ZipError::kZipCompressed, with_both([](auto& f) { f.stored_bytes += 1; })},
    {"UnknownExtra", ZipError::kZipExtra,
     with_central([](auto& f) { f.extra = le(0x7075, 2) + le(0, 2); })},
    {"UnknownLocalExtra", ZipError::kZipExtra,
     with_local([](auto& f) { f.extra = le(0x7075, 2) + le(0, 2); })},
    {"PaddingInDirectory", ZipError::kZipExtra,
     with_central([](auto& f) { f.extra = "FB" + le(0, 2); })},
    {"PaddingTwice", ZipError::kZipExtra,
     with_local([](auto& f) { f.extra = "FB" + le(0, 2) + "FB" + le(0, 2); })},
    {"ExtraCutShort", ZipError::kZipExtra, with_local([](auto& f) { f.extra = "FB" + le(1, 2); })},
    {"ExtraHeaderCutShort", ZipError::kZipExtra, with_local([](auto& f) { f.extra = "FB"; })},
    {"Comment", ZipError::kZipExtra, with_central([](auto& f) { f.comment = "x"; })},
    {"EntryOnOtherDisk", ZipError::kZipDisks, with_central([](auto& f) { f.disk = 1; })},
    {"Zip64WithoutNeed", ZipError::kZip64Mismatch,
     with_central([](auto& f) { f.extra = le(1, 2) + le(8, 2) + le(0, 8); })},
    {"Zip64Missing", ZipError::kZip64Mismatch,
     with_central([](auto& f) { f.bytes = f.stored_bytes = 0xffffffff; })},
    {"Zip64TooShort", ZipError::kZip64Mismatch, with_central([](auto& f) {
       f.bytes = f.stored_bytes = 0xffffffff;
       f.extra = le(1, 2) + le(8, 2) + le(5, 8);
     })},
    {"Zip64TwoSizes", ZipError::kZip64Mismatch, with_central([](auto& f) {
       f.bytes = f.stored_bytes = 0xffffffff;
       f.extra = le(1, 2) + le(16, 2) + le(4, 8) + le(5, 8);
     })},
};

const RejectCase kLocalCases[] = {
    {"LocalSignature", ZipError::kZipHeader,
     changed([](ZipImage& z) { z.entries[1].local.signature ^= 1; })},
    {"OtherName", ZipError::kZipLocalMismatch, with_local([](auto& f) { f.name = "a/data.pkx"; })},
    {"OtherSize", ZipError::kZipLocalMismatch, with_local([](auto& f) { f.bytes += 1; })},
    {"OtherStoredSizeLocally", ZipError::kZipLocalMismatch,
     with_local([](auto& f) { f.stored_bytes += 1; })},
    {"OtherMethod", ZipError::kZipLocalMismatch, with_local([](auto& f) { f.method = 8; })},
    {"OtherCrc", ZipError::kZipLocalMismatch, with_local([](auto& f) { f.crc ^= 1; })},
    {"OtherFlags", ZipError::kZipLocalMismatch, with_local([](auto& f) { f.flags = 0x800; })},
    {"NewerVersionLocally", ZipError::kZipLocalMismatch,
     with_local([](auto& f) { f.version = 46; })},
    {"OtherZip64", ZipError::kZip64Mismatch,
     with_local([](auto& f) { f.extra = le(1, 2) + le(8, 2) + le(0, 8); })},
    {"OtherZip64Size", ZipError::kZipLocalMismatch, with_local([](auto& f) {
       f.extra = le(1, 2) + le(16, 2) + le(f.bytes, 8) + le(f.bytes + 1, 8);
       f.bytes = f.stored_bytes = 0xffffffff;
     })},
    {"SizeBesideDescriptor", ZipError::kZipLocalMismatch,
     torch_changed([](ZipEntry& e) { e.local.bytes = 1; })},
    {"CrcBesideDescriptor", ZipError::kZipLocalMismatch,
     torch_changed([](ZipEntry& e) { e.local.crc = 1; })},
    {"DescriptorSignature", ZipError::kZipLocalMismatch,
     torch_changed([](ZipEntry& e) { e.descriptor[0] ^= 1; })},
    {"DescriptorCrc", ZipError::kZipLocalMismatch,
     torch_changed([](ZipEntry& e) { e.descriptor[4] ^= 1; })},
    {"DescriptorStoredSize", ZipError::kZipLocalMismatch,
     torch_changed([](ZipEntry& e) { e.descriptor[8] ^= 1; })},
    {"DescriptorSize", ZipError::kZipLocalMismatch,
     torch_changed([](ZipEntry& e) { e.descriptor[12] ^= 1; })},
    {"SizeOverTheFile", ZipError::kZipPastEnd,
     with_both([](auto& f) { f.bytes = f.stored_bytes = 1'000'000; })},
    {"SizeOf63Bits", ZipError::kZipPastEnd, with_both([](auto& f) {
       f.bytes = f.stored_bytes = 0xffffffff;
       f.extra = le(1, 2) + le(16, 2) + le(UINT64_MAX, 8) + le(UINT64_MAX, 8);
     })},
    {"OffsetOverTheFile", ZipError::kZipPastEnd,
     edited([](auto& entries, EndFields&) { entries.back().central.offset = 1'000'000; })},
    {"Overlap", ZipError::kZipOverlap,
     edited([](auto& entries, EndFields&) { entries[1].central.offset -= 1; })},
    {"SameRecordTwice", ZipError::kZipOverlap,
     edited([](auto& entries, EndFields&) { entries[1].central.offset = 0; })},
    {"Hole", ZipError::kZipHole, changed([](ZipImage& z) { z.entries[1].before = "x"; })},
    {"HoleBeforeDirectory", ZipError::kZipHole,
     changed([](ZipImage& z) { z.before_directory = "x"; })},
    {"HiddenRecord", ZipError::kZipHole, edited([](auto& entries, EndFields& e) {
       entries.erase(entries.begin() + 1);
       e.records = e.records_here = 2;
     })},
    {"PickleCrc", ZipError::kZipCrc, with_both([](auto& f) { f.crc ^= 1; })},
    {"NoPickleCrc", ZipError::kZipCrc, with_both([](auto& f) { f.crc = 0; })},
    {"NoChecksums", TorchArchiveError::kNoChecksums,
     without_checksums(archive_image(kPickle)).build()},
};

const RejectCase kRecordCases[] = {
    {"Constants", TorchArchiveError::kTorchScript, with_record("a/constants.pkl")},
    {"Code", TorchArchiveError::kTorchScript, with_record("a/code/__torch__.py")},
    {"UnknownRecord", TorchArchiveError::kUnknownRecord, with_record("a/extra/x")},
    {"PayloadWithoutNumber", TorchArchiveError::kUnknownRecord, with_record("a/data/x")},
    {"PayloadWithLeadingZero", TorchArchiveError::kUnknownRecord, with_record("a/data/00")},
    {"PayloadNumberTooLong", TorchArchiveError::kUnknownRecord,
     with_record("a/data/1234567890123456789")},
    {"NoPickle", TorchArchiveError::kMissingRecord, without_record(0)},
    {"NoVersion", TorchArchiveError::kMissingRecord, without_record(2)},
    {"NoPayload", TorchArchiveError::kMissingRecord,
     archive_image(pkl::program(pkl::tensor(pkl::storage("FloatStorage", 1), {1}, {1}))).build()},
    {"UnreferencedPayload", TorchArchiveError::kUnreferencedRecord, with_record("a/data/0")},
    {"NewerVersion", TorchArchiveError::kArchiveVersion, version("11\n")},
    {"OlderVersion", TorchArchiveError::kArchiveVersion, version("2\n")},
    {"NoVersionNumber", TorchArchiveError::kArchiveVersion, version("")},
    {"RecordsWithoutContent", TorchArchiveError::kArchiveVersion,
     ZipImage{{zip_entry("a/data.pkl", ""), zip_entry("a/version", "")}}.build()},
    {"NewerFormatVersion", TorchArchiveError::kArchiveVersion,
     with_record("a/.format_version", "2")},
    {"BigEndian", TorchArchiveError::kBigEndian, byteorder("big")},
    {"NoByteOrder", TorchArchiveError::kBadRecord, byteorder("middle")},
    {"NoAlignment", TorchArchiveError::kBadRecord, with_record("a/.storage_alignment", "x")},
    {"NoId", TorchArchiveError::kBadRecord, with_record("a/.data/serialization_id", "")},
    {"SmallRecordTooLarge", TorchArchiveError::kRecordTooLarge, byteorder(std::string(65, 'l'))},
    {"PayloadTooShort", TorchArchiveError::kRecordSize,
     archive_image(pkl::program(pkl::tensor(pkl::storage("FloatStorage", 1), {1}, {1})), {"123"})
         .build()},
    {"PayloadTooLong", TorchArchiveError::kRecordSize,
     archive_image(pkl::program(pkl::tensor(pkl::storage("FloatStorage", 1), {1}, {1})), {"12345"})
         .build()},
};

TEST_P(TorchArchiveRejects, WithTheCodeOfItsKind) { expect_rejected(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Front, TorchArchiveRejects, ::testing::ValuesIn(kFrontCases), case_name);
INSTANTIATE_TEST_SUITE_P(End64, TorchArchiveRejects, ::testing::ValuesIn(kEnd64Cases), case_name);
INSTANTIATE_TEST_SUITE_P(Directory, TorchArchiveRejects, ::testing::ValuesIn(kDirectoryCases),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Local, TorchArchiveRejects, ::testing::ValuesIn(kLocalCases), case_name);
INSTANTIATE_TEST_SUITE_P(Records, TorchArchiveRejects, ::testing::ValuesIn(kRecordCases),
                         case_name);

TEST(TorchArchiveAccepts, TheArchivesThatTheCasesStartFrom) {
  EXPECT_EQ(open_code(archive_image(kPickle).build()), "Ok");
  EXPECT_EQ(open_code(torch_changed([](ZipEntry&) {})), "Ok");
  EXPECT_EQ(open_code(with_end64({})), "Ok");
  EXPECT_EQ(open_code(with_end64({}, false)), "Ok");
  EXPECT_EQ(open_code(version("3")), "Ok");
}

// Symptom: such an archive was taken for a tar file.
TEST(TorchArchiveAccepts, ParametersCalledMustard) {
  constexpr size_t kTarMagicAt = 257;
  for (size_t padding = 0; padding < kTarMagicAt; ++padding) {
    const std::string pickle =
        pkl::program("}" + pkl::text(std::string(padding, 'm') + "ustard") + "Ns");
    const std::string image = archive_image(pickle).build();
    if (image.substr(kTarMagicAt, 5) != "ustar") continue;
    EXPECT_EQ(open_code(image), "Ok");
    return;
  }
  FAIL() << "no name was put there";
}

// The directory is read where it is allowed: zeros are no header.
TEST(TorchArchiveRejects, DirectoriesOver128MiB) {
  const auto code = [](uint64_t directory_bytes) {
    const std::string front = ZipImage::local(zip_entry("a", "").local);
    return open_code(front + std::string(directory_bytes, '\0') +
                     ZipImage::text({.records_here = 1,
                                     .records = 1,
                                     .directory_bytes = directory_bytes,
                                     .directory_offset = front.size()}));
  };
  EXPECT_EQ(code(128 << 20), "ZipHeader");
  EXPECT_EQ(code((128 << 20) + 1), "ZipRecordCount");
}

TEST(TorchArchiveRejects, PicklesOver64MiB) {
  const std::string image = archive_image(std::string((64 << 20) + 1, 'N')).build();
  EXPECT_EQ(open_code(image), "RecordTooLarge");
}

TEST(TorchArchiveMessage, SaysHowToSaveALegacyFileAgain) {
  const Status status = open_status("\x80\x02");
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("weights_only=True"));
}

TEST(TorchArchiveMessage, NamesFileRecordAndBothValues) {
  const Status status = open_status(byteorder("mid\ndle"));
  EXPECT_EQ(status.message(), R"(in\"put: record "byteorder": "mid\x0adle" is no byte order)");
}

}  // namespace
}  // namespace winnow
