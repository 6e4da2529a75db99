#include "winnow/torch/training/attach.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "torch/training/models.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/error.h"

namespace winnow {
namespace {

using ::testing::AllOf;
using testing::CapturedWarnings;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Linears;
using testing::message_of;

TEST(ValidName, HasUnderscoresForDots) {
  EXPECT_EQ(valid_name("linears.0.weight"), "linears_0_weight");
  EXPECT_EQ(valid_name("weight"), "weight");
}

TEST(AttachModel, AddsEveryParameterAsItself) {
  Linears model(/*bias=*/true);
  DataNormSparsifier sparsifier;
  attach_model(*model, sparsifier,
               {.config = {{"linears_0_weight", NamedValues{{"sparsity_level", 0.75}}}}});
  EXPECT_THAT(sparsifier.names(), ElementsAre("linears_0_weight", "linears_0_bias",
                                              "linears_2_weight", "linears_2_bias"));
  EXPECT_TRUE(
      sparsifier.get_data("linears_2_bias").is_same(model->named_parameters()["linears.2.bias"]));
  EXPECT_EQ(sparsifier.data_group("linears_0_weight").get<double>("sparsity_level"), 0.75);
  EXPECT_EQ(sparsifier.data_group("linears_2_weight").get<double>("sparsity_level"), 0.5);
}

TEST(AttachModel, LeavesOutWhatTheFilterRefuses) {
  Linears model(/*bias=*/true);
  DataNormSparsifier sparsifier;
  attach_model(*model, sparsifier, {.filter = [](const std::string& fqn, const at::Tensor& tensor) {
    return fqn.starts_with("linears.0") && tensor.dim() == 2;
  }});
  EXPECT_THAT(sparsifier.names(), ElementsAre("linears_0_weight"));
}

TEST(AttachModel, RefusesAFilterThatTakesInNothing) {
  Linears model(/*bias=*/true);
  DataNormSparsifier sparsifier;
  const AttachOptions typo{
      .filter = [](const std::string& fqn, const at::Tensor&) { return fqn == "linear.0.weight"; }};
  EXPECT_THAT(message_of<c10::ValueError>([&] { attach_model(*model, sparsifier, typo); }),
              AllOf(HasSubstr("takes in none of the parameters"), HasSubstr("linears.0.weight")));
}

TEST(AttachModel, RefusesAModelWithoutParameters) {
  const torch::nn::ReLU model;
  DataNormSparsifier sparsifier;
  EXPECT_THAT(message_of<c10::ValueError>([&] { attach_model(*model, sparsifier); }),
              HasSubstr("has no parameter that could be sparsified"));
}

/// A norm, a weight under weight_norm and a table of codes with its scales.
struct QuantizedImpl : torch::nn::Module {
  QuantizedImpl() {
    register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({4})));
    register_module("linear", torch::nn::Linear(4, 4));
    register_parameter("weight_g", torch::ones({4, 1}));
    register_parameter("weight_v", torch::ones({4, 4}));
    register_buffer("table", torch::ones({4, 4}, torch::kChar));
    register_parameter("table_scale", torch::ones({4, 4}));
  }
};

TEST(DefaultFilter, LeavesAloneWhatMasksWouldRuin) {
  const QuantizedImpl model;
  std::vector<std::string> left;
  for (const LeftAloneParameter& parameter : left_alone(model)) {
    left.push_back(parameter.fqn);
    EXPECT_THAT(parameter.reason, ::testing::Not(::testing::IsEmpty())) << parameter.fqn;
  }
  EXPECT_THAT(left, ::testing::UnorderedElementsAre("norm.weight", "norm.bias", "linear.bias",
                                                    "weight_g", "weight_v", "table_scale"));
  DataNormSparsifier sparsifier;
  CapturedWarnings warnings;
  attach_model(model, sparsifier, {.filter = default_filter(model)});
  EXPECT_THAT(sparsifier.names(), ElementsAre("linear_weight"));
  EXPECT_THAT(warnings.messages(), ::testing::IsEmpty());
}

