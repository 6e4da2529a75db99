// What is said of files of other kinds: a table of their fronts, through both readers.
#include "io/file/file_kind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "io/header_text.h"
#include "support/torch_image.h"
#include "winnow/io/safetensors.h"
#include "winnow/io/torch_archive.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Case {
  std::string name;
  std::string front;
  std::string what;
  std::string advice = {};
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// Enough bytes behind a front, so that the length that it spells could be a header's.
std::string with_tail(const std::string& front) { return front + std::string(2000, '\xEE'); }

const std::string kNul(1, '\0');

const Case kCases[] = {
    {"GitLfsPointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90868376\n",
     "a Git LFS pointer", "`git lfs pull`"},
    {"Gguf", with_tail("GGUF\3" + std::string(3, '\0')), "a GGUF file of llama.cpp"},
    {"Gzip", with_tail("\x1f\x8b\x08" + std::string(5, '\0')), "compressed by gzip", "decompress"},
    {"GzipWithATime", with_tail("\x1f\x8b\x08\x08\x11\x22\x33\x44"), "compressed by gzip"},
    {"Zstd", with_tail("\x28\xb5\x2f\xfd\x24"), "compressed by zstd", "decompress"},
    {"Xz",
     with_tail("\xfd"
               "7zXZ" +
               kNul + kNul + "\4"),
     "compressed by xz", "decompress"},
    {"Bzip2", with_tail("BZh91AY&SY"), "compressed by bzip2", "decompress"},
    {"Hdf5", with_tail("\x89HDF\r\n\x1a\n"), "an HDF5 file, as Keras writes"},
    {"Npy", with_tail("\x93NUMPY\1" + kNul + "v" + kNul + "{'descr'"), "an array of NumPy (.npy)",
     "safetensors.numpy.save_file"},
    {"WebPage", "<!DOCTYPE html>\n<html class=\"\">", "a web page", "download the file itself"},
    {"WebPageInCapitals", "\n <HTML><HEAD>", "a web page", "download the file itself"},
    {"Xml", "<?xml version=\"1.0\"?><Error>", "an XML text", "download the file itself"},
    {"Index",
     "{\n  \"metadata\": {\n    \"total_size\": 438\n  },\n  \"weight_map\": {\n    \"w\": "
     "\"model-00001",
     "the index of a checkpoint in shards", "one by one"},
    {"Json", "{\"architectures\": [\"BertModel\"]}", "a JSON text"},
    {"Text", "Entry not found", "a text that begins with \"Entry not found\""},
    {"ShortText", "404", "a text that begins with \"404\""},
    {"TextOfTwoLines", "Invalid \"user\" name\nor password",
     "a text that begins with \"Invalid \\\"user\\\" name\""},
};

class FileKind : public ::testing::TestWithParam<Case> {};

std::string safetensors_message(const std::string& file) {
  const Status status = SafetensorsHeader::parse_image(std::as_bytes(std::span(file))).status();
  EXPECT_GE(status.code().number, SafetensorsError::kFileTooShort.number);
  EXPECT_LE(status.code().number, SafetensorsError::kHeaderNotObject.number);
  return std::string(status.message());
}

std::string torch_message(const std::string& file, StatusCode code = ZipError::kNotZip) {
  const Status status =
      TorchArchive::open(std::make_unique<testing::MemoryFile>(file), "in").status();
  EXPECT_EQ(status.code(), code);
  return std::string(status.message());
}

TEST_P(FileKind, IsNamedWithWhatWouldBeRight) {
  const Case& c = GetParam();
  EXPECT_THAT(safetensors_message(c.front),
              StartsWith("this is " + c.what + ", no safetensors file"));
  EXPECT_THAT(safetensors_message(c.front), HasSubstr(c.advice));
  EXPECT_THAT(torch_message(c.front), StartsWith("in: this is " + c.what + ", no torch archive"));
  EXPECT_THAT(torch_message(c.front), HasSubstr(c.advice));
}

