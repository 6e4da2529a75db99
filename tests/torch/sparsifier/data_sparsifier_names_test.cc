// Names that come and go: first masks, removed and replaced data, what a sparsifier notices of
// them.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"

namespace winnow {
namespace {

using testing::CapturedWarnings;
using testing::counting;
using ::testing::ElementsAre;
using testing::FirstRowSparsifier;
using ::testing::HasSubstr;
using testing::message_of;

TEST(DataSparsifier, FirstMasksHaveOneByteAValue) {
  FirstRowSparsifier sparsifier;
  const auto type_for = [&](c10::ScalarType type) {
    sparsifier.add_data("x", torch::ones({2, 2}, type), {.reuse_mask = false, .replace = true});
    EXPECT_EQ(sparsifier.get_data("x", false).scalar_type(), type);
    return sparsifier.get_mask("x").scalar_type();
  };
  for (const auto type : {torch::kFloat, torch::kDouble, torch::kHalf, torch::kBFloat16,
                          torch::kComplexFloat, torch::kInt, torch::kLong}) {
    EXPECT_EQ(type_for(type), torch::kChar) << type;
  }
  // Where a product with int8 would have another type.
  EXPECT_EQ(type_for(torch::kByte), torch::kByte);
  EXPECT_EQ(type_for(torch::kBool), torch::kBool);
}

TEST(DataSparsifier, FirstMasksTakeMemoryWhenTheyAreAskedFor) {
  FirstRowSparsifier sparsifier;
  const at::Tensor data = torch::ones({100, 10}, torch::kHalf);
  sparsifier.add_data("x", data);
  const auto mask_in_container = [&] {
    return sparsifier.container()->named_buffers()["parametrizations.x.0.mask"];
  };
  EXPECT_EQ(mask_in_container().storage().nbytes(), 1u);
  EXPECT_TRUE(sparsifier.get_data("x", false).equal(data));
  const at::Tensor mask = sparsifier.get_mask("x");
  EXPECT_EQ(mask.storage().nbytes(), 1000u);
  EXPECT_TRUE(mask_in_container().is_same(mask));
  mask[0][0] = 0;
  EXPECT_EQ(sparsifier.get_data("x", false).sum().item<float>(), 999);
}

TEST(DataSparsifier, RemovesDataAndLeavesTheTensorWithItsOwner) {
  FirstRowSparsifier sparsifier;
  const at::Tensor masked = counting({2, 2}), squashed = counting({2, 2});
  sparsifier.add_data("masked", masked);
  sparsifier.add_data("kept", counting({2, 2}));
  sparsifier.add_data("squashed", squashed);
  sparsifier.step();
  sparsifier.squash_mask({"squashed"});
  sparsifier.remove_data("masked");
  sparsifier.remove_data("squashed");
  EXPECT_THAT(sparsifier.names(), ElementsAre("kept"));
  EXPECT_THAT(sparsifier.container()->named_buffers().keys(),
              ElementsAre("parametrizations.kept.original", "parametrizations.kept.0.mask"));
  EXPECT_TRUE(masked.equal(counting({2, 2})));
  EXPECT_EQ(squashed[0].sum().item<float>(), 0);
  EXPECT_THAT(message_of<c10::ValueError>([&] { sparsifier.remove_data("masked"); }),
              HasSubstr("'masked'"));
  sparsifier.add_data("masked", masked);  // as if it had never been there
  EXPECT_TRUE(sparsifier.get_mask("masked").equal(torch::ones({2, 2})));
}

TEST(DataSparsifier, NoticesThatAModuleHasAnotherWeightNow) {
  FirstRowSparsifier sparsifier;
  torch::nn::Embedding embedding(2, 2);
  const at::Tensor first = embedding->weight;
  sparsifier.add_data("other", counting({2, 2}));
  sparsifier.add_data("table", embedding);
  sparsifier.step();
  embedding->weight = torch::ones({2, 2}, torch::requires_grad());
  for (const auto& call : std::vector<std::function<void()>>{[&] { sparsifier.step(); },
                                                             [&] { sparsifier.squash_mask(); }}) {
    EXPECT_THAT(message_of<c10::ValueError>(call),
                HasSubstr("that was added as 'table' is another tensor now"));
  }
  EXPECT_EQ(sparsifier.state("other").get<int64_t>("step_count"), 1) << "a mask was touched";
  EXPECT_TRUE(sparsifier.is_parametrized("other"));
  sparsifier.add_data("table", embedding, {.replace = true});
  EXPECT_EQ(sparsifier.get_mask("table")[0].sum().item<int64_t>(), 0) << "the mask was not kept";
  sparsifier.step();
  sparsifier.squash_mask();
  EXPECT_EQ(embedding->weight[0].sum().item<float>(), 0);
  EXPECT_NE(first[0].abs().sum().item<float>(), 0);
}

TEST(DataSparsifier, RefusesAStepWithinAStep) {
  class Recursive final : public FirstRowSparsifier {
    void update_mask(const std::string&, const at::Tensor&, const NamedValues&) override { step(); }
  } sparsifier;
  sparsifier.add_data("x", counting({2, 2}));
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(message_of<c10::Error>([&] { sparsifier.step(); }),
                HasSubstr("step was called from within step"));
  }
}

TEST(DataSparsifier, WarnsOnceOfEachMisspeltNameAndNotOfShortOnes) {
  FirstRowSparsifier sparsifier({{"t", 1}, {"sparsity_level", 0.5}});
  CapturedWarnings warnings;
  for (int i = 0; i < 3; ++i) {
    sparsifier.add_data(std::to_string(i), counting({2, 2}),
                        {.config = {{"sparsity_leve", 1}, {"abc", 1}, {"x", 1}}});
  }
  ASSERT_THAT(warnings.messages(), ::testing::SizeIs(1));
  EXPECT_THAT(warnings.messages()[0], HasSubstr("Did you mean 'sparsity_level'?"));
}

TEST(DataSparsifier, ReplacingCostsTheSameHoweverManyNamesThereAre) {
  const auto best_of = [](int64_t count) {
    FirstRowSparsifier sparsifier;
    const at::Tensor data = torch::ones({4});
    for (int64_t i = 0; i < count; ++i) {
      sparsifier.add_data(std::to_string(i), data.clone());
    }
    auto best = std::chrono::nanoseconds::max();
    for (int round = 0; round < 20; ++round) {
      const auto begin = std::chrono::steady_clock::now();
      for (int64_t i = 0; i < 50; ++i)
        sparsifier.add_data(std::to_string(i), data, {.replace = true});
      best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - begin);
    }
    return best;
  };
  // Linear cost would make it 16 times as much.
  EXPECT_LT(best_of(8000), 4 * best_of(500));
}

}  // namespace
}  // namespace winnow
