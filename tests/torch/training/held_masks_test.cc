#include "winnow/torch/training/held_masks.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <functional>
#include <memory>

#include "torch/sparsifiers.h"
#include "torch/training/models.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/error.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using ::testing::SizeIs;
using testing::zeros_in;

using MakeOptimizer =
    std::function<std::unique_ptr<torch::optim::Optimizer>(std::vector<at::Tensor>)>;

struct OptimizerCase {
  const char* name;
  MakeOptimizer make;
  size_t momenta;
};

template <typename Optimizer, typename Options>
MakeOptimizer maker(Options options) {
  return [options](std::vector<at::Tensor> parameters) {
    return std::make_unique<Optimizer>(std::move(parameters), options);
  };
}

std::vector<OptimizerCase> optimizers() {
  namespace optim = torch::optim;
  return {
      {"SGD", maker<optim::SGD>(optim::SGDOptions(0.1).weight_decay(0.1)), 0},
      {"SGD with momentum",
       maker<optim::SGD>(optim::SGDOptions(0.1).momentum(0.9).nesterov(true).weight_decay(0.1)), 1},
      {"Adam", maker<optim::Adam>(optim::AdamOptions(0.1).amsgrad(true).weight_decay(0.1)), 1},
      {"AdamW", maker<optim::AdamW>(optim::AdamWOptions(0.1)), 1},
      {"RMSprop", maker<optim::RMSprop>(optim::RMSpropOptions(0.1).momentum(0.9).centered(true)),
       1},
      {"Adagrad", maker<optim::Adagrad>(optim::AdagradOptions(0.1)), 0},
  };
}

void take_step(const at::Tensor& weight, torch::optim::Optimizer& optimizer) {
  optimizer.zero_grad();
  (weight * torch::randn_like(weight) + weight.square()).sum().backward();
  optimizer.step();
}

TEST(HeldMasks, KeepDroppedValuesZeroUnderEveryOptimizer) {
  for (const OptimizerCase& c : optimizers()) {
    const at::Tensor weight = torch::randn({16, 8}).requires_grad_();
    const auto optimizer = c.make({weight});
    DataNormSparsifier sparsifier({.sparsity_level = 0.5});
    sparsifier.add_data("weight", weight);
    take_step(weight, *optimizer);
    sparsifier.step();
    const HeldMasks held(sparsifier);
    for (int step = 0; step < 5; ++step) {
      take_step(weight, *optimizer);
      EXPECT_EQ(zeros_in(weight), 0) << c.name;  // the step alone moves every value
      held.apply(optimizer.get());
      const at::Tensor dropped = sparsifier.get_mask("weight").eq(0);
      EXPECT_EQ(zeros_in(weight), 64) << c.name;
      EXPECT_EQ(weight.masked_select(dropped).count_nonzero().item<int64_t>(), 0) << c.name;
      const auto momenta = momenta_of(*optimizer, weight);
      ASSERT_THAT(momenta, SizeIs(c.momenta)) << c.name;
      for (const at::Tensor& momentum : momenta) EXPECT_EQ(zeros_in(momentum), 64) << c.name;
    }
  }
}

TEST(HeldMasks, LeaveKeptValuesAsTheyAre) {
  const at::Tensor weight = torch::randn({16, 8}).requires_grad_();
  torch::optim::Adam optimizer({weight}, 0.1);
  DataNormSparsifier sparsifier({.sparsity_level = 0.5});
  sparsifier.add_data("weight", weight);
  sparsifier.step();
  take_step(weight, optimizer);
  const at::Tensor before = weight.detach().clone();
  const at::Tensor momentum = momenta_of(optimizer, weight)[0].clone();
  HeldMasks(sparsifier).apply(&optimizer);
  const at::Tensor mask = sparsifier.get_mask("weight");
  EXPECT_TRUE(weight.equal(before * mask));
  EXPECT_TRUE(momenta_of(optimizer, weight)[0].equal(momentum * mask));
}

TEST(HeldMasks, AreAsTensorsOfOtherLayoutsAndTypesNeedIt) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16}) {
    const at::Tensor weight = torch::randn({8, 16}).to(type).t().contiguous().t();
    DataNormSparsifier sparsifier({.sparsity_level = 0.5});
    sparsifier.add_data("weight", weight);
    sparsifier.step();
    HeldMasks(sparsifier).apply();
    EXPECT_EQ(zeros_in(weight), 64) << type;
  }
}

