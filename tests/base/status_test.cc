#include "winnow/base/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "winnow/base/checked.h"
#include "winnow/base/dtype.h"

namespace winnow {
namespace {

TEST(Status, IsOkWithoutAMessageByDefault) {
  const Status ok;
  EXPECT_TRUE(ok.ok());
  EXPECT_EQ(ok.code(), ErrorCode::kOk);
  EXPECT_EQ(ok.message(), "");
  EXPECT_TRUE(ok.with_context("file").ok());
}

TEST(Status, KeepsItsCodeWhenContextIsAdded) {
  const Status error = Status(ErrorCode::kNanValue, "bytes 0 to 8 belong to no tensor");
  const Status with_file = error.with_context("a.safetensors");
  EXPECT_EQ(with_file.code(), ErrorCode::kNanValue);
  EXPECT_EQ(with_file.message(), "a.safetensors: bytes 0 to 8 belong to no tensor");
}

TEST(Status, KeepsTheErrorOfTheSystem) {
  EXPECT_EQ(Status().system_error(), 0);
  EXPECT_EQ(Status(ErrorCode::kNanValue, "a hole").system_error(), 0);
  const Status missing(ErrorCode::kIoError, "cannot open", ENOENT);
  EXPECT_EQ(missing.system_error(), ENOENT);
  EXPECT_EQ(missing.with_context("a.safetensors").system_error(), ENOENT);
}

TEST(Result, HoldsAValueOrAnError) {
  Result<std::string> value = std::string("x");
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(*value + std::move(value).value(), "xx");
  const Result<std::string> error = Status(ErrorCode::kIoError, "no");
  EXPECT_FALSE(error.ok());
  EXPECT_EQ(error.status().code(), ErrorCode::kIoError);
}

TEST(StatusCode, IsKnownByItsNumber) {
  EXPECT_EQ(Status(ErrorCode::kBusy, "at work").code(), (StatusCode{43, ""}));
  EXPECT_NE(ErrorCode::kIoError, ErrorCode::kBusy);
  EXPECT_EQ(ErrorCode::kIoError.name, "IoError");
}

TEST(CheckedMul, IsEmptyWhereTheProductDoesNotFit) {
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, (uint64_t{1} << 32) - 1), 0xffffffff00000000u);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(checked_mul(0, UINT64_MAX), 0u);
  EXPECT_EQ(checked_add(UINT64_MAX, 1), std::nullopt);
  EXPECT_EQ(checked_add(UINT64_MAX, 0), UINT64_MAX);
}

TEST(DType, NamesAndSizesBelongTogether) {
  size_t known = 0;
  for (int i = 0; i <= static_cast<int>(DType::kU64); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
    const std::string name(dtype_name(dtype));
    const auto digit = name.find_first_of("0123456789");
    const size_t bits = digit == std::string::npos ? 8 : std::stoul(name.substr(digit));
    EXPECT_EQ(dtype_bits(dtype), bits) << name;
    ++known;
  }
  EXPECT_EQ(known, 22u);
  EXPECT_EQ(dtype_from_name("f32"), std::nullopt);
  EXPECT_TRUE(is_prunable(DType::kBF16));
  EXPECT_FALSE(is_prunable(DType::kI32));
}

}  // namespace
}  // namespace winnow