TEST(AttachModel, WarnsOfWhatIsBetterLeftAlone) {
  const QuantizedImpl model;
  DataNormSparsifier sparsifier;
  CapturedWarnings warnings;
  attach_model(model, sparsifier);
  EXPECT_EQ(sparsifier.names().size(), 7u);
  ASSERT_EQ(warnings.messages().size(), 1u);
  EXPECT_THAT(warnings.messages()[0],
              AllOf(HasSubstr("6 of them"), HasSubstr("'weight_g' (a magnitude"),
                    HasSubstr("default_filter(model)")));
  attach_model(*torch::nn::Linear(torch::nn::LinearOptions(4, 4).bias(false)), sparsifier);
  EXPECT_EQ(warnings.messages().size(), 1u);
}

TEST(DistinctParameters, HaveATiedWeightOnce) {
  torch::nn::Linear shared(4, 4);
  const torch::nn::Sequential model(shared, torch::nn::ReLU(), shared);
  const auto distinct = distinct_parameters(*model);
  ASSERT_EQ(distinct.size(), 2u);
  EXPECT_EQ(distinct[0].first, "0.weight");
  EXPECT_TRUE(distinct[0].second.is_same(shared->weight));
}

TEST(AttachModel, AddsASharedParameterOnce) {
  torch::nn::Linear shared(4, 4);
  torch::nn::Sequential model(shared, torch::nn::ReLU(), shared);
  DataNormSparsifier sparsifier;
  attach_model(*model, sparsifier);
  EXPECT_THAT(sparsifier.names(), ElementsAre("0_weight", "0_bias"));
}

TEST(AttachModel, AsksTheFilterForEveryNameOfASharedParameter) {
  torch::nn::Linear shared(torch::nn::LinearOptions(4, 4).bias(false));
  torch::nn::Sequential model(shared, torch::nn::ReLU(), shared);
  const auto attach = [&](const std::string& taken) {
    DataNormSparsifier sparsifier;
    attach_model(*model, sparsifier, {.filter = [&](const std::string& fqn, const at::Tensor&) {
      return taken == "both" || fqn == taken;
    }});
    return sparsifier.names();
  };
  EXPECT_THAT(attach("both"), ElementsAre("0_weight"));
  EXPECT_THAT(
      message_of<c10::ValueError>([&] { attach("0.weight"); }),
      HasSubstr("'0.weight' and '2.weight' are one parameter, and the filter takes in the first"));
  EXPECT_THAT(message_of<c10::ValueError>([&] { attach("2.weight"); }),
              HasSubstr("the second only"));
}

TEST(AttachModel, TakesAConfigurationByAnyNameOfASharedParameter) {
  torch::nn::Linear shared(torch::nn::LinearOptions(4, 4).bias(false));
  torch::nn::Sequential model(shared, torch::nn::ReLU(), shared);
  AttachOptions options;
  options.config.insert("2_weight", {{"sparsity_level", 0.25}});
  DataNormSparsifier sparsifier;
  attach_model(*model, sparsifier, options);
  EXPECT_EQ(sparsifier.data_group("0_weight").get<double>("sparsity_level"), 0.25);
  options.config.insert("0_weight", {{"sparsity_level", 0.5}});
  DataNormSparsifier twice;
  EXPECT_THAT(message_of<c10::ValueError>([&] { attach_model(*model, twice, options); }),
              HasSubstr("is another name of"));
}

struct CollidingImpl : torch::nn::Module {
  CollidingImpl() {
    register_parameter("a_weight", torch::ones({4, 4}));
    register_module("a", torch::nn::Linear(torch::nn::LinearOptions(4, 4).bias(false)));
  }
};

TEST(AttachModel, RefusesTwoParametersOfOneName) {
  CollidingImpl model;
  DataNormSparsifier sparsifier;
  EXPECT_THAT(message_of<c10::ValueError>([&] { attach_model(model, sparsifier); }),
              HasSubstr("the parameters 'a_weight' and 'a.weight' both become 'a_weight'"));
  EXPECT_THAT(sparsifier.names(), IsEmpty());
}

