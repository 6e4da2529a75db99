// DataNormSparsifier beyond upstream's values, which golden_test.cc and tests/python compare:
// options, patterns, scope, the mask's identity, and what a failing step leaves.
#include "winnow/torch/data_norm_sparsifier.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "winnow/torch/error.h"
#include "winnow/torch/tensor_mask.h"

namespace winnow {
namespace {

using testing::CapturedWarnings;
using testing::counting;
using ::testing::HasSubstr;
using testing::message_of;
using ::testing::SizeIs;

TEST(DataNormSparsifier, ChecksItsOptions) {
  const auto refused = [](const DataNormSparsifierOptions& options, const char* gist) {
    EXPECT_THAT(message_of<c10::ValueError>([&] { DataNormSparsifier sparsifier(options); }),
                HasSubstr(gist));
  };
  refused({.sparsity_level = NAN}, "sparsity_level: expected a finite number");
  refused({.sparsity_level = INFINITY}, "sparsity_level: expected a finite number");
  refused({.sparse_block_shape = {0, 4}}, "sparse_block_shape: expected sides of at least 1");
  refused({.sparse_block_shape = {1, -1}}, "sparse_block_shape: expected sides of at least 1");
  refused({.zeros_per_block = -1}, "zeros_per_block: expected at least 0, found -1");
  EXPECT_THROW(DataNormSparsifierOptions::nm(3, 2), c10::ValueError);
  EXPECT_THROW(DataNormSparsifierOptions::nm(-1, 4), c10::ValueError);
  EXPECT_THROW(DataNormSparsifierOptions::nm(0, 0), c10::ValueError);
}

TEST(DataNormSparsifier, ChecksEveryConfigWhenItIsSet) {
  DataNormSparsifier sparsifier;
  const auto add = [&](NamedValues config) {
    sparsifier.add_data("x", counting({4, 4}), {.config = std::move(config)});
  };
  EXPECT_THROW(add({{"sparsity_level", "high"}}), c10::TypeError);
  EXPECT_THROW(add({{"sparsity_level", NAN}}), c10::ValueError);
  EXPECT_THROW(add({{"sparse_block_shape", 4}}), c10::TypeError);
  EXPECT_THROW(add({{"sparse_block_shape", {4}}}), c10::ValueError);
  EXPECT_THROW(add({{"sparse_block_shape", {1, 2, 3}}}), c10::ValueError);
  EXPECT_THROW(add({{"sparse_block_shape", {0, 4}}}), c10::ValueError);
  EXPECT_THROW(add({{"sparse_block_shape", std::vector<double>{1, 4}}}), c10::TypeError);
  EXPECT_THROW(add({{"zeros_per_block", 1.5}}), c10::TypeError);
  EXPECT_THROW(add({{"zeros_per_block", -1}}), c10::ValueError);
  EXPECT_TRUE(sparsifier.names().empty());
  add({{"sparsity_level", 1}, {"sparse_block_shape", std::vector<int64_t>{2, 2}}});
  EXPECT_THROW(sparsifier.set_config("x", "sparsity_level", true), c10::TypeError);
  EXPECT_EQ(sparsifier.data_group("x").get<double>("sparsity_level"), 1);
}

TEST(DataNormSparsifier, RefusesDataWithoutANorm) {
  DataNormSparsifier sparsifier;
  for (const auto dtype : {torch::kInt, torch::kChar, torch::kBool, torch::kComplexFloat}) {
    const auto message = message_of<c10::ValueError>([&] {
      sparsifier.add_data("x", torch::ones({4, 4}, dtype));
    });
    EXPECT_THAT(message, HasSubstr("'x' has dtype"));
  }
  EXPECT_TRUE(sparsifier.names().empty());
}

TEST(DataNormSparsifier, InheritsZerosPerBlockAsANumberAndSaysSo) {
  DataNormSparsifier sparsifier;
  const auto message = message_of<c10::ValueError>([&] {
    sparsifier.add_data("x", counting({4, 4}), {.config = {{"sparse_block_shape", {1, 1}}}});
  });
  EXPECT_THAT(message, HasSubstr("'x': zeros_per_block: expected at most 1"));
  EXPECT_THAT(message, HasSubstr("a block of 1x1, found 4"));
  EXPECT_TRUE(sparsifier.names().empty());
  // None means the whole block, whatever it is.
  sparsifier.add_data(
      "x", counting({4, 4}),
      {.config = {{"sparse_block_shape", {1, 1}}, {"zeros_per_block", c10::IValue()}}});
  sparsifier.step();
  EXPECT_EQ(sparsifier.get_mask("x").sum().item<int64_t>(), 8);
}

TEST(DataNormSparsifier, RefusesMoreZerosThanABlockHasWhenTheyAreSet) {
  EXPECT_THAT(
      message_of<c10::ValueError>([] {
        DataNormSparsifier sparsifier({.sparse_block_shape = {1, 4}, .zeros_per_block = 5});
      }),
      HasSubstr("zeros_per_block: expected at most 4, the values of a block of 1x4, found 5"));
  DataNormSparsifier sparsifier;
  EXPECT_THROW(sparsifier.add_data("x", counting({4, 4}), {.config = {{"zeros_per_block", 5}}}),
               c10::ValueError);
  sparsifier.add_data("x", counting({4, 4}));
  EXPECT_THAT(
      message_of<c10::ValueError>([&] { sparsifier.set_config("x", "zeros_per_block", 5); }),
      HasSubstr("'x': zeros_per_block: expected at most 4"));
  // A new block may need new zeros, and one of the two is set first: step sees both.
  sparsifier.set_config("x", "sparse_block_shape", {1, 1});
  EXPECT_THROW(sparsifier.step(), c10::ValueError);
  sparsifier.set_config("x", "zeros_per_block", 1);
  sparsifier.step();
}

TEST(DataNormSparsifier, WarnsOfALevelThatIsNoShare) {
  CapturedWarnings warnings;
  DataNormSparsifier sparsifier({.sparsity_level = 90});
  ASSERT_THAT(warnings.messages(), SizeIs(1));
  EXPECT_THAT(warnings.messages()[0], HasSubstr("drops everything"));
  EXPECT_THAT(warnings.messages()[0], HasSubstr("write 0.9 for 90 %"));
  sparsifier.add_data("x", counting({4, 4}), {.config = {{"sparsity_level", -0.5}}});
  EXPECT_THAT(warnings.messages().back(), HasSubstr("drops nothing"));
  const size_t count = warnings.messages().size();
  sparsifier.set_config("x", "sparsity_level", 1.0);
  sparsifier.set_config("x", "sparsity_level", 0.0);
  EXPECT_THAT(warnings.messages(), SizeIs(count));
}

TEST(DataNormSparsifier, SaysThatALevelIsAString) {
  EXPECT_THAT(message_of<c10::TypeError>([] {
                DataNormSparsifier sparsifier;
                sparsifier.add_data("x", counting({4, 4}), {.config = {{"sparsity_level", "0.5"}}});
              }),
              HasSubstr("found the string '0.5'"));
}

TEST(DataNormSparsifier, AFailingStepLeavesEveryMask) {
  DataNormSparsifier sparsifier;
  sparsifier.add_data("good", counting({4, 4}));
  sparsifier.add_data("bad", counting({4, 4}));
  const auto version = sparsifier.get_mask("good")._version();
  sparsifier.set_config("bad", "sparse_block_shape", {1, 1});  // zeros_per_block stays 4
  EXPECT_THROW(sparsifier.step(), c10::ValueError);
  EXPECT_TRUE(sparsifier.get_mask("good").equal(torch::ones({4, 4})));
  EXPECT_EQ(sparsifier.get_mask("good")._version(), version);
}

// The data of the second name becomes unreadable after it was added.
TEST(DataNormSparsifier, AFailingStepChecksTheTensorsToo) {
  DataNormSparsifier sparsifier;
  const at::Tensor turned = counting({4, 4});
  sparsifier.add_data("good", counting({4, 4}));
  sparsifier.add_data("turned", turned);
  turned.set_data(torch::ones({4, 4}, torch::kInt));
  EXPECT_THROW(sparsifier.step(), c10::ValueError);
  EXPECT_TRUE(sparsifier.get_mask("good").equal(torch::ones({4, 4})));
  // A mask that is the data's own memory.
  const at::Tensor bytes = torch::ones({64}, torch::kChar);
  sparsifier.add_data(
      "turned", bytes.view(torch::kFloat).view({4, 4}),
      {.config = {{"mask", bytes.narrow(0, 0, 16).view({4, 4})}}, .reuse_mask = false});
  EXPECT_THROW(sparsifier.step(), c10::ValueError);
  EXPECT_TRUE(sparsifier.get_mask("good").equal(torch::ones({4, 4})));
}

TEST(DataNormSparsifier, TurnsTheMaskIntoInt8InTheSameObjectAndThenWritesInPlace) {
  DataNormSparsifier sparsifier;
  const at::Tensor data = counting({4, 4});
  sparsifier.add_data("x", data);
  const at::Tensor mask = sparsifier.get_mask("x");
  sparsifier.step();
  EXPECT_TRUE(sparsifier.get_mask("x").is_same(mask));
  EXPECT_EQ(mask.scalar_type(), torch::kChar);
  const void* memory = mask.data_ptr();
  data.neg_();
  data[0].mul_(100);
  sparsifier.step();
  EXPECT_EQ(mask.data_ptr(), memory);
  EXPECT_EQ(mask[0].sum().item<int64_t>(), 4);
  EXPECT_EQ(mask.sum().item<int64_t>(), 8);
}

TEST(DataNormSparsifier, ABackwardPassDoesNotReadALaterMask) {
  for (const int steps_before : {0, 1}) {
    DataNormSparsifier sparsifier;
    const at::Tensor parameter = counting({4, 4}).requires_grad_();
    sparsifier.add_data("x", parameter);
    for (int i = 0; i < steps_before; ++i) sparsifier.step();
    const at::Tensor loss = sparsifier.get_data("x", false).sum();
    sparsifier.step();
    EXPECT_THAT(message_of<c10::Error>([&] { loss.backward(); }), HasSubstr("inplace operation"));
  }
}

TEST(DataNormSparsifier, MaskHasTheShapeOfDataOfAnyRank) {
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {}, {1}, {8}, {8, 1}, {1, 4, 4}, {2, 3, 4}, {2, 2, 2, 2}, {0, 4}}) {
    DataNormSparsifier sparsifier;
    const at::Tensor data = torch::rand(shape) + 1;
    sparsifier.add_data("x", data);
    sparsifier.step();
    EXPECT_EQ(sparsifier.get_mask("x").sizes(), shape);
    sparsifier.squash_mask();
    EXPECT_EQ(data.count_nonzero().item<int64_t>(), sparsifier.get_mask("x").sum().item<int64_t>());
  }
}