INSTANTIATE_TEST_SUITE_P(Front, FileKind, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

TEST(FileKind, OfTorchIsNamedByTheReaderOfSafetensors) {
  EXPECT_THAT(safetensors_message(testing::archive_image(testing::pkl::program("}")).build()),
              StartsWith("this is a zip, as torch.save writes, no safetensors file"));
  for (const char protocol : {'\2', '\3', '\4', '\5'}) {
    const std::string pickle = std::string("\x80") + protocol + "\x95\1" + std::string(7, '\0');
    EXPECT_THAT(safetensors_message(with_tail(pickle)), StartsWith("this is a pickle, as Python"));
    EXPECT_THAT(safetensors_message(with_tail(pickle)), HasSubstr("torch.load(path"));
  }
  EXPECT_THAT(safetensors_message(std::string(257, 'n') + "ustar" + std::string(2000, '\0')),
              StartsWith("this is a tar archive"));
}

TEST(FileKind, OfSafetensorsIsNamedByTheReaderOfArchives) {
  const std::vector<std::byte> image =
      testing::image(testing::header({testing::entry("a", "F32", "[1]", 0, 4)}), 4);
  const std::string file(reinterpret_cast<const char*>(image.data()), image.size());
  EXPECT_THAT(torch_message(file), StartsWith("in: this is a safetensors file, no torch archive"));
}

// Lengths whose first byte is that of a pickle.
TEST(FileKind, OfSafetensorsIsNotTakenForAnOldPickle) {
  for (const char second : {'\0', '\2'}) {
    std::string file = "\x80";
    file += second + std::string(6, '\0') + "{\"a\": ";
    file.resize(1024, ' ');
    EXPECT_THAT(torch_message(file),
                StartsWith("in: this is a safetensors file, no torch archive"));
  }
}

TEST(FileKind, IsSaidOfFilesWithoutContent) {
  EXPECT_EQ(safetensors_message(""), "the file is empty, no safetensors file");
  EXPECT_EQ(torch_message(""), "in: the file is empty, no torch archive");
  EXPECT_THAT(safetensors_message(std::string(5000, '\0')), HasSubstr("NUL bytes"));
  EXPECT_THAT(torch_message(std::string(5000, '\0')), HasSubstr("NUL bytes"));
}

// A header's length can begin as a magic does: what is wrong behind it is to be said then.
TEST(FileKind, IsNotSuspectedOfDamagedSafetensors) {
  std::string file = "\x1f\x8b\x08" + std::string(5, '\0') + "{\"a\"";
  file.resize(8 + 0x88b1f, '@');
  EXPECT_THAT(safetensors_message(file), HasSubstr("not JSON at its byte"));
  std::string spaced = "\x80\2" + std::string(6, '\0') + " \n{\"a\"";
  spaced.resize(8 + 0x280, '@');
  EXPECT_THAT(safetensors_message(spaced), HasSubstr("not JSON at its byte"));
  EXPECT_THAT(safetensors_message(std::string("\3\0\0\0\0\0\0\0{]}", 11)), HasSubstr("not JSON"));
  EXPECT_THAT(safetensors_message(std::string("\x40\0\0\0\0\0\0\0{}", 10)),
              HasSubstr("the header should have 64 bytes"));
}

TEST(FileKind, IsUnknownOfOtherBytes) {
  EXPECT_THAT(safetensors_message(std::string(16, '\xFF')), HasSubstr("is it a safetensors file?"));
  EXPECT_THAT(torch_message("x\1y"), HasSubstr("does not start as a zip file does"));
}

TEST(SafetensorsMessage, NamesNulBytesInTheHeader) {
  const std::string text = testing::header({testing::entry("a", "F32", "[1]", 0, 4)});
  const auto message = [](const std::string& header) {
    return std::string(SafetensorsHeader::parse(header, 4).status().message());
  };
  EXPECT_THAT(message(text + kNul), HasSubstr("is a NUL: headers are padded with spaces only"));
  EXPECT_THAT(message(text + "x"), Not(HasSubstr("NUL")));
  EXPECT_THAT(message("{" + kNul + text), HasSubstr("not JSON at its byte 2, which is a NUL"));
  EXPECT_THAT(message("{@" + text), Not(HasSubstr("NUL")));
}

}  // namespace
}  // namespace winnow