TEST(AttachModel, RefusesAConfigurationForNoParameter) {
  Linears model;
  DataNormSparsifier sparsifier;
  EXPECT_THAT(message_of<c10::ValueError>([&] {
                attach_model(*model, sparsifier, {.config = {{"linears.0.weight", {}}}});
              }),
              HasSubstr("no parameter that is attached is called 'linears.0.weight'"));
  EXPECT_THAT(sparsifier.names(), IsEmpty());
}

TEST(AttachModel, WarnsOfReplacedNamesUnlessTheyAreMeant) {
  Linears model, other;
  DataNormSparsifier sparsifier;
  attach_model(*model, sparsifier);
  const testing::CapturedWarnings warnings;
  attach_model(*other, sparsifier, {.replace = true});
  EXPECT_THAT(warnings.messages(), IsEmpty());
  EXPECT_TRUE(sparsifier.get_data("linears_0_weight")
                  .is_same(other->named_parameters()["linears.0.weight"]));
  attach_model(*model, sparsifier);
  EXPECT_THAT(warnings.messages(),
              ElementsAre(HasSubstr("linears_0_weight"), HasSubstr("linears_2_weight")));
}

TEST(SparsityLevels, AreTheSharesThatMasksDrop) {
  Linears model;
  testing::count_up(*model);
  DataNormSparsifier sparsifier({.sparsity_level = 0.25});
  attach_model(*model, sparsifier, {.filter = [](const std::string& fqn, const at::Tensor&) {
    return fqn == "linears.0.weight";
  }});
  sparsifier.step();
  const std::vector<SparsityLevel> levels = sparsity_levels(*model, sparsifier);
  ASSERT_EQ(levels.size(), 1U);
  EXPECT_EQ(levels[0].fqn, "linears.0.weight");
  EXPECT_EQ(levels[0].level, 0.25);
  EXPECT_EQ(to_text(levels[0]), "Sparsity in layer linears.0.weight = 25.00%");
}

TEST(CloneModel, HasTensorsOfItsOwn) {
  Linears model;
  const auto copy = clone_model(*model);
  const at::Tensor weight = copy->named_parameters()["linears.0.weight"];
  EXPECT_TRUE(weight.equal(model->named_parameters()["linears.0.weight"]));
  EXPECT_FALSE(weight.is_alias_of(model->named_parameters()["linears.0.weight"]));
}

TEST(CloneModel, DrawsNoRandomNumbers) {
  Linears model;
  torch::manual_seed(5);
  const at::Tensor expected = torch::randn({4});
  torch::manual_seed(5);
  clone_model(*model);
  EXPECT_TRUE(torch::randn({4}).equal(expected));
}

/// One tensor under two names, tied again by reset, which clone() calls.
struct TiedImpl : torch::nn::Cloneable<TiedImpl> {
  TiedImpl() { reset(); }
  void reset() override {
    encoder = register_parameter("encoder", torch::ones({4, 4}));
    decoder = register_parameter("decoder", encoder);
  }
  at::Tensor encoder, decoder;
};

TEST(CloneModel, KeepsWhatResetTies) {
  const auto copy = clone_model(TiedImpl());
  EXPECT_TRUE(copy->named_parameters()["encoder"].is_same(copy->named_parameters()["decoder"]));
}

/// A parameter that is a view of another.
struct ViewImpl : torch::nn::Cloneable<ViewImpl> {
  ViewImpl() { reset(); }
  void reset() override {
    encoder = register_parameter("encoder", torch::ones({4, 6}));
    if (decoder.defined()) {
      decoder = register_parameter("decoder", torch::ones({6, 4}));
    } else {
      decoder = register_parameter("decoder", encoder.detach().t());
    }
  }
  at::Tensor encoder, decoder;
};

TEST(CloneModel, RefusesToUntieViews) {
  EXPECT_THAT(message_of<c10::ValueError>([] { clone_model(ViewImpl()); }),
              HasSubstr("the parameters 'encoder' and 'decoder' are tied"));
}

TEST(CloneModel, RefusesToUntieParameters) {
  torch::nn::Linear shared(4, 4);
  torch::nn::Sequential model(shared, shared);
  EXPECT_THAT(message_of<c10::ValueError>([&] { clone_model(*model); }),
              HasSubstr("the parameters '0.weight' and '1.weight' are tied"));
}

}  // namespace
}  // namespace winnow
