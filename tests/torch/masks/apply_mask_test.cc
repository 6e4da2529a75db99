// Exact zeros: what a product with a mask leaves behind, apply_mask_ does not.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include <cmath>

#include "torch/sparsifiers.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/tensor_mask.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

constexpr float kNan = NAN, kInf = INFINITY;

bool is_plus_zero(const at::Tensor& values) {
  return (values.eq(0) & values.signbit().logical_not()).all().item<bool>();
}

TEST(ApplyMask, SetsDroppedValuesToPlusZeroAndKeepsTheBitsOfOthers) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16}) {
    for (const at::ScalarType mask_type : {at::kChar, at::kByte, at::kBool, at::kFloat}) {
      const at::Tensor data = torch::tensor({-1.0F, kNan, -kInf, 2.0F, -0.0F, -3.0F, kNan, -0.0F});
      const at::Tensor mask = torch::tensor({0, 0, 0, 0, 0, 1, 1, 1}).to(mask_type);
      const at::Tensor values = data.to(type, false, true), kept = values.slice(0, 5).clone();
      apply_mask_(values, mask);
      EXPECT_TRUE(is_plus_zero(values.slice(0, 0, 5))) << type << mask_type;
      EXPECT_TRUE(at::equal(values.slice(0, 5).view(at::kByte), kept.view(at::kByte)));
    }
  }
}

TEST(ApplyMask, WritesTensorsOfAnyLayout) {
  const at::Tensor mask = torch::rand({6, 4}).gt(0.5);
  const at::Tensor storage = torch::randn({4, 12});
  const at::Tensor untouched = storage.slice(1, 1, 12, 2).clone();
  const at::Tensor data = storage.slice(1, 0, 12, 2).t();  // [6, 4], no stride of 1
  const at::Tensor expected = data.masked_fill(mask.logical_not(), 0);
  apply_mask_(data, mask);
  EXPECT_TRUE(data.equal(expected));
  EXPECT_TRUE(storage.slice(1, 1, 12, 2).equal(untouched));
  const at::Tensor transposed = torch::randn({6, 4}), mask_view = mask.t().contiguous().t();
  const at::Tensor expected_too = transposed.masked_fill(mask.logical_not(), 0);
  apply_mask_(transposed, mask_view);
  EXPECT_TRUE(transposed.equal(expected_too));
}

TEST(ApplyMask, NeedsNoGradientAndBumpsTheVersion) {
  const at::Tensor weight = torch::randn({4, 4}, torch::requires_grad());
  const at::Tensor loss = weight.square().sum();
  const int64_t version = weight._version();
  apply_mask_(weight, torch::zeros({4, 4}, at::kChar));
  EXPECT_TRUE(weight.is_leaf());
  EXPECT_TRUE(weight.requires_grad());
  EXPECT_GT(weight._version(), version);
  EXPECT_THROW(loss.backward(), c10::Error);
}

TEST(ApplyMask, MakesASquashedTensorExact) {
  const at::Tensor data = torch::tensor({{-1.0F, 2.0F, -3.0F, 4.0F}, {8.0F, 8.0F, 8.0F, 8.0F}});
  DataNormSparsifier sparsifier;
  sparsifier.add_data("x", data);
  sparsifier.step();
  sparsifier.squash_mask();
  EXPECT_TRUE(data[0].eq(0).all().item<bool>());
  EXPECT_FALSE(is_plus_zero(data[0]));
  apply_mask_(data, sparsifier.get_mask("x"));
  EXPECT_TRUE(is_plus_zero(data[0]));
}

TEST(ApplyMask, NamesWhatItRefusesAndWritesNothing) {
  const at::Tensor data = torch::ones({2, 3}), mask = torch::zeros({2, 3}, at::kChar);
  const auto refusal = [](const at::Tensor& data, const at::Tensor& mask) {
    return message_of<c10::ValueError>([&] { apply_mask_(data, mask); });
  };
  EXPECT_THAT(refusal({}, mask), HasSubstr("data: expected a tensor"));
  EXPECT_THAT(refusal(torch::ones({2, 3}, at::kInt), mask), HasSubstr("found Int"));
  EXPECT_THAT(refusal(torch::ones({1, 3}).expand({2, 3}), mask), HasSubstr("a place of its own"));
  EXPECT_THAT(refusal(data, {}), HasSubstr("mask: expected a strided tensor"));
  EXPECT_THAT(refusal(data, mask.to_sparse()), HasSubstr("mask: expected a strided tensor"));
  EXPECT_THAT(refusal(data, mask[0]),
              HasSubstr("mask: expected the data's shape [2, 3], found [3]"));
  EXPECT_THAT(refusal(data, mask.to(at::kMeta)), HasSubstr("mask: expected the data's device cpu"));
  EXPECT_TRUE(data.equal(torch::ones({2, 3})));
}

TEST(ApplyMask, RefusesValuesThatShareAPlace) {
  const at::Tensor windows = torch::ones({10}).as_strided({4, 4}, {2, 1});
  const at::Tensor mask = torch::eye(4, torch::kChar);
  EXPECT_THROW(apply_mask_(windows, mask), c10::ValueError);
  EXPECT_TRUE(windows.equal(torch::ones({4, 4})));
}

}  // namespace
}  // namespace winnow
