// Squashing the masks of a data sparsifier.
#include <gmock/gmock.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/torch.h>

#include <vector>

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
  const void* memory = weight.const_data_ptr();
  const auto accumulator = torch::autograd::impl::grad_accumulator(weight);
  sparsifier.add_data("x", embedding);
  sparsifier.step();
  sparsifier.squash_mask();
  EXPECT_TRUE(embedding->weight.is_same(weight));
  EXPECT_TRUE(weight.is_leaf() && weight.requires_grad());
  EXPECT_EQ(weight[0].abs().sum().item<float>(), 0);
  EXPECT_TRUE(weight[1].equal(before[1]));
  EXPECT_TRUE(view.equal(weight)) << "what shares the memory stayed dense";
  EXPECT_EQ(weight.const_data_ptr(), memory);
  EXPECT_EQ(torch::autograd::impl::grad_accumulator(weight), accumulator);
  EXPECT_FALSE(sparsifier.is_parametrized("x"));
  EXPECT_THAT(sparsifier.container()->named_parameters().keys(), ElementsAre("x"));
  embedding->forward(torch::tensor({0})).sum().backward();
  optimizer.step();
  EXPECT_TRUE(weight[0].equal(-torch::ones({2})));
}

TEST(DataSparsifier, SquashWritesIntoSlicesAndViews) {
  FirstRowSparsifier sparsifier;
  std::vector<float> buffer(8, 7.0F);
  const at::Tensor blob = torch::from_blob(buffer.data(), {2, 4});
  const at::Tensor base = counting({4, 2}), flat = counting({8});
  sparsifier.add_data("rows", base.slice(0, 0, 4, 2));
  sparsifier.add_data("transposed", flat.slice(0, 0, 4).view({2, 2}).t());
  sparsifier.add_data("rest", flat.slice(0, 4, 8).view({2, 2}));
  sparsifier.add_data("blob", blob);
  sparsifier.step();
  sparsifier.squash_mask();
  EXPECT_TRUE(base.equal(torch::tensor({{0.0F, 0.0F}, {3.0F, 4.0F}, {5.0F, 6.0F}, {7.0F, 8.0F}})));
  EXPECT_TRUE(flat.equal(torch::tensor({0.0F, 2.0F, 0.0F, 4.0F, 0.0F, 0.0F, 7.0F, 8.0F})));
  EXPECT_THAT(buffer, ElementsAre(0, 0, 0, 0, 7, 7, 7, 7));
}

TEST(DataSparsifier, SquashRefusesValuesThatShareAPlace) {
  register_doubling();
  const at::Tensor ten = counting({10});
  for (const at::Tensor& shared :
       {torch::ones({1, 2}).expand({3, 2}), ten.as_strided({4, 4}, {2, 1}),
        ten.as_strided({3, 2}, {0, 3})}) {
    for (const NamedValues& config :
         {NamedValues{}, NamedValues{{"parametrization", "doubling"}}}) {
      FirstRowSparsifier sparsifier;
      const at::Tensor before = shared.clone(), first = counting({2, 2});
      sparsifier.add_data("first", first);
      sparsifier.add_data("shared", shared, {.config = config});
      sparsifier.step();
      EXPECT_THAT(message_of<c10::ValueError>([&] { sparsifier.squash_mask(); }),
                  HasSubstr("'shared' holds several of its values in one place"));
      EXPECT_TRUE(shared.equal(before));
      EXPECT_TRUE(first.equal(counting({2, 2})));
      EXPECT_TRUE(sparsifier.is_parametrized("first") && sparsifier.is_parametrized("shared"));
      sparsifier.squash_mask({"shared"}, /*leave_parametrized=*/false);
    }
  }
}

TEST(DataSparsifier, SquashOfNoValuesIsFine) {
  FirstRowSparsifier sparsifier;
  sparsifier.add_data("x", torch::zeros({0}).expand({5, 0}));
  sparsifier.squash_mask();
  EXPECT_FALSE(sparsifier.is_parametrized("x"));
}

TEST(DataSparsifier, SquashOfALargeTensorEqualsTheProduct) {
  for (const at::Tensor& data : {torch::randn({3, 700'001}), torch::randn({2'500'000}),
                                 torch::randn({1, 1'300'000, 2}), torch::randn({1500, 1000}).t()}) {
    const at::Tensor mask = torch::rand(data.sizes()).gt(0.5).to(torch::kChar);
    const at::Tensor product = mask * data;
    FirstRowSparsifier sparsifier;
    sparsifier.add_data("x", data, {.config = {{"mask", mask}}});
    sparsifier.squash_mask();
    EXPECT_TRUE(data.equal(product)) << data.sizes();
    EXPECT_TRUE(data.signbit().equal(product.signbit())) << data.sizes();
  }
}

TEST(DataSparsifier, SquashMakesStaleGraphsFail) {
  FirstRowSparsifier sparsifier;
  const at::Tensor weight = torch::ones({2, 2}, torch::requires_grad());
  sparsifier.add_data("x", weight);
  const at::Tensor loss = (weight * weight).sum();
  sparsifier.squash_mask();
  EXPECT_THROW(loss.backward(), c10::Error);
}

TEST(DataSparsifier, WorksOnInferenceTensorsInAndOutOfInferenceMode) {
  for (const bool made_inside : {true, false}) {
    for (const bool inside : {true, false}) {
      at::Tensor data;
      {
        const c10::InferenceMode mode(made_inside);
        data = counting({2, 2});
      }
      FirstRowSparsifier sparsifier;
      const at::Tensor normal = counting({2, 2});
      sparsifier.add_data("normal", normal);
      {
        const c10::InferenceMode mode(inside);
        sparsifier.add_data("data", data);
        sparsifier.step();
        sparsifier.squash_mask();
      }
      EXPECT_TRUE(data.equal(torch::tensor({{0.0F, 0.0F}, {3.0F, 4.0F}})));
      EXPECT_TRUE(normal.equal(data));
      EXPECT_GT(normal._version(), 0) << "autograd did not notice";
      EXPECT_EQ(data.is_inference(), made_inside);
    }
  }
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
  EXPECT_THAT(message_of<c10::ValueError>([&] {
                sparsifier.squash_mask({"a", "a"});
              }),
              HasSubstr("'a' is given twice"));
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
