// Headers made to cost more than they are: time and memory stay in proportion to the text.
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "io/header_text.h"
#include "io/heap_count.h"
#include "winnow/io/safetensors.h"

namespace winnow {
namespace {

using testing::entry;

constexpr size_t kTarget = 98'000'000;

// `open`, then piece(0), piece(1)... with commas between them up to about the limit, then `close`.
template <typename Piece>
std::string filled(const std::string& open, const Piece& piece, const std::string& close) {
  std::string text = open;
  text.reserve(kMaxHeaderBytes);
  for (size_t i = 0; text.size() < kTarget; ++i) {
    if (i > 0) text += ',';
    text += piece(i);
  }
  return text + close;
}

struct Cost {
  StatusCode code;
  size_t bytes;  // besides the text
  double seconds;
};

Cost cost_of(std::string text) {
  using Clock = std::chrono::steady_clock;
  const size_t before = testing::live_heap_bytes();
  testing::reset_heap_peak();
  const Clock::time_point start = Clock::now();
  const StatusCode code = SafetensorsHeader::parse(std::move(text), 0).status().code();
  const std::chrono::duration<double> seconds = Clock::now() - start;
  return {code, testing::peak_heap_bytes() - before, seconds.count()};
}

// The bound that safetensors.h states. The time is far from a measurement: something quadratic
// would take hours.
void expect_in_proportion(std::string text, StatusCode code) {
  const size_t bound = 3 * text.size() + (96 << 20);
  const Cost cost = cost_of(std::move(text));
  EXPECT_EQ(cost.code.name, code.name);
  EXPECT_LE(cost.bytes, bound);
  EXPECT_LT(cost.seconds, 60);
}

TEST(SafetensorsLimits, AShapeOfMillionsOfDimensionsFailsAtOnce) {
  const Cost cost = cost_of(filled(R"({"a":{"shape":[)", [](size_t) { return "1"; }, "]}}"));
  EXPECT_EQ(cost.code, SafetensorsError::kRankTooLarge);
  EXPECT_LT(cost.bytes, size_t{1} << 20);
}

TEST(SafetensorsLimits, ManyTensors) {
  const auto piece = [](size_t i) { return entry(std::to_string(i), "U8", "[0]", 0, 0); };
  expect_in_proportion(filled("{", piece, "}"), ErrorCode::kOk);
}

TEST(SafetensorsLimits, ManyTensorsOfTheLargestRank) {
  std::string shape = "[0";
  for (int i = 1; i < 64; ++i) shape += ",0";
  shape += "]";
  const auto piece = [&](size_t i) { return entry(std::to_string(i), "U8", shape, 0, 0); };
  expect_in_proportion(filled("{", piece, "}"), ErrorCode::kOk);
}

// The error quotes the string where a comma should be: the library copies it several times.
TEST(SafetensorsLimits, ManyTensorsAndALongStringOutOfPlace) {
  const std::string tail = ",\"" + std::string(kMaxStringBytes, 's');
  std::string shape = "[0";
  for (int i = 1; i < 64; ++i) shape += ",0";
  const auto piece = [&](size_t i) { return entry(std::to_string(i), "U8", shape + "]", 0, 0); };
  std::string text = filled("{", piece, "");
  text.resize(text.rfind(",\"", kMaxHeaderBytes - tail.size() - 1));
  expect_in_proportion(text + tail, SafetensorsError::kHeaderSyntax);
}

TEST(SafetensorsLimits, LongNamesThatDifferAtTheirEnd) {
  const std::string prefix(60'000, 'n');
  const auto piece = [&](size_t i) { return entry(prefix + std::to_string(i), "U8", "[0]", 0, 0); };
  expect_in_proportion(filled("{", piece, "}"), ErrorCode::kOk);
}

TEST(SafetensorsLimits, ManyMetadataEntries) {
  const auto piece = [](size_t i) { return "\"" + std::to_string(i) + R"(":"")"; };
  expect_in_proportion(filled(R"({"__metadata__":{)", piece, "}}"),
                       SafetensorsError::kTooMuchMetadata);
}

TEST(SafetensorsLimits, LongMetadataValues) {
  const std::string value(kMaxStringBytes / 8, 'v');
  const auto piece = [&](size_t i) { return "\"" + std::to_string(i) + R"(":")" + value + "\""; };
  expect_in_proportion(filled(R"({"__metadata__":{)", piece, "}}"), ErrorCode::kOk);
}

TEST(SafetensorsLimits, StringsOverTheLimit) {
  const std::string longest(kMaxStringBytes, 's');
  for (const char* tail : {"", R"(\q)", "\n"}) {
    const std::string text = R"({"__metadata__":{"k":")" + longest + "s" + tail;
    expect_in_proportion(text + R"("}})", SafetensorsError::kStringTooLong);
  }
  expect_in_proportion(R"({"__metadata__":{"k":")" + longest + R"("}})", ErrorCode::kOk);
  expect_in_proportion(R"({")" + longest + R"(":{}})", SafetensorsError::kNameTooLong);
  expect_in_proportion(R"({")" + longest, SafetensorsError::kHeaderSyntax);
}

TEST(SafetensorsLimits, EndlessNumbers) {
  const std::string open = R"({"a":{"shape":[)";
  expect_in_proportion(open + std::string(kTarget, '1') + "]}}", SafetensorsError::kHeaderSyntax);
  expect_in_proportion(open + "0." + std::string(kTarget, '1') + "]}}",
                       SafetensorsError::kHeaderSyntax);
  expect_in_proportion(open + std::string(1000, '1') + "]}}", SafetensorsError::kBadDimension);
}

TEST(SafetensorsLimits, NothingButSpaces) {
  expect_in_proportion(std::string(kTarget, ' ') + "{}", ErrorCode::kOk);
  expect_in_proportion(std::string(kTarget, ' '), SafetensorsError::kHeaderSyntax);
}

TEST(SafetensorsLimits, BracesInAString) {
  const auto piece = [&](size_t i) {
    return "\"" + std::to_string(i) + R"(":")" + std::string(10'000, '{') + "\"";
  };
  expect_in_proportion(filled(R"({"__metadata__":{)", piece, "}}"), ErrorCode::kOk);
}

}  // namespace
}  // namespace winnow
