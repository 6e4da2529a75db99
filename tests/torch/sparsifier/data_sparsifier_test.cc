// The base of all data sparsifiers: data, masks, reads, squashing. data_sparsifier_state_test.cc
// has state and files, upstream_data_sparsifier_test.cc what upstream itself tests.
#include "winnow/torch/data_sparsifier.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "winnow/torch/error.h"
#include "winnow/torch/fake_sparsity.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"

namespace winnow {
namespace {

using testing::CapturedWarnings;
using testing::counting;
using ::testing::ElementsAre;
using testing::FirstRowSparsifier;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using ::testing::Not;
using testing::register_doubling;

class MyEmbeddingImpl : public torch::nn::EmbeddingImpl {
 public:
  using EmbeddingImpl::EmbeddingImpl;
};

TEST(DataSparsifier, AcceptsTensorsParametersAndEmbeddings) {
  FirstRowSparsifier sparsifier;
  const at::Tensor tensor = counting({3, 4});
  const at::Tensor parameter = torch::rand({3, 4}, torch::requires_grad());
  torch::nn::Embedding embedding(4, 2);
  torch::nn::EmbeddingBag bag(4, 2);
  nn::Embedding ours(4, 2);
  nn::EmbeddingBag our_bag(4, 2);
  const auto derived = std::make_shared<MyEmbeddingImpl>(4, 2);
  sparsifier.add_data("tensor", tensor);
  sparsifier.add_data("parameter", parameter);
  sparsifier.add_data("embedding", embedding);
  sparsifier.add_data("bag", bag);
  sparsifier.add_data("ours", ours);
  sparsifier.add_data("our_bag", our_bag);
  sparsifier.add_data("derived", derived);
  sparsifier.add_data("integers", torch::ones({2, 2}, torch::kInt));
  sparsifier.add_data("meta", torch::ones({2, 2}, torch::kMeta));
  EXPECT_TRUE(sparsifier.get_data("tensor").is_same(tensor));
  EXPECT_TRUE(sparsifier.get_data("parameter").is_same(parameter));
  EXPECT_TRUE(sparsifier.get_data("embedding").is_same(embedding->weight));
  EXPECT_TRUE(sparsifier.get_data("bag").is_same(bag->weight));
  EXPECT_TRUE(sparsifier.get_data("ours").is_same(ours->weight));
  EXPECT_TRUE(sparsifier.get_data("our_bag").is_same(our_bag->weight));
  EXPECT_TRUE(sparsifier.get_data("derived").is_same(derived->weight));
}

TEST(DataSparsifier, RefusesOtherDataAndChangesNothing) {
  FirstRowSparsifier sparsifier;
  nn::Embedding masked(3, 2);
  register_parametrization(*masked, "weight", std::make_shared<FakeSparsity>(torch::ones({3, 2})));
  torch::nn::Embedding without_weight(2, 2), sparse(2, 2);
  without_weight->weight = at::Tensor();
  sparse->weight = torch::ones({2, 2}).to_sparse();
  const std::vector<Data> refused = {
      without_weight,
      sparse,
      at::Tensor(),
      torch::nn::Linear(2, 2),
      torch::nn::Embedding(nullptr),
      torch::ones({2, 2}).to_sparse(),
      torch::quantize_per_tensor(torch::ones({2, 2}), 0.1, 0, torch::kQUInt8),
      masked,
  };
  for (const Data& data : refused) {
    const auto message = message_of<AssertionError>([&] { sparsifier.add_data("x", data); });
    EXPECT_THAT(message, HasSubstr("specified data type"));
    EXPECT_THAT(message, HasSubstr("not supported"));
  }
  EXPECT_TRUE(sparsifier.names().empty());
  EXPECT_TRUE(sparsifier.container()->named_buffers().is_empty());
}

TEST(DataSparsifier, RefusesInvalidNamesAlone) {
  FirstRowSparsifier sparsifier;
  const at::Tensor data = counting({2, 2});
  EXPECT_THAT(message_of<KeyError>([&] { sparsifier.add_data("", data); }),
              HasSubstr("can't be empty"));
  EXPECT_THAT(message_of<KeyError>([&] { sparsifier.add_data("a.b", data); }),
              HasSubstr("can't contain \".\""));
  EXPECT_THAT(message_of<KeyError>([&] { sparsifier.add_data("parametrizations", data); }),
              HasSubstr("already exists"));
  EXPECT_TRUE(sparsifier.names().empty());
  // Upstream refuses names of attributes of a module.
  for (const char* name :
       {"forward", "training", "state_dict", "_buffers", "0", "with space", "original"}) {
    sparsifier.add_data(name, counting({2, 2}));
  }
  sparsifier.step();
  EXPECT_EQ(sparsifier.names().size(), 7u);
}

TEST(DataSparsifier, ReadsAreMaskTimesOriginalWithGradient) {
  FirstRowSparsifier sparsifier;
  const at::Tensor parameter = torch::full({2, 2}, 3.0F, torch::requires_grad());
  sparsifier.add_data("x", parameter);
  EXPECT_TRUE(sparsifier.get_data("x", false).equal(parameter));
  sparsifier.step();
  const at::Tensor read = sparsifier.get_data("x", false);
  EXPECT_TRUE(read.equal(torch::tensor({{0.0F, 0.0F}, {3.0F, 3.0F}})));
  read.sum().backward();
  EXPECT_TRUE(parameter.grad().equal(torch::tensor({{0.0F, 0.0F}, {1.0F, 1.0F}})));
  EXPECT_TRUE(sparsifier.get_data("x").equal(torch::full({2, 2}, 3.0F)));
}

TEST(DataSparsifier, SeesWhatTheCallerDoesInPlace) {
  FirstRowSparsifier sparsifier;
  const at::Tensor data = counting({2, 2});
  sparsifier.add_data("x", data);
  data.add_(1);
  EXPECT_TRUE(sparsifier.get_data("x", false).equal(counting({2, 2}) + 1));
  data.set_data(torch::ones({2, 2}));
  EXPECT_TRUE(sparsifier.get_data("x", false).equal(torch::ones({2, 2})));
  torch::nn::Embedding embedding(2, 2);
  sparsifier.add_data("e", embedding);
  embedding->to(torch::kDouble);
  EXPECT_TRUE(sparsifier.get_data("e").is_same(embedding->weight));
  EXPECT_EQ(sparsifier.get_data("e", false).scalar_type(), torch::kDouble);
}

TEST(DataSparsifier, PutsParametersAndBuffersWhereTheyBelong) {
  FirstRowSparsifier sparsifier;
  const at::Tensor parameter = torch::rand({2, 2}, torch::requires_grad());
  sparsifier.add_data("tensor", counting({2, 2}));
  sparsifier.add_data("parameter", parameter);
  sparsifier.add_data("embedding", torch::nn::Embedding(2, 2));
  sparsifier.add_data("not_a_leaf", parameter * 2);
  sparsifier.add_data("forced", counting({2, 2}), {.as_parameter = true});
  sparsifier.add_data("demoted", torch::rand({2, 2}, torch::requires_grad()),
                      {.as_parameter = false});
  EXPECT_THAT(
      sparsifier.container()->named_parameters().keys(),
      ElementsAre("parametrizations.parameter.original", "parametrizations.embedding.original",
                  "parametrizations.forced.original"));
}

TEST(DataSparsifier, OverlaysDefaultsByTheConfig) {
  FirstRowSparsifier sparsifier({{"level", 0.5}, {"list", std::vector<int64_t>{1, 2}}});
  sparsifier.add_data("a", counting({2, 2}));
  sparsifier.add_data("b", counting({2, 2}), {.config = {{"level", 0.25}, {"extra", "kept"}}});
  EXPECT_EQ(sparsifier.data_group("a").get<double>("level"), 0.5);
  EXPECT_EQ(sparsifier.data_group("b").get<double>("level"), 0.25);
  EXPECT_EQ(sparsifier.data_group("b").get<std::string>("extra"), "kept");
  sparsifier.data_group("a").at("list").toIntList().push_back(3);
  EXPECT_EQ(sparsifier.defaults().at("list").toIntVector().size(), 2u);
  EXPECT_EQ(sparsifier.data_group("b").at("list").toIntVector().size(), 2u);
  EXPECT_THROW(sparsifier.data_group("c"), c10::ValueError);
}

TEST(DataSparsifier, WarnsOfNamesThatLookMisspelt) {
  CapturedWarnings warnings;
  FirstRowSparsifier sparsifier({{"level", 0.5}});
  sparsifier.add_data("a", counting({2, 2}), {.config = {{"levle", 0.25}}});
  ASSERT_EQ(warnings.messages().size(), 1u);
  EXPECT_THAT(warnings.messages()[0], HasSubstr("Did you mean 'level'"));
  EXPECT_TRUE(sparsifier.data_group("a").contains("levle"));
  sparsifier.add_data("b", counting({2, 2}), {.config = {{"level", 0.3}, {"unrelated", 1}}});
  EXPECT_EQ(warnings.messages().size(), 1u);
}

TEST(DataSparsifier, TakesAMaskFromTheConfig) {
  FirstRowSparsifier sparsifier;
  for (const auto dtype : {torch::kBool, torch::kChar, torch::kHalf, torch::kFloat}) {
    const at::Tensor mask = torch::eye(2).to(dtype);
    sparsifier.add_data("x", counting({2, 2}), {.config = {{"mask", mask}}, .reuse_mask = false});
    EXPECT_TRUE(sparsifier.get_mask("x").is_same(mask));
    EXPECT_TRUE(sparsifier.get_data("x", false).equal(torch::tensor({{1.0F, 0.0F}, {0.0F, 4.0F}})));
  }
  // Shared defaults: every piece of data has its own copy.
  FirstRowSparsifier shared({{"mask", torch::ones({2, 2})}});
  shared.add_data("a", counting({2, 2}));
  shared.add_data("b", counting({2, 2}));
  shared.get_mask("a").zero_();
  EXPECT_TRUE(shared.get_mask("b").equal(torch::ones({2, 2})));
}

TEST(DataSparsifier, RefusesMasksThatDoNotFitAndChangesNothing) {
  FirstRowSparsifier sparsifier;
  const auto add = [&](const at::Tensor& mask) {
    sparsifier.add_data("x", counting({2, 2}), {.config = {{"mask", mask}}});
  };
  EXPECT_THAT(message_of<AssertionError>([&] { add(torch::ones({2})); }),
              HasSubstr("mask shape [2] must match x shape [2, 2]"));
  EXPECT_THAT(message_of<AssertionError>([&] { add(at::Tensor()); }), HasSubstr("mask shape"));
  EXPECT_THAT(message_of<c10::ValueError>([&] {
                add(torch::ones({2, 2}, torch::kDouble));
              }),
              HasSubstr("may not change the dtype"));
  EXPECT_THROW(sparsifier.add_data("x", counting({2, 2}), {.config = {{"mask", 3}}}),
               c10::TypeError);
  EXPECT_TRUE(sparsifier.names().empty());
  EXPECT_TRUE(sparsifier.container()->buffers().empty());
  add(torch::eye(2));
}

TEST(DataSparsifier, RefusesMasksThatCannotBeWrittenAndChangesNothing) {
  FirstRowSparsifier sparsifier;
  const at::Tensor data = counting({2, 2}), mask = torch::ones({2, 2});
  sparsifier.add_data("x", data, {.config = {{"mask", mask}}});
  const auto refused = [&](const at::Tensor& given, const char* gist) {
    EXPECT_THAT(message_of<c10::ValueError>([&] {
                  sparsifier.add_data("y", counting({2, 2}), {.config = {{"mask", given}}});
                }),
                HasSubstr(gist));
    EXPECT_FALSE(sparsifier.contains("y"));
  };
  refused(torch::eye(2).to_sparse(), "mask: expected a dense tensor");
  refused(torch::ones({2, 2}, torch::requires_grad()), "must not require grad");
  refused(torch::ones({2, 2}, torch::kMeta), "the mask is on meta and the data on cpu");
  refused(mask, "is that of 'x' already");
  // A batch that was moved to another device: the data that is there stays.
  EXPECT_THROW(sparsifier.add_data("x", torch::ones({2, 2}, torch::kMeta)), c10::ValueError);
  EXPECT_TRUE(sparsifier.get_data("x").is_same(data));
}

TEST(DataSparsifier, InferenceModeLeavesNormalTensors) {
  FirstRowSparsifier sparsifier;
  torch::nn::Embedding embedding(2, 2);
  const at::Tensor parameter = torch::ones({2, 2}, torch::requires_grad());
  {
    const c10::InferenceMode inference;
    sparsifier.add_data("e", embedding);
    sparsifier.add_data("p", parameter);
    sparsifier.step();
    sparsifier.squash_mask({"e"});
  }
  EXPECT_FALSE(embedding->weight.is_inference());
  EXPECT_FALSE(sparsifier.get_mask("p").is_inference());
  sparsifier.get_data("p", false).sum().backward();
  EXPECT_EQ(parameter.grad().sum().item<float>(), 2);
}

TEST(DataSparsifier, ReferencesOutliveChangesOfOtherNames) {
  FirstRowSparsifier sparsifier({{"level", 0.5}});
  sparsifier.add_data("x", counting({2, 2}));
  NamedValues& state = sparsifier.state("x");
  const NamedValues& group = sparsifier.data_group("x");
  for (int i = 0; i < 100; ++i) sparsifier.add_data(std::to_string(i), counting({2, 2}));
  state.set("kept", 1);
  EXPECT_EQ(sparsifier.state("x").get<int64_t>("kept"), 1);
  EXPECT_EQ(group.get<double>("level"), 0.5);
}

TEST(DataSparsifier, SetConfigChecksAsAddDataDoes) {
  CapturedWarnings warnings;
  FirstRowSparsifier sparsifier({{"level", 0.5}});
  sparsifier.add_data("x", counting({2, 2}));
  sparsifier.set_config("x", "levle", 0.5);
  ASSERT_EQ(warnings.messages().size(), 1u);
  EXPECT_THAT(warnings.messages()[0], HasSubstr("Did you mean 'level'"));
  sparsifier.set_config("x", "block", {1, 4});
  EXPECT_EQ(to_text(sparsifier.data_group("x").at("block")), "(1, 4)");
  EXPECT_THROW(sparsifier.set_config("x", "mask", torch::ones({2, 2})), c10::ValueError);
  EXPECT_THROW(sparsifier.set_config("x", "parametrization", "doubling"), c10::ValueError);
}

TEST(DataSparsifier, ReplacingKeepsConfigAndMaskAndMovesToTheEnd) {
  CapturedWarnings warnings;
  FirstRowSparsifier sparsifier({{"level", 0.5}});
  sparsifier.add_data("x", counting({2, 2}), {.config = {{"level", 0.3}}});
  sparsifier.add_data("y", counting({2, 2}));
  sparsifier.step();
  const at::Tensor mask = sparsifier.get_mask("x"), old = sparsifier.get_data("x");
  sparsifier.add_data("x", torch::full({2, 2}, 9.0F), {.config = {{"extra", 1}}});
  ASSERT_EQ(warnings.messages().size(), 1u);
  EXPECT_THAT(warnings.messages()[0], HasSubstr("Did you mean a different name?"));
  EXPECT_THAT(sparsifier.names(), ElementsAre("y", "x"));
  EXPECT_TRUE(sparsifier.get_mask("x").is_same(mask));
  EXPECT_EQ(sparsifier.data_group("x").get<double>("level"), 0.3);
  EXPECT_EQ(sparsifier.data_group("x").get<int64_t>("extra"), 1);
  EXPECT_TRUE(sparsifier.state("x").empty());
  EXPECT_TRUE(old.equal(counting({2, 2})));
  EXPECT_EQ(sparsifier.get_data("x", false)[0][0].item<float>(), 0);
}

TEST(DataSparsifier, ReplacingWithoutReuseStartsWithOnes) {
  FirstRowSparsifier sparsifier;
  sparsifier.add_data("x", counting({2, 2}), {.config = {{"mask", torch::eye(2)}, {"extra", 1}}});
  sparsifier.add_data("x", counting({3, 2}).to(torch::kDouble), {.reuse_mask = false});
  EXPECT_TRUE(sparsifier.get_mask("x").equal(torch::ones({3, 2}, torch::kDouble)));
  EXPECT_EQ(sparsifier.data_group("x").get<int64_t>("extra"), 1);
}

TEST(DataSparsifier, AFailedReplacementLeavesTheOldData) {
  FirstRowSparsifier sparsifier;
  const at::Tensor data = counting({2, 2});
  sparsifier.add_data("x", data);
  EXPECT_THAT(message_of<AssertionError>([&] {
                sparsifier.add_data("x", counting({3, 2}));
              }),
              HasSubstr("to retain the old mask, the shape"));
  // Upstream loses the name here: a float mask promotes half data.
  sparsifier.add_data("x", data, {.config = {{"mask", torch::ones({2, 2})}}, .reuse_mask = false});
  EXPECT_THROW(sparsifier.add_data("x", counting({2, 2}).to(torch::kHalf)), c10::ValueError);
  EXPECT_TRUE(sparsifier.get_data("x").is_same(data));
  EXPECT_THAT(sparsifier.names(), ElementsAre("x"));
  sparsifier.step();
}

TEST(DataSparsifier, ASquashedNameCanBeReplaced) {
  FirstRowSparsifier sparsifier;
  sparsifier.add_data("x", counting({2, 2}));
  sparsifier.step();
  sparsifier.squash_mask();
  const at::Tensor mask = sparsifier.get_mask("x");
  sparsifier.add_data("x", counting({2, 2}));
  EXPECT_TRUE(sparsifier.get_mask("x").is_same(mask));
  EXPECT_TRUE(sparsifier.is_parametrized("x"));
  EXPECT_EQ(sparsifier.get_data("x", false)[0][1].item<float>(), 0);
}

TEST(DataSparsifier, UnknownNamesAreErrors) {
  FirstRowSparsifier sparsifier;
  const auto gist = HasSubstr("data with specified name does not exist");
  EXPECT_THAT(message_of<c10::ValueError>([&] { sparsifier.get_mask("x"); }), gist);
  EXPECT_THAT(message_of<c10::ValueError>([&] { sparsifier.get_data("x"); }), gist);
  EXPECT_THAT(message_of<c10::ValueError>([&] { sparsifier.get_data("x", false); }), gist);
  EXPECT_THAT(message_of<c10::ValueError>([&] { sparsifier.state("x"); }), gist);
  EXPECT_THAT(message_of<c10::ValueError>([&] { sparsifier.set_config("x", "k", 1); }), gist);
  EXPECT_THAT(message_of<c10::ValueError>([&] { sparsifier.is_parametrized("x"); }), gist);
  EXPECT_FALSE(sparsifier.contains("x"));
}

TEST(DataSparsifier, StepDoesNothingWhileMaskUpdatesAreOff) {
  FirstRowSparsifier sparsifier;
  sparsifier.add_data("x", counting({2, 2}));
  sparsifier.set_enable_mask_update(false);
  sparsifier.step();
  EXPECT_TRUE(sparsifier.get_mask("x").equal(torch::ones({2, 2})));
  EXPECT_EQ(sparsifier.step_count(), 1);
  sparsifier.set_enable_mask_update(true);
  sparsifier.step();
  EXPECT_EQ(sparsifier.get_mask("x").sum().item<float>(), 2);
  EXPECT_EQ(sparsifier.step_count(), 2);
}

TEST(DataSparsifier, HandsTheWholeConfigToUpdateMaskWithoutGradient) {
  class Recorder : public BaseDataSparsifier {
   public:
    Recorder() : BaseDataSparsifier({{"level", 0.5}}) {}
    std::vector<std::string> seen;

   protected:
    void update_mask(const std::string& name, const at::Tensor& data,
                     const NamedValues& config) override {
      EXPECT_FALSE(torch::GradMode::is_enabled());
      EXPECT_TRUE(data.is_same(get_data(name)));
      seen.push_back(name);
      for (const auto& entry : config) seen.push_back(entry.name);
    }
  };
  Recorder recorder;
  recorder.add_data("x", counting({2, 2}), {.config = {{"mine", 1}}});
  recorder.add_data("y", torch::rand({2, 2}, torch::requires_grad()));
  recorder.step();
  EXPECT_THAT(recorder.seen, ElementsAre("x", "level", "mine", "y", "level"));
}

TEST(DataSparsifier, UsesAParametrizationOfTheUsersOwn) {
  register_doubling();
  FirstRowSparsifier sparsifier;
  sparsifier.add_data("x", counting({2, 2}), {.config = {{"parametrization", "doubling"}}});
  sparsifier.step();
  EXPECT_TRUE(sparsifier.get_data("x", false).equal(torch::tensor({{0.0F, 0.0F}, {6.0F, 8.0F}})));
  // Upstream falls back to its own on replacement, although the group still lists this one.
  sparsifier.add_data("x", torch::ones({2, 2}));
  EXPECT_EQ(sparsifier.get_data("x", false)[1][0].item<float>(), 2);
  sparsifier.squash_mask();
  EXPECT_EQ(sparsifier.get_data("x", false)[1][0].item<float>(), 2);
  EXPECT_THAT(
      message_of<c10::ValueError>([&] {
        sparsifier.add_data("y", counting({2}), {.config = {{"parametrization", "nobody"}}});
      }),
      HasSubstr("no parametrization type 'nobody'"));
  EXPECT_FALSE(sparsifier.contains("y"));
}

TEST(DataSparsifier, CopyIsDeep) {
  register_doubling();
  FirstRowSparsifier sparsifier({{"level", 0.5}});
  const at::Tensor data = counting({2, 2}), parameter = torch::ones({2, 2}, torch::requires_grad());
  sparsifier.add_data("x", data);
  sparsifier.add_data("p", parameter, {.config = {{"parametrization", "doubling"}}});
  sparsifier.add_data("gone", counting({2, 2}));
  sparsifier.squash_mask({"gone"});
  // As a training step would: the link's own tensor.
  sparsifier.container()->named_buffers()["parametrizations.p.0.factor"].fill_(5);
  const auto cloned = sparsifier.clone();
  FirstRowSparsifier& copy = *cloned;
  data.zero_();
  sparsifier.get_mask("x").zero_();
  sparsifier.set_config("x", "level", 0.1);
  EXPECT_THAT(copy.names(), ElementsAre("x", "p", "gone"));
  EXPECT_TRUE(copy.get_data("x", false).equal(counting({2, 2})));
  EXPECT_EQ(copy.data_group("x").get<double>("level"), 0.5);
  EXPECT_TRUE(copy.get_data("p").requires_grad());
  EXPECT_FALSE(copy.get_data("p").is_same(parameter));
  EXPECT_EQ(copy.get_data("p", false)[0][0].item<float>(), 5);
  EXPECT_FALSE(copy.is_parametrized("gone"));
}

TEST(DataSparsifier, TextListsEveryGroupSorted) {
  FirstRowSparsifier sparsifier({{"omega", 1}, {"alpha", 0.5}});
  EXPECT_EQ(sparsifier.text(), "FirstRowSparsifier ()");
  sparsifier.add_data("x", counting({2, 2}), {.config = {{"data", 3}}});
  EXPECT_EQ(
      sparsifier.text(),
      "FirstRowSparsifier (\n\tData Group\n\t    name: x\n\t    alpha: 0.5\n\t    omega: 1\n)");
}

}  // namespace
}  // namespace winnow
