// Masks of tensors: what is refused, what stays untouched then, versions and memory.
#include <ATen/core/grad_mode.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gmock/gmock.h>
#include <torch/torch.h>

#include <functional>

#include "torch/sparsifiers.h"
#include "winnow/torch/tensor_mask.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

at::Tensor mask_like(const at::Tensor& data) { return at::full(data.sizes(), 7, at::kChar); }

/// The error of both functions that write, which must leave the first, correct pair untouched.
std::string refusal(const at::Tensor& data, const at::Tensor& mask,
                    const DataNormConfig& config = {}) {
  const at::Tensor good = at::randn({4, 4}), good_mask = mask_like(good);
  const TensorMask targets[] = {{good, good_mask}, {data, mask}};
  const int64_t version = good_mask._version();
  const std::string one =
      message_of<c10::ValueError>([&] { compute_mask_out(data, config, mask); });
  const std::string each = message_of<c10::ValueError>([&] { compute_masks_out(targets, config); });
  const std::string global =
      message_of<c10::ValueError>([&] { compute_global_masks_out(targets, config); });
  EXPECT_EQ(each, global);
  EXPECT_TRUE((good_mask == 7).all().item<bool>()) << one;
  EXPECT_EQ(good_mask._version(), version);
  return one + " | " + each;
}

TEST(ComputeMaskOut, RefusesDataThatHaveNoScores) {
  const at::Tensor mask = at::zeros({2, 3}, at::kChar);
  EXPECT_THAT(refusal({}, mask), HasSubstr("data: expected a tensor, found an undefined one"));
  EXPECT_THAT(refusal({}, mask), HasSubstr("data[1]: expected a tensor"));
  for (const at::ScalarType type : {at::kInt, at::kBool, at::kComplexFloat, at::kFloat8_e4m3fn}) {
    EXPECT_THAT(
        refusal(at::zeros({2, 3}, type), mask),
        HasSubstr(c10::str("expected dtype Float, Double, Half or BFloat16, found ", type)));
  }
  EXPECT_THAT(refusal(at::quantize_per_tensor(at::ones({2, 3}), 0.1, 0, at::kQInt8), mask),
              HasSubstr("found QInt8"));
  EXPECT_THAT(refusal(at::ones({2, 3}).to_sparse(), mask),
              HasSubstr("data: expected layout Strided, found Sparse"));
  EXPECT_THAT(message_of<c10::ValueError>([] { compute_mask(at::ones({2}, at::kLong), {}); }),
              HasSubstr("found Long"));
  EXPECT_THAT(message_of<c10::ValueError>([] { compute_mask({}, {}); }), HasSubstr("undefined"));
}

TEST(ComputeMaskOut, RefusesMasksOfAnotherKind) {
  const at::Tensor data = at::ones({2, 3});
  EXPECT_THAT(refusal(data, {}), HasSubstr("mask: expected a tensor, found an undefined one"));
  EXPECT_THAT(refusal(data, at::ones({2, 3})),
              HasSubstr("mask: expected dtype Char (int8), found Float"));
  EXPECT_THAT(refusal(data, at::ones({3, 2}, at::kChar)),
              HasSubstr("mask: expected the data's shape [2, 3], found [3, 2]"));
  EXPECT_THAT(refusal(data, at::ones({6}, at::kChar)), HasSubstr("found [6]"));
  EXPECT_THAT(refusal(data, at::ones({2, 3}, at::TensorOptions("meta").dtype(at::kChar))),
              HasSubstr("mask: expected the data's device cpu, found meta"));
  EXPECT_THAT(refusal(data, at::ones({3, 2}, at::kChar).t()),
              HasSubstr("mask: expected contiguous memory, found strides [1, 2]"));
  EXPECT_THAT(refusal(data, at::ones({1, 3}, at::kChar).expand({2, 3})), HasSubstr("contiguous"));
  EXPECT_THAT(refusal(data, at::_neg_view(at::ones({2, 3}, at::kChar))), HasSubstr("negative"));
  EXPECT_THAT(refusal(data, at::ones({2, 3}, at::kChar).to_sparse()), HasSubstr("layout"));
}

TEST(ComputeMaskOut, RefusesSettingsOutOfRange) {
  const at::Tensor data = at::ones({2, 3});
  const at::Tensor mask = mask_like(data);
  const int64_t version = mask._version();
  EXPECT_THAT(refusal(data, mask, {.sparsity_level = NAN}), HasSubstr("sparsity_level"));
  EXPECT_THAT(refusal(data, mask, {.sparsity_level = INFINITY}), HasSubstr("sparsity_level"));
  EXPECT_THAT(refusal(data, mask, {.sparse_block_shape = {0, 4}}), HasSubstr("sparse_block_shape"));
  EXPECT_THAT(refusal(data, mask, {.zeros_per_block = 5}), HasSubstr("zeros_per_block"));
  EXPECT_TRUE((mask == 7).all().item<bool>());
  EXPECT_EQ(mask._version(), version);
  EXPECT_THAT(message_of<c10::ValueError>([&] { compute_mask(data, {.sparsity_level = NAN}); }),
              HasSubstr("sparsity_level"));
}

