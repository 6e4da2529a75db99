#include "torch/support/dtype_map.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cctype>
#include <string>

namespace winnow {
using namespace internal;

namespace {

TEST(DtypeMap, HasLibTorchsNumbers) {
  for (const TorchType& type : kTorchTypes) {
    const auto scalar_type = static_cast<c10::ScalarType>(type.number);
    const std::string name = c10::toString(scalar_type);
    if (!type.storage_class.empty()) {
      EXPECT_EQ(type.storage_class, name + "Storage");
    } else if (!type.name.empty()) {
      std::string lower = name;
      for (char& letter : lower) letter = static_cast<char>(std::tolower(letter));
      EXPECT_EQ(type.name, lower);
    }
    if (type.dtype == DType::kF4) {
      EXPECT_EQ(scalar_type, c10::ScalarType::Float4_e2m1fn_x2);
    } else {
      EXPECT_EQ(c10::elementSize(scalar_type) * 8, dtype_bits(type.dtype)) << name;
    }
  }
}

TEST(DtypeMap, LeadsBackAndForth) {
  for (const TorchType& type : kTorchTypes) {
    const auto scalar_type = scalar_type_of(type.dtype);
    ASSERT_TRUE(scalar_type.has_value());
    EXPECT_EQ(dtype_of(*scalar_type), type.dtype);
  }
  EXPECT_EQ(dtype_of(at::kComplexDouble), std::nullopt);
  EXPECT_EQ(scalar_type_of(DType::kF6E2M3), std::nullopt);
}

}  // namespace
}  // namespace winnow