TEST(DataNormSparsifier, KeepsTheNLargestOfM) {
  DataNormSparsifier sparsifier(DataNormSparsifierOptions::nm(2, 4));
  sparsifier.add_data("x", torch::tensor({{4.0F, -3.0F, 2.0F, 1.0F, 0.5F, -9.0F}}));
  sparsifier.step();
  EXPECT_TRUE(sparsifier.get_mask("x").equal(torch::tensor({{1, 1, 0, 0, 0, 0}}, torch::kChar)));
}

TEST(DataNormSparsifier, DropsWholeRows) {
  DataNormSparsifier sparsifier(
      {.sparsity_level = 0.5, .sparse_block_shape = {1, kWholeDimension}});
  const at::Tensor wide = torch::tensor({{1.0F, 1.0F, 9.0F}, {2.0F, 2.0F, 2.0F}});
  const at::Tensor narrow = torch::tensor({{5.0F}, {1.0F}}).expand({2, 2});
  sparsifier.add_data("wide", wide);
  sparsifier.add_data("narrow", narrow);
  sparsifier.step();
  EXPECT_TRUE(
      sparsifier.get_mask("wide").equal(torch::tensor({{1, 1, 1}, {0, 0, 0}}, torch::kChar)));
  EXPECT_TRUE(sparsifier.get_mask("narrow").equal(torch::tensor({{1, 1}, {0, 0}}, torch::kChar)));
}

