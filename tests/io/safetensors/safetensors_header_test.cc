// What a valid header means, and how its metadata is replaced.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "io/header_text.h"
#include "winnow/io/safetensors.h"
#include "winnow/io/safetensors_writer.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using testing::entry;
using testing::header;
using ::testing::IsEmpty;
using ::testing::Pair;
using testing::parse_code;

const std::string kA = entry("a", "F32", "[1]", 0, 4);

SafetensorsHeader parsed(std::string text, uint64_t data_bytes) {
  Result<SafetensorsHeader> result = SafetensorsHeader::parse(std::move(text), data_bytes);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? std::move(result).value() : SafetensorsHeader();
}

TEST(SafetensorsHeader, GivesEachTensorInTheOrderOfTheText) {
  const SafetensorsHeader h = parsed(
      header({entry("b", "BF16", "[2,3]", 4, 16), R"("__metadata__":{"k":"v","":"é"})", kA}), 16);
  ASSERT_EQ(h.tensors().size(), 2u);
  EXPECT_EQ(h.tensors()[0].name, "b");
  EXPECT_EQ(h.tensors()[0].dtype, DType::kBF16);
  EXPECT_THAT(h.tensors()[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(h.tensors()[0].begin, 4u);
  EXPECT_EQ(h.tensors()[0].end, 16u);
  EXPECT_EQ(h.tensors()[0].numel(), 6u);
  EXPECT_EQ(h.tensors()[0].bytes(), 12u);
  EXPECT_EQ(h.tensors()[1].name, "a");
  EXPECT_THAT(h.metadata(), ElementsAre(Pair("k", "v"), Pair("", "é")));
}

TEST(SafetensorsHeader, AcceptsAFileWithoutTensors) {
  EXPECT_THAT(parsed("{}", 0).tensors(), IsEmpty());
  EXPECT_THAT(parsed(R"({"__metadata__":{}})", 0).metadata(), IsEmpty());
}

TEST(SafetensorsHeader, ReadsNullMetadataAsNone) {
  const SafetensorsHeader h = parsed(header({R"("__metadata__":null)", kA}), 4);
  EXPECT_THAT(h.metadata(), IsEmpty());
  EXPECT_EQ(h.tensors().size(), 1u);
  EXPECT_THAT(parsed(R"({"__metadata__":null})", 0).tensors(), IsEmpty());
  EXPECT_THAT(parsed(header({kA, "\"__metadata__\" : null "}), 4).metadata(), IsEmpty());
}

// Keys in their order, no padding, and data at whatever offset comes: what MLX writes.
TEST(SafetensorsHeader, AcceptsAHeaderAsMlxWritesIt) {
  const std::string text =
      R"({"__metadata__":null,"a":{"data_offsets":[3,11],"dtype":"F32","shape":[2]},)"
      R"("b":{"data_offsets":[0,3],"dtype":"U8","shape":[3]}})";
  ASSERT_NE(text.size() % 8, 0u);
  const SafetensorsHeader h = parsed(text, 11);
  ASSERT_EQ(h.tensors().size(), 2u);
  EXPECT_EQ(h.tensors()[0].begin, 3u);
  EXPECT_THAT(h.metadata(), IsEmpty());
}

TEST(SafetensorsHeader, AcceptsSpacesAroundEveryToken) {
  const std::string text =
      " \t\r\n{ \"a\" : { \"data_offsets\" : [ 0 , 4 ] , \"shape\" : [ 1 ] , \"dtype\" : \"F32\" } "
      "} ";
  EXPECT_EQ(parsed(text, 4).tensors()[0].name, "a");
  EXPECT_EQ(parse_code(header({kA}) + " \t\r\n", 4), ErrorCode::kOk);
}

TEST(SafetensorsHeader, AcceptsScalars) {
  const SafetensorsHeader h = parsed(header({entry("s", "F64", "[]", 0, 8)}), 8);
  EXPECT_THAT(h.tensors()[0].shape, IsEmpty());
  EXPECT_EQ(h.tensors()[0].numel(), 1u);
}

TEST(SafetensorsHeader, AcceptsEmptyTensorsAtAnyBoundary) {
  EXPECT_EQ(parse_code(header({entry("z", "F32", "[0]", 0, 0), kA}), 4), ErrorCode::kOk);
  EXPECT_EQ(parse_code(header({kA, entry("z", "F32", "[0,7]", 0, 0)}), 4), ErrorCode::kOk);
  EXPECT_EQ(parse_code(header({kA, entry("z", "F32", "[7,0]", 4, 4)}), 4), ErrorCode::kOk);
}

TEST(SafetensorsHeader, AcceptsMisalignedOffsets) {
  const std::string text = header({entry("u", "U8", "[1]", 0, 1), entry("d", "F64", "[1]", 1, 9)});
  EXPECT_EQ(parsed(text, 9).tensors()[1].begin, 1u);
}

TEST(SafetensorsHeader, AcceptsSubByteTypesThatEndOnAByte) {
  EXPECT_EQ(parse_code(header({entry("a", "F4", "[2]", 0, 1)}), 1), ErrorCode::kOk);
  EXPECT_EQ(parse_code(header({entry("a", "F6_E2M3", "[4]", 0, 3)}), 3), ErrorCode::kOk);
}

TEST(SafetensorsHeader, AcceptsTheLargestRank) {
  std::string shape = "[1";
  for (int i = 1; i < 64; ++i) shape += ",1";
  EXPECT_EQ(parsed(header({entry("a", "F32", shape + "]", 0, 4)}), 4).tensors()[0].shape.size(),
            64u);
}

TEST(SafetensorsHeader, TakesNamesAsTheyAre) {
  const std::string text =
      header({entry("", "F32", "[1]", 0, 4), entry(R"(\u0000)", "F32", "[1]", 4, 8),
              entry("../../etc/passwd", "F32", "[1]", 8, 12),
              entry(R"(\ud83d\ude00)", "F32", "[1]", 12, 16)});
  const SafetensorsHeader h = parsed(text, 16);
  EXPECT_EQ(h.tensors()[0].name, "");
  EXPECT_EQ(h.tensors()[1].name, std::string(1, '\0'));
  EXPECT_EQ(h.tensors()[2].name, "../../etc/passwd");
  EXPECT_EQ(h.tensors()[3].name, "😀");
}

TEST(SafetensorsHeader, AcceptsNamesUpTo64KiB) {
  EXPECT_EQ(parse_code(header({entry(std::string(65'536, 'n'), "F32", "[1]", 0, 4)}), 4),
            ErrorCode::kOk);
}

TEST(SafetensorsHeader, KnowsEveryDtype) {
  for (int i = 0; i <= static_cast<int>(DType::kU64); ++i) {
    const auto dtype = static_cast<DType>(i);
    const uint64_t bytes = dtype_bits(dtype);  // 8 elements
    const std::string text = header({entry("a", dtype_name(dtype), "[8]", 0, bytes)});
    EXPECT_EQ(parsed(text, bytes).tensors()[0].dtype, dtype);
  }
}

TEST(SafetensorsHeader, AcceptsAnEmptyTensorOfHugeDimensions) {
  // 2^60 - 1 elements of 8 bits would still fit; behind a zero no product wraps.
  EXPECT_EQ(parse_code(header({entry("z", "U8", "[0,1152921504606846975]", 0, 0)}), 0),
            ErrorCode::kOk);
}

TEST(SafetensorsImage, ChecksTheLengthThatItBeginsWith) {
  const auto code = [](std::vector<std::byte> file) {
    return SafetensorsHeader::parse_image(file).status().code();
  };
  std::vector<std::byte> good = testing::image(header({kA}), 4);
  EXPECT_EQ(code(good), ErrorCode::kOk);
  EXPECT_EQ(code({}), SafetensorsError::kFileTooShort);
  EXPECT_EQ(code(std::vector<std::byte>(7)), SafetensorsError::kFileTooShort);
  EXPECT_EQ(code(std::vector<std::byte>(8)), SafetensorsError::kHeaderEmpty);
  EXPECT_EQ(code(std::vector<std::byte>(9)), SafetensorsError::kHeaderEmpty);
  EXPECT_EQ(code({good.begin(), good.begin() + 12}), SafetensorsError::kHeaderPastEnd);
  EXPECT_EQ(code({good.begin(), good.end() - 5}), SafetensorsError::kHeaderPastEnd);
  EXPECT_EQ(code({good.begin(), good.end() - 4}), SafetensorsError::kDataPastEnd);
  EXPECT_EQ(code({good.begin(), good.end() - 1}), SafetensorsError::kDataPastEnd);
  good.push_back({});
  EXPECT_EQ(code(good), SafetensorsError::kTrailingData);
}

TEST(SafetensorsImage, RefusesHugeLengthsBeforeLookingForTheBytes) {
  for (const uint64_t length : {uint64_t{100'000'001}, uint64_t{1} << 63, ~uint64_t{0}}) {
    std::vector<std::byte> file(16);
    for (size_t i = 0; i < 8; ++i) file[i] = static_cast<std::byte>(length >> (8 * i));
    EXPECT_EQ(SafetensorsHeader::parse_image(file).status().code(),
              SafetensorsError::kHeaderTooLarge);
  }
}

TEST(TextWithMetadata, ReplacesOnlyTheValue) {
  const SafetensorsHeader h = parsed(R"( { "__metadata__" : {"old": "}"} , )" + kA + " }  ", 4);
  EXPECT_EQ(
      h.text_with_metadata({{"k", "v"}}).find(R"( { "__metadata__" : {"k":"v"} , )" + kA + " }  "),
      0u);
}

TEST(TextWithMetadata, PutsItFirstWhereThereWasNone) {
  EXPECT_EQ(parsed(" {" + kA + "}", 4)
                .text_with_metadata({{"k", "v"}})
                .find(R"( {"__metadata__":{"k":"v"},)" + kA + "}"),
            0u);
  EXPECT_EQ(parsed("{}", 0).text_with_metadata({{"k", "v"}}),
            R"({"__metadata__":{"k":"v"}}      )");
}

TEST(TextWithMetadata, AddsNoneWhereThereIsNothingToSay) {
  EXPECT_EQ(parsed("{}", 0).text_with_metadata({}), "{}      ");
  EXPECT_EQ(parsed(R"({"__metadata__":{"k":"v"}})", 0).text_with_metadata({}),
            R"({"__metadata__":{}}     )");
}

TEST(TextWithMetadata, WritesNoNullBack) {
  const SafetensorsHeader h = parsed(R"({ "__metadata__" : null , )" + kA + "}", 4);
  EXPECT_EQ(
      h.text_with_metadata({{"k", "v"}}).find(R"({ "__metadata__" : {"k":"v"} , )" + kA + "}"), 0u);
  EXPECT_EQ(h.text_with_metadata({}).find(R"({ "__metadata__" : {} , )" + kA + "}"), 0u);
  EXPECT_EQ(parsed(R"({"__metadata__":null})", 0).text_with_metadata({}),
            R"({"__metadata__":{}}     )");
}

TEST(TextWithMetadata, ParsesAgainToTheSameTensorsAndTheNewMetadata) {
  const Metadata metadata = {
      {"quote\"\\", "line\nfeed\x01\x7F"}, {std::string(1, '\0'), "é😀"}, {"", ""}};
  for (const std::string& text : {header({kA}), header({kA, R"("__metadata__":{"x":"y"})"}),
                                  header({kA, R"("__metadata__":null)"})}) {
    const std::string out = parsed(text, 4).text_with_metadata(metadata);
    EXPECT_EQ(out.size() % 8, 0u);
    const SafetensorsHeader again = parsed(out, 4);
    EXPECT_EQ(again.metadata(), metadata);
    ASSERT_EQ(again.tensors().size(), 1u);
    EXPECT_EQ(again.tensors()[0].name, "a");
  }
}

TEST(TextWithMetadata, MakesAnyMetadataValid) {
  const Metadata metadata = {
      {"k", "first"}, {"\xFF", "\xED\xA0\x80"}, {"\uFFFD", "same key"}, {"k", "last"}};
  const SafetensorsHeader again = parsed(parsed("{}", 0).text_with_metadata(metadata), 0);
  EXPECT_THAT(again.metadata(), ElementsAre(Pair("\uFFFD", "same key"), Pair("k", "last")));
}

TEST(HeaderText, ParsesToWhatItWasMadeOf) {
  const std::vector<TensorInfo> tensors = {{"x\"\n", DType::kF16, {2, 0}, 4, 4},
                                           {"", DType::kI32, {}, 0, 4}};
  const std::string text = safetensors_header_text(tensors, {{"format", "pt"}});
  EXPECT_EQ(text.size() % 8, 0u);
  const SafetensorsHeader h = parsed(text, 4);
  ASSERT_EQ(h.tensors().size(), 2u);
  EXPECT_EQ(h.tensors()[0].name, "x\"\n");
  EXPECT_THAT(h.tensors()[0].shape, ElementsAre(2, 0));
  EXPECT_EQ(h.tensors()[1].end, 4u);
  EXPECT_THAT(h.metadata(), ElementsAre(Pair("format", "pt")));
  EXPECT_EQ(safetensors_header_text({}, {}), "{}      ");
}

}  // namespace
}  // namespace winnow
