// Squashing the masks of a data sparsifier.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include "torch/sparsifiers.h"
#include "winnow/torch/error.h"

namespace winnow {
namespace {

using testing::counting;
using ::testing::ElementsAre;
using testing::FirstRowSparsifier;
using ::testing::HasSubstr;
using testing::message_of;
using testing::register_doubling;

TEST(DataSparsifier, SquashWritesIntoTheCallersTensorObject) {
  FirstRowSparsifier sparsifier;
  torch::nn::Embedding embedding(2, 2);
  torch::optim::SGD optimizer(embedding->parameters(), 1.0);
  const at::Tensor weight = embedding->weight, before = weight.detach().clone();
  const at::Tensor view = weight.detach();
  sparsifier.add_data("x", embedding);
  sparsifier.step();
  sparsifier.squash_mask();
  EXPECT_TRUE(embedding->weight.is_same(weight));
  EXPECT_TRUE(weight.is_leaf() && weight.requires_grad());
  EXPECT_EQ(weight[0].abs().sum().item<float>(), 0);
  EXPECT_TRUE(weight[1].equal(before[1]));
  EXPECT_TRUE(view.equal(before));
  EXPECT_FALSE(sparsifier.is_parametrized("x"));
  EXPECT_THAT(sparsifier.container()->named_parameters().keys(), ElementsAre("x"));
  embedding->forward(torch::tensor({0})).sum().backward();
  optimizer.step();
  EXPECT_TRUE(weight[0].equal(-torch::ones({2})));
}

TEST(DataSparsifier, SquashMakesExpandedAndStridedTensorsDense) {
  FirstRowSparsifier sparsifier;
  const at::Tensor base = counting({4, 2}), view = base.slice(0, 0, 4, 2);
  const at::Tensor expanded = torch::ones({1, 2}).expand({3, 2});
  sparsifier.add_data("view", view);
  sparsifier.add_data("expanded", expanded);
  sparsifier.step();
  sparsifier.squash_mask();
  EXPECT_TRUE(expanded.is_contiguous());
  EXPECT_TRUE(expanded.equal(torch::tensor({{0.0F, 0.0F}, {1.0F, 1.0F}, {1.0F, 1.0F}})));
  EXPECT_TRUE(view.equal(torch::tensor({{0.0F, 0.0F}, {5.0F, 6.0F}})));
  EXPECT_TRUE(base.equal(counting({4, 2})));
}

TEST(DataSparsifier, SquashOfOneTensorUnderTwoNamesAppliesBothMasks) {
  FirstRowSparsifier sparsifier;
  const at::Tensor data = counting({2, 2});
  sparsifier.add_data("a", data);
  sparsifier.add_data("b", data);
  sparsifier.step();
  sparsifier.get_mask("b")[1][1] = 0;
  sparsifier.squash_mask();
  EXPECT_TRUE(data.equal(torch::tensor({{0.0F, 0.0F}, {3.0F, 0.0F}})));
}

TEST(DataSparsifier, SquashOfOneTensorAppliesBothLinksOfTheUsersOwn) {
  register_doubling();
  FirstRowSparsifier sparsifier;
  const at::Tensor data = counting({2, 2});
  const NamedValues own{{"parametrization", "doubling"}};
  sparsifier.add_data("a", data, {.config = own});
  sparsifier.add_data("b", data, {.config = own});
  sparsifier.get_mask("a")[0].zero_();
  sparsifier.get_mask("b")[1].zero_();
  sparsifier.squash_mask();
  EXPECT_TRUE(data.equal(torch::zeros({2, 2})));
}

TEST(DataSparsifier, SquashChecksAllNamesFirst) {
  FirstRowSparsifier sparsifier;
  const at::Tensor a = counting({2, 2}), b = counting({2, 2});
  sparsifier.add_data("a", a);
  sparsifier.add_data("b", b);
  sparsifier.step();
  EXPECT_THAT(message_of<c10::ValueError>([&] {
                sparsifier.squash_mask({"a", "c"});
              }),
              HasSubstr("does not have a parametrization on c"));
  EXPECT_THROW(sparsifier.squash_mask({"a", "a"}), c10::ValueError);
  b.resize_({3, 2});
  EXPECT_THROW(sparsifier.squash_mask(), AssertionError);
  EXPECT_TRUE(a.equal(counting({2, 2})));
  EXPECT_TRUE(sparsifier.is_parametrized("a"));
  sparsifier.squash_mask({});
  EXPECT_TRUE(sparsifier.is_parametrized("a"));
  sparsifier.squash_mask({"a"});
  EXPECT_THROW(sparsifier.squash_mask({"a"}), c10::ValueError);
  EXPECT_THROW(sparsifier.squash_mask(), c10::ValueError);
}

TEST(DataSparsifier, StepAfterSquashNamesTheEntryAndTouchesNoMask) {
  FirstRowSparsifier sparsifier;
  sparsifier.add_data("a", counting({2, 2}));
  sparsifier.add_data("b", counting({2, 2}));
  sparsifier.squash_mask({"b"});
  const auto message = message_of<c10::ValueError>([&] { sparsifier.step(); });
  EXPECT_THAT(message, HasSubstr("mask squashed"));
  EXPECT_THAT(message, HasSubstr("'b'"));
  EXPECT_TRUE(sparsifier.get_mask("a").equal(torch::ones({2, 2})));
  EXPECT_THROW(sparsifier.get_data("b"), c10::ValueError);
  EXPECT_TRUE(sparsifier.get_data("b", false).equal(counting({2, 2})));
  EXPECT_TRUE(sparsifier.get_mask("b").equal(torch::ones({2, 2})));
}

}  // namespace
}  // namespace winnow
