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
  StatusCode code;
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
    {"Empty", SafetensorsError::kHeaderEmpty, "", 0},
    {"ByteOrderMark", SafetensorsError::kHeaderByteOrderMark, "\xEF\xBB\xBF" + header({kA})},
    {"InvalidUtf8InName", SafetensorsError::kHeaderNotUtf8,
     header({entry("\xFF", "F32", "[1]", 0, 4)})},
    {"InvalidUtf8Outside", SafetensorsError::kHeaderNotUtf8, header({kA}) + "\x80"},
    {"OverlongUtf8", SafetensorsError::kHeaderNotUtf8,
     header({entry("\xC0\x80", "F32", "[1]", 0, 4)})},
    {"OverlongUtf8OfThreeBytes", SafetensorsError::kHeaderNotUtf8, header({kA}) + "\xE0\x80\xA0"},
    {"OverlongUtf8OfFourBytes", SafetensorsError::kHeaderNotUtf8,
     header({kA}) + "\xF0\x80\x80\xA0"},
    {"Utf8PastTheLastCodePoint", SafetensorsError::kHeaderNotUtf8,
     header({kA}) + "\xF4\x90\x80\x80"},
    {"RawSurrogate", SafetensorsError::kHeaderNotUtf8,
     header({entry("\xED\xA0\x80", "F32", "[1]", 0, 4)})},
    {"CutUtf8", SafetensorsError::kHeaderNotUtf8, header({kA}) + "\xE2\x82"},
    {"OnlySpaces", SafetensorsError::kHeaderSyntax, "    ", 0},
    {"TruncatedJson", SafetensorsError::kHeaderSyntax, header({kA}).substr(0, 20)},
    {"TruncatedBeforeLastBrace", SafetensorsError::kHeaderSyntax, "{" + kA},
    {"TrailingComma", SafetensorsError::kHeaderSyntax, "{" + kA + ",}"},
    {"TrailingCommaInArray", SafetensorsError::kHeaderSyntax, with_shape("[1,]")},
    {"MissingComma", SafetensorsError::kHeaderSyntax, "{" + kA + kA + "}"},
    {"SingleQuotes", SafetensorsError::kHeaderSyntax, "{'a':1}"},
    {"Comment", SafetensorsError::kHeaderSyntax, "{/**/" + kA + "}"},
    {"NanLiteral", SafetensorsError::kHeaderSyntax, with_shape("[NaN]")},
    {"LeadingZero", SafetensorsError::kHeaderSyntax, with_shape("[01]")},
    {"LeadingZeroOffset", SafetensorsError::kHeaderSyntax, with_offsets("[00,4]")},
    {"PlusSign", SafetensorsError::kHeaderSyntax, with_shape("[+1]")},
    {"HexNumber", SafetensorsError::kHeaderSyntax, with_shape("[0x1]")},
    {"LoneHighSurrogateEscape", SafetensorsError::kHeaderSyntax,
     header({entry(R"(\ud800)", "F32", "[1]", 0, 4)})},
    {"LoneLowSurrogateEscape", SafetensorsError::kHeaderSyntax,
     header({entry(R"(\udc00)", "F32", "[1]", 0, 4)})},
    {"BadEscape", SafetensorsError::kHeaderSyntax, header({entry(R"(\x41)", "F32", "[1]", 0, 4)})},
    {"RawControlInString", SafetensorsError::kHeaderSyntax,
     header({entry("\n", "F32", "[1]", 0, 4)})},
    {"RawNulInString", SafetensorsError::kHeaderSyntax,
     header({entry(std::string(1, '\0'), "F32", "[1]", 0, 4)})},
    {"NulBetweenTokens", SafetensorsError::kHeaderSyntax, std::string("{\0", 2) + kA + "}"},
    {"FormFeedAsSpace", SafetensorsError::kHeaderSyntax, "\f" + header({kA})},
    {"DeepNesting", SafetensorsError::kHeaderNotObject, repeat("[", 100'000)},
    {"DeepNestingInShape", SafetensorsError::kHeaderTooDeep, with_shape(repeat("[", 100'000))},
    {"TopLevelArray", SafetensorsError::kHeaderNotObject, "[" + header({kA}) + "]"},
    {"TopLevelString", SafetensorsError::kHeaderNotObject, R"("a")"},
    {"TopLevelNumber", SafetensorsError::kHeaderNotObject, "1"},
    {"TopLevelNull", SafetensorsError::kHeaderNotObject, "null"},
    {"GarbageAfterBrace", SafetensorsError::kHeaderTrailingBytes, header({kA}) + "x"},
    {"NulAfterBrace", SafetensorsError::kHeaderTrailingBytes, header({kA}) + std::string(1, '\0')},
    {"SecondObject", SafetensorsError::kHeaderTrailingBytes, header({kA}) + " {}"},
    {"SecondBrace", SafetensorsError::kHeaderTrailingBytes, header({kA}) + "}"},
};

const Case kEntryCases[] = {
    {"EntryIsNumber", SafetensorsError::kEntryNotObject, R"({"a":1})"},
    {"EntryIsNull", SafetensorsError::kEntryNotObject, R"({"a":null})"},
    {"EntryIsArray", SafetensorsError::kEntryNotObject, R"({"a":["F32",[1],[0,4]]})"},
    {"DuplicateTensor", SafetensorsError::kDuplicateTensor,
     header({kA, entry("b", "F32", "[1]", 4, 8), entry("a", "F32", "[1]", 8, 12)}), 12},
    {"DuplicateTensorSameEntry", SafetensorsError::kDuplicateTensor, header({kA, kA})},
    {"DuplicateTensorByEscape", SafetensorsError::kDuplicateTensor,
     header({kA, entry(R"(\u0061)", "F32", "[1]", 0, 4)})},
    {"DuplicateDtype", SafetensorsError::kDuplicateField,
     fields(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"dtype":"F32")")},
    {"DuplicateShape", SafetensorsError::kDuplicateField, fields(R"("shape":[1],"shape":[1])")},
    {"DuplicateOffsets", SafetensorsError::kDuplicateField,
     fields(R"("data_offsets":[0,4],"data_offsets":[0,4])")},
    {"UnknownField", SafetensorsError::kUnknownField,
     fields(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1)")},
    {"UnknownNestedField", SafetensorsError::kUnknownField, fields(R"("x":[[[[{}]]]])")},
    {"FieldNameInOtherCase", SafetensorsError::kUnknownField, fields(R"("Dtype":"F32")")},
    {"MissingDtype", SafetensorsError::kMissingField,
     fields(R"("shape":[1],"data_offsets":[0,4])")},
    {"MissingShape", SafetensorsError::kMissingField,
     fields(R"("dtype":"F32","data_offsets":[0,4])")},
    {"MissingOffsets", SafetensorsError::kMissingField, fields(R"("dtype":"F32","shape":[1])")},
    {"EmptyEntry", SafetensorsError::kMissingField, fields("")},
    {"DtypeIsNumber", SafetensorsError::kFieldType, with_dtype("1")},
    {"DtypeIsNull", SafetensorsError::kFieldType, with_dtype("null")},
    {"DtypeIsObject", SafetensorsError::kFieldType, with_dtype(R"({"F32":null})")},
    {"DtypeIsArray", SafetensorsError::kFieldType, with_dtype(R"(["F32"])")},
    {"ShapeIsNumber", SafetensorsError::kFieldType, with_shape("1")},
    {"ShapeIsNull", SafetensorsError::kFieldType, with_shape("null")},
    {"DimensionIsNull", SafetensorsError::kFieldType, with_shape("[null]")},
    {"ShapeIsString", SafetensorsError::kFieldType, with_shape(R"("[1]")")},
    {"ShapeIsObject", SafetensorsError::kFieldType, with_shape(R"({"0":1})")},
    {"DimensionIsString", SafetensorsError::kFieldType, with_shape(R"(["1"])")},
    {"DimensionIsTrue", SafetensorsError::kFieldType, with_shape("[true]")},
    {"DimensionIsArray", SafetensorsError::kHeaderTooDeep, with_shape("[[1]]")},
    {"DimensionIsObject", SafetensorsError::kHeaderTooDeep, with_shape("[{}]")},
    {"OffsetsIsNull", SafetensorsError::kFieldType, with_offsets("null")},
    {"OffsetsIsString", SafetensorsError::kFieldType, with_offsets(R"("0,4")")},
    {"OffsetsIsObject", SafetensorsError::kFieldType, with_offsets(R"({"0":0,"1":4})")},
    {"OffsetIsString", SafetensorsError::kFieldType, with_offsets(R"(["0",4])")},
    {"OffsetIsNull", SafetensorsError::kFieldType, with_offsets("[null,4]")},
    {"OffsetIsArray", SafetensorsError::kHeaderTooDeep, with_offsets("[0,[4]]")},
    {"UnknownDtype", SafetensorsError::kUnknownDtype, with_dtype(R"("F99")")},
    {"LowerCaseDtype", SafetensorsError::kUnknownDtype, with_dtype(R"("f32")")},
    {"EmptyDtype", SafetensorsError::kUnknownDtype, with_dtype(R"("")")},
};

const Case kNumberCases[] = {
    {"Rank65", SafetensorsError::kRankTooLarge, with_shape("[" + repeat("1,", 64) + "1]")},
    {"Rank100000", SafetensorsError::kRankTooLarge, with_shape("[" + repeat("1,", 99'999) + "1]")},
    {"NegativeDimension", SafetensorsError::kBadDimension, with_shape("[-1]")},
    {"MinusZeroDimension", SafetensorsError::kBadDimension, with_shape("[-0]")},
    {"FloatDimension", SafetensorsError::kBadDimension, with_shape("[1.0]")},
    {"ExponentDimension", SafetensorsError::kBadDimension, with_shape("[1e0]")},
    {"HugeExponentDimension", SafetensorsError::kBadDimension, with_shape("[1e999]")},
    {"Dimension2To63", SafetensorsError::kBadDimension, with_shape("[9223372036854775808]")},
    {"Dimension2To64", SafetensorsError::kBadDimension, with_shape("[18446744073709551616]")},
    {"HugeDimensionsBehindZero", SafetensorsError::kBadDimension,
     with_shape("[0,9223372036854775808,9223372036854775808]")},
    {"NegativeOffset", SafetensorsError::kBadOffset, with_offsets("[-1,4]")},
    {"MinusZeroOffset", SafetensorsError::kBadOffset, with_offsets("[-0,4]")},
    {"FloatOffset", SafetensorsError::kBadOffset, with_offsets("[0.0,4]")},
    {"ExponentOffset", SafetensorsError::kBadOffset, with_offsets("[0,4e0]")},
    {"HugeExponentOffset", SafetensorsError::kBadOffset, with_offsets("[0,1e999]")},
    {"Offset2To64", SafetensorsError::kBadOffset, with_offsets("[0,18446744073709551616]")},
    {"NoOffsets", SafetensorsError::kOffsetCount, with_offsets("[]")},
    {"OneOffset", SafetensorsError::kOffsetCount, with_offsets("[0]")},
    {"ThreeOffsets", SafetensorsError::kOffsetCount, with_offsets("[0,4,8]")},
    {"BeginAfterEnd", SafetensorsError::kOffsetOrder, with_offsets("[4,0]")},
    {"ShapeOverflow", ErrorCode::kShapeOverflow, with_shape("[4294967296,4294967296]")},
    {"ShapeOverflowBeforeZero", ErrorCode::kShapeOverflow,
     with_shape("[4611686018427387904,4611686018427387904,0]")},
    {"ShapeOverflowBehindZero", ErrorCode::kShapeOverflow,
     with_shape("[0,4611686018427387904,4611686018427387904]")},
    {"BitsOverflow", ErrorCode::kShapeOverflow, with_shape("[1152921504606846976]")},
    {"SpanTooShort", SafetensorsError::kSizeMismatch, with_shape("[2]")},
    {"SpanTooLong", SafetensorsError::kSizeMismatch, with_shape("[0]")},
    {"HalfByteF4", SafetensorsError::kPartialByte, header({entry("a", "F4", "[3]", 0, 2)}), 2},
    {"PartialByteF6", SafetensorsError::kPartialByte, header({entry("a", "F6_E2M3", "[1]", 0, 1)}),
     1},
    {"PartialByteOtherF6", SafetensorsError::kPartialByte,
     header({entry("a", "F6_E3M2", "[2]", 0, 2)}), 2},
};

const Case kLayoutCases[] = {
    {"PartialOverlap", SafetensorsError::kOverlap, header({kA, entry("b", "F32", "[1]", 2, 6)}), 6},
    {"OverlapOfOneByte", SafetensorsError::kOverlap, header({kA, entry("b", "U8", "[2]", 3, 5)}),
     5},
    {"HoleOfOneByte", SafetensorsError::kHole, header({kA, entry("b", "U8", "[2]", 5, 7)}), 7},
    {"IdenticalOverlap", SafetensorsError::kOverlap, header({kA, entry("b", "F32", "[1]", 0, 4)})},
    {"EmptyTensorInsideAnother", SafetensorsError::kOverlap,
     header({kA, entry("b", "F32", "[0]", 2, 2)})},
    {"Hole", SafetensorsError::kHole, header({kA, entry("b", "F32", "[1]", 5, 9)}), 9},
    {"FirstOffsetNotZero", SafetensorsError::kHole, header({entry("a", "F32", "[1]", 4, 8)}), 8},
    {"EmptyTensorPastEnd", SafetensorsError::kHole, header({kA, entry("b", "F32", "[0]", 8, 8)})},
    {"DataShort", SafetensorsError::kDataPastEnd, header({kA}), 3},
    {"NoData", SafetensorsError::kDataPastEnd, header({kA}), 0},
    {"SecondTensorPastEnd", SafetensorsError::kDataPastEnd,
     header({kA, entry("b", "F32", "[1]", 4, 8)}), 7},
    {"BytesAfterLastTensor", SafetensorsError::kTrailingData, header({kA}), 5},
    {"DataWithoutTensors", SafetensorsError::kTrailingData, "{}", 1},
    {"DuplicateMetadata", SafetensorsError::kDuplicateMetadata,
     header({R"("__metadata__":{})", kA, R"("__metadata__":{})"})},
    {"DuplicateMetadataByEscape", SafetensorsError::kDuplicateMetadata,
     header({R"("__metadata__":{})", kA, R"("__metadat\u0061__":{})"})},
    {"DuplicateMetadataNull", SafetensorsError::kDuplicateMetadata,
     header({R"("__metadata__":null)", kA, R"("__metadata__":null)"})},
    {"MetadataNullThenObject", SafetensorsError::kDuplicateMetadata,
     header({R"("__metadata__":null)", kA, R"("__metadata__":{})"})},
    {"MetadataTrue", SafetensorsError::kMetadataType, with_metadata("true")},
    {"MetadataFalse", SafetensorsError::kMetadataType, with_metadata("false")},
    {"MetadataZero", SafetensorsError::kMetadataType, with_metadata("0")},
    {"MetadataArrayOfNull", SafetensorsError::kMetadataType, with_metadata("[null]")},
    {"MetadataNullInCapitals", SafetensorsError::kHeaderSyntax, with_metadata("NULL")},
    {"MetadataCutNull", SafetensorsError::kHeaderSyntax, with_metadata("nul")},
    {"MetadataLongerThanNull", SafetensorsError::kHeaderSyntax, with_metadata("nulll")},
    {"MetadataString", SafetensorsError::kMetadataType, with_metadata(R"("x")")},
    {"MetadataArray", SafetensorsError::kMetadataType, with_metadata("[]")},
    {"MetadataNumberValue", SafetensorsError::kMetadataType, with_metadata(R"({"k":1})")},
    {"MetadataNullValue", SafetensorsError::kMetadataType, with_metadata(R"({"k":null})")},
    {"MetadataObjectValue", SafetensorsError::kMetadataType, with_metadata(R"({"k":{}})")},
    {"MetadataArrayValue", SafetensorsError::kMetadataType, with_metadata(R"({"k":["x"]})")},
    {"DuplicateMetadataKey", SafetensorsError::kDuplicateMetadataKey,
     with_metadata(R"({"k":"x","j":"","k":"x"})")},
    {"DuplicateMetadataKeyByEscape", SafetensorsError::kDuplicateMetadataKey,
     with_metadata(R"({"k":"x","\u006b":"x"})")},
    {"MetadataLoneSurrogate", SafetensorsError::kHeaderSyntax, with_metadata(R"({"k":"\ud800x"})")},
    {"NameOver64KiB", SafetensorsError::kNameTooLong,
     header({entry(std::string(65'537, 'n'), "F32", "[1]", 0, 4)})},
};

class SafetensorsRejects : public ::testing::TestWithParam<Case> {};

TEST_P(SafetensorsRejects, WithTheCodeOfItsKind) {
  const Status status = SafetensorsHeader::parse(GetParam().text, GetParam().data_bytes).status();
  EXPECT_EQ(status.code().name, GetParam().code.name) << status.message();
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
  EXPECT_EQ(parse_code(std::string(kMaxHeaderBytes + 1, ' '), 0),
            SafetensorsError::kHeaderTooLarge);
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
