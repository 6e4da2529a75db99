// Every way to be malformed, with the one code it gives (docs/safetensors.md has the same list).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "io/header_text.h"
#include "winnow/io/safetensors.h"

namespace winnow {
namespace {

using testing::entry;
using ::testing::HasSubstr;
using testing::header;
using testing::parse_code;

struct Case {
  std::string name;
  ErrorCode code;
  std::string text;
  uint64_t data_bytes = 4;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

const std::string kA = entry("a", "F32", "[1]", 0, 4);

// The one tensor of a header whose fields are `fields`.
std::string fields(const std::string& text) { return R"({"a":{)" + text + "}}"; }

std::string with_offsets(const std::string& offsets) {
  return fields(R"("dtype":"F32","shape":[1],"data_offsets":)" + offsets);
}

std::string with_shape(const std::string& shape) {
  return header({entry("a", "F32", shape, 0, 4)});
}

std::string with_dtype(const std::string& dtype) {
  return fields(R"("dtype":)" + dtype + R"(,"shape":[1],"data_offsets":[0,4])");
}

std::string with_metadata(const std::string& value) {
  return header({R"("__metadata__":)" + value, kA});
}

std::string repeat(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

const Case kTextCases[] = {
    {"Empty", ErrorCode::kHeaderEmpty, "", 0},
    {"ByteOrderMark", ErrorCode::kHeaderByteOrderMark, "\xEF\xBB\xBF" + header({kA})},
    {"InvalidUtf8InName", ErrorCode::kHeaderNotUtf8, header({entry("\xFF", "F32", "[1]", 0, 4)})},
    {"InvalidUtf8Outside", ErrorCode::kHeaderNotUtf8, header({kA}) + "\x80"},
    {"OverlongUtf8", ErrorCode::kHeaderNotUtf8, header({entry("\xC0\x80", "F32", "[1]", 0, 4)})},
    {"OverlongUtf8OfThreeBytes", ErrorCode::kHeaderNotUtf8, header({kA}) + "\xE0\x80\xA0"},
    {"OverlongUtf8OfFourBytes", ErrorCode::kHeaderNotUtf8, header({kA}) + "\xF0\x80\x80\xA0"},
    {"Utf8PastTheLastCodePoint", ErrorCode::kHeaderNotUtf8, header({kA}) + "\xF4\x90\x80\x80"},
    {"RawSurrogate", ErrorCode::kHeaderNotUtf8,
     header({entry("\xED\xA0\x80", "F32", "[1]", 0, 4)})},
    {"CutUtf8", ErrorCode::kHeaderNotUtf8, header({kA}) + "\xE2\x82"},
    {"OnlySpaces", ErrorCode::kHeaderSyntax, "    ", 0},
    {"TruncatedJson", ErrorCode::kHeaderSyntax, header({kA}).substr(0, 20)},
    {"TruncatedBeforeLastBrace", ErrorCode::kHeaderSyntax, "{" + kA},
    {"TrailingComma", ErrorCode::kHeaderSyntax, "{" + kA + ",}"},
    {"TrailingCommaInArray", ErrorCode::kHeaderSyntax, with_shape("[1,]")},
    {"MissingComma", ErrorCode::kHeaderSyntax, "{" + kA + kA + "}"},
    {"SingleQuotes", ErrorCode::kHeaderSyntax, "{'a':1}"},
    {"Comment", ErrorCode::kHeaderSyntax, "{/**/" + kA + "}"},
    {"NanLiteral", ErrorCode::kHeaderSyntax, with_shape("[NaN]")},
    {"LeadingZero", ErrorCode::kHeaderSyntax, with_shape("[01]")},
    {"LeadingZeroOffset", ErrorCode::kHeaderSyntax, with_offsets("[00,4]")},
    {"PlusSign", ErrorCode::kHeaderSyntax, with_shape("[+1]")},
    {"HexNumber", ErrorCode::kHeaderSyntax, with_shape("[0x1]")},
    {"LoneHighSurrogateEscape", ErrorCode::kHeaderSyntax,
     header({entry(R"(\ud800)", "F32", "[1]", 0, 4)})},
    {"LoneLowSurrogateEscape", ErrorCode::kHeaderSyntax,
     header({entry(R"(\udc00)", "F32", "[1]", 0, 4)})},
    {"BadEscape", ErrorCode::kHeaderSyntax, header({entry(R"(\x41)", "F32", "[1]", 0, 4)})},
    {"RawControlInString", ErrorCode::kHeaderSyntax, header({entry("\n", "F32", "[1]", 0, 4)})},
    {"RawNulInString", ErrorCode::kHeaderSyntax,
     header({entry(std::string(1, '\0'), "F32", "[1]", 0, 4)})},
    {"NulBetweenTokens", ErrorCode::kHeaderSyntax, std::string("{\0", 2) + kA + "}"},
    {"FormFeedAsSpace", ErrorCode::kHeaderSyntax, "\f" + header({kA})},
    {"DeepNesting", ErrorCode::kHeaderNotObject, repeat("[", 100'000)},
    {"DeepNestingInShape", ErrorCode::kHeaderTooDeep, with_shape(repeat("[", 100'000))},
    {"TopLevelArray", ErrorCode::kHeaderNotObject, "[" + header({kA}) + "]"},
    {"TopLevelString", ErrorCode::kHeaderNotObject, R"("a")"},
    {"TopLevelNumber", ErrorCode::kHeaderNotObject, "1"},
    {"TopLevelNull", ErrorCode::kHeaderNotObject, "null"},
    {"GarbageAfterBrace", ErrorCode::kHeaderTrailingBytes, header({kA}) + "x"},
    {"NulAfterBrace", ErrorCode::kHeaderTrailingBytes, header({kA}) + std::string(1, '\0')},
    {"SecondObject", ErrorCode::kHeaderTrailingBytes, header({kA}) + " {}"},
    {"SecondBrace", ErrorCode::kHeaderTrailingBytes, header({kA}) + "}"},
};

const Case kEntryCases[] = {
    {"EntryIsNumber", ErrorCode::kEntryNotObject, R"({"a":1})"},
    {"EntryIsNull", ErrorCode::kEntryNotObject, R"({"a":null})"},
    {"EntryIsArray", ErrorCode::kEntryNotObject, R"({"a":["F32",[1],[0,4]]})"},
    {"DuplicateTensor", ErrorCode::kDuplicateTensor,
     header({kA, entry("b", "F32", "[1]", 4, 8), entry("a", "F32", "[1]", 8, 12)}), 12},
    {"DuplicateTensorSameEntry", ErrorCode::kDuplicateTensor, header({kA, kA})},
    {"DuplicateTensorByEscape", ErrorCode::kDuplicateTensor,
     header({kA, entry(R"(\u0061)", "F32", "[1]", 0, 4)})},
    {"DuplicateDtype", ErrorCode::kDuplicateField,
     fields(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"dtype":"F32")")},
    {"DuplicateShape", ErrorCode::kDuplicateField, fields(R"("shape":[1],"shape":[1])")},
    {"DuplicateOffsets", ErrorCode::kDuplicateField,
     fields(R"("data_offsets":[0,4],"data_offsets":[0,4])")},
    {"UnknownField", ErrorCode::kUnknownField,
     fields(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1)")},
    {"UnknownNestedField", ErrorCode::kUnknownField, fields(R"("x":[[[[{}]]]])")},
    {"FieldNameInOtherCase", ErrorCode::kUnknownField, fields(R"("Dtype":"F32")")},
    {"MissingDtype", ErrorCode::kMissingField, fields(R"("shape":[1],"data_offsets":[0,4])")},
    {"MissingShape", ErrorCode::kMissingField, fields(R"("dtype":"F32","data_offsets":[0,4])")},
    {"MissingOffsets", ErrorCode::kMissingField, fields(R"("dtype":"F32","shape":[1])")},
    {"EmptyEntry", ErrorCode::kMissingField, fields("")},
    {"DtypeIsNumber", ErrorCode::kFieldType, with_dtype("1")},
    {"DtypeIsNull", ErrorCode::kFieldType, with_dtype("null")},
    {"DtypeIsObject", ErrorCode::kFieldType, with_dtype(R"({"F32":null})")},
    {"DtypeIsArray", ErrorCode::kFieldType, with_dtype(R"(["F32"])")},
    {"ShapeIsNumber", ErrorCode::kFieldType, with_shape("1")},
    {"ShapeIsNull", ErrorCode::kFieldType, with_shape("null")},
    {"DimensionIsNull", ErrorCode::kFieldType, with_shape("[null]")},
    {"ShapeIsString", ErrorCode::kFieldType, with_shape(R"("[1]")")},
    {"ShapeIsObject", ErrorCode::kFieldType, with_shape(R"({"0":1})")},
    {"DimensionIsString", ErrorCode::kFieldType, with_shape(R"(["1"])")},
    {"DimensionIsTrue", ErrorCode::kFieldType, with_shape("[true]")},
    {"DimensionIsArray", ErrorCode::kHeaderTooDeep, with_shape("[[1]]")},
    {"DimensionIsObject", ErrorCode::kHeaderTooDeep, with_shape("[{}]")},
    {"OffsetsIsNull", ErrorCode::kFieldType, with_offsets("null")},
    {"OffsetsIsString", ErrorCode::kFieldType, with_offsets(R"("0,4")")},
    {"OffsetsIsObject", ErrorCode::kFieldType, with_offsets(R"({"0":0,"1":4})")},
    {"OffsetIsString", ErrorCode::kFieldType, with_offsets(R"(["0",4])")},
    {"OffsetIsNull", ErrorCode::kFieldType, with_offsets("[null,4]")},
    {"OffsetIsArray", ErrorCode::kHeaderTooDeep, with_offsets("[0,[4]]")},
    {"UnknownDtype", ErrorCode::kUnknownDtype, with_dtype(R"("F99")")},
    {"LowerCaseDtype", ErrorCode::kUnknownDtype, with_dtype(R"("f32")")},
    {"EmptyDtype", ErrorCode::kUnknownDtype, with_dtype(R"("")")},
};

const Case kNumberCases[] = {
    {"Rank65", ErrorCode::kRankTooLarge, with_shape("[" + repeat("1,", 64) + "1]")},
    {"Rank100000", ErrorCode::kRankTooLarge, with_shape("[" + repeat("1,", 99'999) + "1]")},
    {"NegativeDimension", ErrorCode::kBadDimension, with_shape("[-1]")},
    {"MinusZeroDimension", ErrorCode::kBadDimension, with_shape("[-0]")},
    {"FloatDimension", ErrorCode::kBadDimension, with_shape("[1.0]")},
    {"ExponentDimension", ErrorCode::kBadDimension, with_shape("[1e0]")},
    {"HugeExponentDimension", ErrorCode::kBadDimension, with_shape("[1e999]")},
    {"Dimension2To63", ErrorCode::kBadDimension, with_shape("[9223372036854775808]")},
    {"Dimension2To64", ErrorCode::kBadDimension, with_shape("[18446744073709551616]")},
    {"HugeDimensionsBehindZero", ErrorCode::kBadDimension,
     with_shape("[0,9223372036854775808,9223372036854775808]")},
    {"NegativeOffset", ErrorCode::kBadOffset, with_offsets("[-1,4]")},
    {"MinusZeroOffset", ErrorCode::kBadOffset, with_offsets("[-0,4]")},
    {"FloatOffset", ErrorCode::kBadOffset, with_offsets("[0.0,4]")},
    {"ExponentOffset", ErrorCode::kBadOffset, with_offsets("[0,4e0]")},
    {"HugeExponentOffset", ErrorCode::kBadOffset, with_offsets("[0,1e999]")},
    {"Offset2To64", ErrorCode::kBadOffset, with_offsets("[0,18446744073709551616]")},
    {"NoOffsets", ErrorCode::kOffsetCount, with_offsets("[]")},
    {"OneOffset", ErrorCode::kOffsetCount, with_offsets("[0]")},
    {"ThreeOffsets", ErrorCode::kOffsetCount, with_offsets("[0,4,8]")},
    {"BeginAfterEnd", ErrorCode::kOffsetOrder, with_offsets("[4,0]")},
    {"ShapeOverflow", ErrorCode::kShapeOverflow, with_shape("[4294967296,4294967296]")},
    {"ShapeOverflowBeforeZero", ErrorCode::kShapeOverflow,
     with_shape("[4611686018427387904,4611686018427387904,0]")},
    {"ShapeOverflowBehindZero", ErrorCode::kShapeOverflow,
     with_shape("[0,4611686018427387904,4611686018427387904]")},
    {"BitsOverflow", ErrorCode::kShapeOverflow, with_shape("[1152921504606846976]")},
    {"SpanTooShort", ErrorCode::kSizeMismatch, with_shape("[2]")},
    {"SpanTooLong", ErrorCode::kSizeMismatch, with_shape("[0]")},
    {"HalfByteF4", ErrorCode::kPartialByte, header({entry("a", "F4", "[3]", 0, 2)}), 2},
    {"PartialByteF6", ErrorCode::kPartialByte, header({entry("a", "F6_E2M3", "[1]", 0, 1)}), 1},
    {"PartialByteOtherF6", ErrorCode::kPartialByte, header({entry("a", "F6_E3M2", "[2]", 0, 2)}),
     2},
};

const Case kLayoutCases[] = {
    {"PartialOverlap", ErrorCode::kOverlap, header({kA, entry("b", "F32", "[1]", 2, 6)}), 6},
    {"OverlapOfOneByte", ErrorCode::kOverlap, header({kA, entry("b", "U8", "[2]", 3, 5)}), 5},
    {"HoleOfOneByte", ErrorCode::kHole, header({kA, entry("b", "U8", "[2]", 5, 7)}), 7},
    {"IdenticalOverlap", ErrorCode::kOverlap, header({kA, entry("b", "F32", "[1]", 0, 4)})},
    {"EmptyTensorInsideAnother", ErrorCode::kOverlap, header({kA, entry("b", "F32", "[0]", 2, 2)})},
    {"Hole", ErrorCode::kHole, header({kA, entry("b", "F32", "[1]", 5, 9)}), 9},
    {"FirstOffsetNotZero", ErrorCode::kHole, header({entry("a", "F32", "[1]", 4, 8)}), 8},
    {"EmptyTensorPastEnd", ErrorCode::kHole, header({kA, entry("b", "F32", "[0]", 8, 8)})},
    {"DataShort", ErrorCode::kDataPastEnd, header({kA}), 3},
    {"NoData", ErrorCode::kDataPastEnd, header({kA}), 0},
    {"SecondTensorPastEnd", ErrorCode::kDataPastEnd, header({kA, entry("b", "F32", "[1]", 4, 8)}),
     7},
    {"BytesAfterLastTensor", ErrorCode::kTrailingData, header({kA}), 5},
    {"DataWithoutTensors", ErrorCode::kTrailingData, "{}", 1},
    {"DuplicateMetadata", ErrorCode::kDuplicateMetadata,
     header({R"("__metadata__":{})", kA, R"("__metadata__":{})"})},
    {"DuplicateMetadataByEscape", ErrorCode::kDuplicateMetadata,
     header({R"("__metadata__":{})", kA, R"("__metadat\u0061__":{})"})},
    {"DuplicateMetadataNull", ErrorCode::kDuplicateMetadata,
     header({R"("__metadata__":null)", kA, R"("__metadata__":null)"})},
    {"MetadataNullThenObject", ErrorCode::kDuplicateMetadata,
     header({R"("__metadata__":null)", kA, R"("__metadata__":{})"})},
    {"MetadataTrue", ErrorCode::kMetadataType, with_metadata("true")},
    {"MetadataFalse", ErrorCode::kMetadataType, with_metadata("false")},
    {"MetadataZero", ErrorCode::kMetadataType, with_metadata("0")},
    {"MetadataArrayOfNull", ErrorCode::kMetadataType, with_metadata("[null]")},
    {"MetadataNullInCapitals", ErrorCode::kHeaderSyntax, with_metadata("NULL")},
    {"MetadataCutNull", ErrorCode::kHeaderSyntax, with_metadata("nul")},
    {"MetadataLongerThanNull", ErrorCode::kHeaderSyntax, with_metadata("nulll")},
    {"MetadataString", ErrorCode::kMetadataType, with_metadata(R"("x")")},
    {"MetadataArray", ErrorCode::kMetadataType, with_metadata("[]")},
    {"MetadataNumberValue", ErrorCode::kMetadataType, with_metadata(R"({"k":1})")},
    {"MetadataNullValue", ErrorCode::kMetadataType, with_metadata(R"({"k":null})")},
    {"MetadataObjectValue", ErrorCode::kMetadataType, with_metadata(R"({"k":{}})")},
    {"MetadataArrayValue", ErrorCode::kMetadataType, with_metadata(R"({"k":["x"]})")},
    {"DuplicateMetadataKey", ErrorCode::kDuplicateMetadataKey,
     with_metadata(R"({"k":"x","j":"","k":"x"})")},
    {"DuplicateMetadataKeyByEscape", ErrorCode::kDuplicateMetadataKey,
     with_metadata(R"({"k":"x","\u006b":"x"})")},
    {"MetadataLoneSurrogate", ErrorCode::kHeaderSyntax, with_metadata(R"({"k":"\ud800x"})")},
    {"NameOver64KiB", ErrorCode::kNameTooLong,
     header({entry(std::string(65'537, 'n'), "F32", "[1]", 0, 4)})},
};

class SafetensorsRejects : public ::testing::TestWithParam<Case> {};

TEST_P(SafetensorsRejects, WithTheCodeOfItsKind) {
  const Status status = SafetensorsHeader::parse(GetParam().text, GetParam().data_bytes).status();
  EXPECT_EQ(error_code_name(status.code()), error_code_name(GetParam().code)) << status.message();
  EXPECT_FALSE(status.message().empty());
  EXPECT_LT(status.message().size(), 1500u);
  EXPECT_EQ(status.message().find('\n'), std::string_view::npos);
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Text, SafetensorsRejects, ::testing::ValuesIn(kTextCases), case_name);
INSTANTIATE_TEST_SUITE_P(Entries, SafetensorsRejects, ::testing::ValuesIn(kEntryCases), case_name);
INSTANTIATE_TEST_SUITE_P(Numbers, SafetensorsRejects, ::testing::ValuesIn(kNumberCases), case_name);
INSTANTIATE_TEST_SUITE_P(Layout, SafetensorsRejects, ::testing::ValuesIn(kLayoutCases), case_name);

TEST(SafetensorsRejects, HeaderOverTheLimit) {
  EXPECT_EQ(parse_code(std::string(kMaxHeaderBytes + 1, ' '), 0), ErrorCode::kHeaderTooLarge);
  EXPECT_EQ(parse_code("{}" + std::string(kMaxHeaderBytes - 2, ' '), 0), ErrorCode::kOk);
}

TEST(SafetensorsMessage, NamesTensorExpectedAndFound) {
  const Status status =
      SafetensorsHeader::parse(header({entry(R"(w\n\"x)", "F32", "[3]", 0, 4)}), 4).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr(R"(tensor "w\x0a\"x")"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("ask for 12 bytes"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("hold 4"));
}

TEST(SafetensorsMessage, SaysWhereTheTextIsNotJson) {
  const Status status = SafetensorsHeader::parse(R"({"a":@})", 0).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("byte 6"));
}

}  // namespace
}  // namespace winnow