// The gradients of a sparse embedding, and with them the momentum, have entries for rows alone.
TEST(HeldMasks, MaskMomentaOfSparseGradients) {
  torch::nn::Embedding table(torch::nn::EmbeddingOptions(16, 8).sparse(true));
  torch::optim::SGD optimizer(table->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  DataNormSparsifier sparsifier({.sparsity_level = 0.5});
  sparsifier.add_data("table", table);
  sparsifier.step();
  const HeldMasks held(sparsifier);
  const at::Tensor dropped = sparsifier.get_mask("table").eq(0);
  for (const int64_t row : {3, 7, 3}) {
    optimizer.zero_grad();
    table(torch::tensor({row, row + 1})).sum().backward();
    optimizer.step();
    held.apply(&optimizer);
    const at::Tensor momentum = momenta_of(optimizer, table->weight)[0];
    ASSERT_TRUE(momentum.is_sparse());
    EXPECT_GT(momentum.to_dense().count_nonzero().item<int64_t>(), 0);
    for (const at::Tensor& tensor : {momentum.to_dense(), table->weight.detach()}) {
      EXPECT_EQ(tensor.masked_select(dropped).count_nonzero().item<int64_t>(), 0);
    }
  }
}

TEST(HeldMasks, LeaveSquashedDataAlone) {
  const at::Tensor weight = torch::randn({4, 4}), held = torch::randn({4, 4});
  DataNormSparsifier sparsifier;
  sparsifier.add_data("weight", weight);
  sparsifier.add_data("held", held);
  sparsifier.step();
  sparsifier.squash_mask({"weight"}, /*leave_parametrized=*/false);
  HeldMasks(sparsifier).apply();
  EXPECT_EQ(zeros_in(weight), 0);
  EXPECT_EQ(zeros_in(held), 8);
}

TEST(HeldMasks, HoldsMoreValuesThanAPieceHas) {
  // Pieces of the kernel's loop are 8192 values: whole ones, and a rest.
  const at::Tensor weight = torch::randn({3, 8195});
  DataNormSparsifier sparsifier({.sparsity_level = 0.5, .sparse_block_shape = {1, 1}});
  sparsifier.add_data("weight", weight);
  sparsifier.step();
  const at::Tensor expected = weight * sparsifier.get_mask("weight");
  HeldMasks(sparsifier).apply();
  EXPECT_TRUE(weight.equal(expected));
}

TEST(MomentaOf, AreEmptyBeforeTheFirstStep) {
  const at::Tensor weight = torch::randn({4, 4}).requires_grad_();
  const torch::optim::Adam optimizer({weight}, 0.1);
  EXPECT_THAT(momenta_of(optimizer, weight), IsEmpty());
}

TEST(MomentaOf, RefusesOptimizersThatItDoesNotKnow) {
  const at::Tensor weight = torch::randn({4, 4}).requires_grad_();
  torch::optim::LBFGS optimizer({weight}, torch::optim::LBFGSOptions(0.1));
  optimizer.step([&] {
    optimizer.zero_grad();
    const at::Tensor loss = weight.square().sum();
    loss.backward();
    return loss;
  });
  DataNormSparsifier sparsifier;
  sparsifier.add_data("weight", weight);
  sparsifier.step();
  const at::Tensor before = weight.detach().clone();
  EXPECT_THAT(message_of<c10::TypeError>([&] { HeldMasks(sparsifier).apply(&optimizer); }),
              HasSubstr("LBFGSParamState"));
  EXPECT_TRUE(weight.equal(before));
  HeldMasks(sparsifier, [](const auto&, const auto&) {
    return std::vector<at::Tensor>();
  }).apply(&optimizer);
  EXPECT_EQ(zeros_in(weight), 8);
}

TEST(HeldMasks, SayThatDataAreSquashed) {
  DataNormSparsifier sparsifier;
  sparsifier.add_data("weight", torch::randn({4, 4}));
  sparsifier.add_data("other", torch::randn({4, 4}));
  sparsifier.step();
  sparsifier.squash_mask({"other"});
  const HeldMasks held(sparsifier);
  held.apply();
  sparsifier.squash_mask({"weight"});
  EXPECT_THAT(message_of<c10::ValueError>([&] { held.apply(); }), HasSubstr("are squashed"));
  EXPECT_THAT(message_of<c10::ValueError>([&] { HeldMasks again(sparsifier); }),
              HasSubstr("are squashed"));
}

TEST(HeldMasks, NameTheDataThatAMomentumDoesNotFit) {
  const at::Tensor weight = torch::randn({4, 4});
  DataNormSparsifier sparsifier;
  sparsifier.add_data("weight", weight);
  sparsifier.step();
  const torch::optim::SGD optimizer({torch::ones({1}).requires_grad_()}, 0.1);
  const HeldMasks held(sparsifier, [](const auto&, const auto&) {
    return std::vector<at::Tensor>{torch::ones({2, 4})};
  });
  EXPECT_THAT(message_of<c10::ValueError>([&] { held.apply(&optimizer); }),
              HasSubstr("the mask of 'weight' cannot be applied"));
  EXPECT_EQ(zeros_in(weight), 0);
}

TEST(HeldMasks, SayThatTheirSparsifierIsGone) {
  auto sparsifier = std::make_unique<DataNormSparsifier>();
  sparsifier->add_data("x", torch::ones({2, 4}));
  const HeldMasks held(*sparsifier);
  held.apply();
  sparsifier.reset();
  EXPECT_THAT(message_of<c10::Error>([&] { held.apply(); }), HasSubstr("was destroyed"));
}

}  // namespace
}  // namespace winnow