TEST(ComputeMaskOut, RefusesMasksThatShareMemory) {
  const at::Tensor bytes = at::zeros({64}, at::kChar);
  const at::Tensor data = bytes.narrow(0, 0, 48).view(at::kFloat);  // bytes 0 to 47
  EXPECT_THAT(refusal(data, bytes.narrow(0, 40, 12)),
              HasSubstr("mask: expected memory of its own, found that of data"));
  EXPECT_THAT(refusal(data.slice(0, 0, 12, 11), bytes.narrow(0, 46, 2)), HasSubstr("memory"));
  EXPECT_THAT(refusal(data.narrow(0, 5, 7), bytes.narrow(0, 14, 7)), HasSubstr("memory"));
  EXPECT_NO_THROW(compute_mask_out(data, {}, bytes.narrow(0, 48, 12)));
  const at::Tensor a = at::randn({12}), b = at::randn({12});
  const at::Tensor mask = mask_like(a);
  const std::vector<TensorMask> twice = {{a, mask}, {b, mask}};
  EXPECT_THAT(message_of<c10::ValueError>([&] { compute_masks_out(twice, {}); }),
              HasSubstr("found that of masks["));
  const std::vector<TensorMask> crossed = {{a, bytes.narrow(0, 0, 12)}, {data, mask}};
  EXPECT_THAT(message_of<c10::ValueError>([&] { compute_global_masks_out(crossed, {}); }),
              HasSubstr("masks[0]: expected memory of its own, found that of data[1]"));
  EXPECT_TRUE((mask == 7).all().item<bool>());
}

TEST(ComputeMaskOut, RefusesOneBudgetOverTensorsWithAndWithoutValues) {
  const at::TensorOptions meta("meta");
  const at::Tensor data = at::ones({4}), mask = mask_like(data);
  const std::vector<TensorMask> targets = {
      {data, mask}, {at::ones({4}, meta), at::ones({4}, meta.dtype(at::kChar))}};
  EXPECT_THAT(message_of<c10::ValueError>([&] { compute_global_masks_out(targets, {}); }),
              HasSubstr("1 of 2 tensors on the meta device"));
  EXPECT_TRUE((mask == 7).all().item<bool>());
}

TEST(ComputeMaskOut, LeavesDataAndTheirGradientsAlone) {
  const at::Tensor data = at::randn({40, 7}).requires_grad_();
  const at::Tensor before = data.detach().clone(), mask = mask_like(data);
  const int64_t version = data._version();
  compute_mask_out(data, {}, mask);
  compute_mask_out(data.t(), {}, mask_like(data.t()));
  EXPECT_TRUE(at::equal(data.detach(), before));
  EXPECT_EQ(data._version(), version);
  EXPECT_FALSE(mask.requires_grad());
}

TEST(ComputeMaskOut, MakesABackwardPassThatSavedTheOldMaskFail) {
  const at::Tensor values = at::randn({8, 8});
  for (const at::Tensor& data : {values, values.t()}) {
    const at::Tensor weight = data.detach().clone().requires_grad_(),
                     mask = at::ones_like(data, at::TensorOptions(at::kChar),
                                          at::MemoryFormat::Contiguous);
    const at::Tensor loss = (mask * weight).sum();
    compute_mask_out(data, {}, mask);
    EXPECT_THROW(loss.backward(), c10::Error);
    const at::Tensor fresh = (mask * weight).sum();
    EXPECT_NO_THROW(fresh.backward());
  }
}

TEST(ComputeMaskOut, WritesInferenceTensors) {
  at::Tensor data, mask;
  {
    const c10::InferenceMode guard;
    data = at::randn({6, 8});
    mask = mask_like(data);
    compute_mask_out(data, {}, mask);
  }
  const at::Tensor expected = compute_mask(data, {});
  EXPECT_TRUE(at::equal(mask, expected));
  compute_mask_out(data, {.sparsity_level = 1.0}, mask);  // outside of the mode
  EXPECT_EQ(at::count_nonzero(mask).item<int64_t>(), 0);
  mask = mask_like(data.t());
  compute_mask_out(data.t(), {}, mask);
  EXPECT_TRUE(at::equal(mask, compute_mask(data.t().contiguous(), {})));
}

/// Sums what LibTorch allocates on the CPU while this is installed.
class Allocations final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
    now += bytes;
    most = std::max(most, now);
  }
  bool memoryProfilingEnabled() const override { return true; }

  int64_t now = 0, most = 0;
};

int64_t peak_of(const std::function<void()>& call) {
  const auto allocations = std::make_shared<Allocations>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, allocations);
  call();
  return allocations->most;
}

// The core's own buffers are measured in strided_mask_test.cc.
TEST(ComputeMaskOut, AllocatesNothingOfLibTorch) {
  constexpr int64_t kMiB = 1 << 20;
  const at::Tensor wide = at::randn({4096, 4096});  // 64 MiB
  const at::Tensor mask = at::empty({4096, 4096}, at::kChar);
  const auto peak = [&](const at::Tensor& data, BlockShape block) {
    const at::Tensor out = mask.view(-1).narrow(0, 0, data.numel()).view(data.sizes());
    return peak_of([&] { compute_mask_out(data, {.sparse_block_shape = block}, out); });
  };
  EXPECT_EQ(peak_of([] { at::empty({kMiB}, at::kChar); }), kMiB);  // the measure itself
  EXPECT_EQ(peak(wide, {1, 4}), 0);
  EXPECT_EQ(peak(wide.narrow(1, 100, 2000), {1, 4}), 0);
  EXPECT_EQ(peak(wide.t(), {1, 4}), 0);
  EXPECT_EQ(peak(wide.view(-1).slice(0, 0, wide.numel(), 2), {1, 1}), 0);
  EXPECT_EQ(peak(wide.t(), {INT64_MAX, 1}), 0);
  EXPECT_EQ(peak(wide.view({64, 64, 64, 64}).permute({0, 3, 2, 1}), {3, 4}), 0);
}

}  // namespace
}  // namespace winnow