TEST(DataNormSparsifier, GlobalScopeSpendsOneBudget) {
  DataNormSparsifier sparsifier(
      {.sparsity_level = 0.5, .sparse_block_shape = {1, 1}, .scope = Scope::kGlobal});
  sparsifier.add_data("small", counting({2, 4}));
  sparsifier.add_data("large", counting({2, 4}) + 100);
  sparsifier.step();
  EXPECT_EQ(sparsifier.get_mask("small").sum().item<int64_t>(), 0);
  EXPECT_EQ(sparsifier.get_mask("large").sum().item<int64_t>(), 8);
  sparsifier.set_config("large", "sparsity_level", 0.25);
  const auto message = message_of<c10::ValueError>([&] { sparsifier.step(); });
  EXPECT_THAT(message, HasSubstr("'small' and 'large' differ"));
  DataNormSparsifier empty({.scope = Scope::kGlobal});
  empty.step();
}

TEST(DataNormSparsifier, TakesADataList) {
  const at::Tensor a = counting({4, 4});
  torch::nn::EmbeddingBag bag(4, 4);
  const DataNormSparsifier sparsifier({{"a", a}, {"bag", bag}}, {.sparsity_level = 0.25});
  EXPECT_THAT(sparsifier.names(), ::testing::ElementsAre("a", "bag"));
  EXPECT_EQ(sparsifier.data_group("bag").get<double>("sparsity_level"), 0.25);
}

// Upstream's idiom for a variant of its own.
TEST(DataNormSparsifier, CallsTheUpdateMaskOfASubclass) {
  class KeepFirst : public DataNormSparsifier {
   protected:
    void update_mask(const std::string& name, const at::Tensor& data,
                     const NamedValues& config) override {
      DataNormSparsifier::update_mask(name, data, config);
      get_mask(name)[0].fill_(1);
    }
  };
  KeepFirst sparsifier;
  sparsifier.add_data("x", counting({4, 4}));
  sparsifier.step();
  EXPECT_EQ(sparsifier.get_mask("x").sum(1)[0].item<int64_t>(), 4);
  EXPECT_EQ(sparsifier.get_mask("x").sum(1)[1].item<int64_t>(), 0);
}

TEST(DataNormSparsifier, CopiesCanStep) {
  DataNormSparsifier sparsifier({.norm = Norm::kL2});
  sparsifier.add_data("x", counting({4, 4}));
  const auto copy = sparsifier.clone();
  copy->step();
  EXPECT_EQ(copy->norm(), Norm::kL2);
  EXPECT_EQ(copy->get_mask("x").sum().item<int64_t>(), 8);
  EXPECT_TRUE(sparsifier.get_mask("x").equal(torch::ones({4, 4})));
}

}  // namespace
}  // namespace winnow
