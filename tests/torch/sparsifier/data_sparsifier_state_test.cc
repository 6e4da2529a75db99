// State dictionaries, snapshots and files of data sparsifiers.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/error.h"
#include "winnow/torch/parametrization.h"

namespace winnow {
namespace {

using testing::counting;
using ::testing::ElementsAre;
using testing::FirstRowSparsifier;
using ::testing::HasSubstr;
using testing::message_of;

/// Two names, one step.
class Stepped : public FirstRowSparsifier {
 public:
  Stepped() : FirstRowSparsifier({{"level", 0.5}}) {
    add_data("x", counting({2, 2}));
    add_data("y", counting({3, 2}), {.config = {{"level", 0.25}, {"note", "hello"}}});
    step();
  }
};

void expect_stepped(BaseDataSparsifier& sparsifier) {
  EXPECT_THAT(sparsifier.names(), ElementsAre("x", "y"));
  EXPECT_TRUE(sparsifier.get_data("x").equal(counting({2, 2})));
  EXPECT_TRUE(sparsifier.get_mask("x").equal(torch::tensor({{0.0F, 0.0F}, {1.0F, 1.0F}})));
  EXPECT_EQ(sparsifier.data_group("y").get<double>("level"), 0.25);
  EXPECT_EQ(sparsifier.data_group("y").get<std::string>("note"), "hello");
  EXPECT_EQ(sparsifier.state("x").get<int64_t>("step_count"), 1);
}

TEST(DataSparsifierState, IsASnapshot) {
  Stepped sparsifier;
  const DataSparsifierState state = sparsifier.state_dict();
  sparsifier.get_data("x").zero_();
  sparsifier.get_mask("x").zero_();
  sparsifier.set_config("x", "level", 0.1);
  sparsifier.state("x").set("step_count", 7);
  FirstRowSparsifier loaded;
  loaded.load_state_dict(state);
  expect_stepped(loaded);
  loaded.get_data("x").zero_();
  FirstRowSparsifier again;
  again.load_state_dict(state);
  expect_stepped(again);
}

TEST(DataSparsifierState, SharesTheOriginalsWithoutClone) {
  Stepped sparsifier;
  const DataSparsifierState state = sparsifier.state_dict({.clone = false});
  const at::Tensor& shared = state.container["parametrizations.x.original"];
  EXPECT_EQ(shared.data_ptr(), sparsifier.get_data("x").data_ptr());
  EXPECT_FALSE(shared.requires_grad());
}

TEST(DataSparsifierState, MasksAreSparseAlsoWhereThereIsNothingToKeep) {
  FirstRowSparsifier sparsifier;
  sparsifier.add_data("scalar", torch::tensor(3.0F));
  sparsifier.add_data("empty", torch::ones({0, 4}));
  sparsifier.add_data("dropped", counting({2, 2}), {.config = {{"mask", torch::zeros({2, 2})}}});
  const DataSparsifierState state = sparsifier.state_dict({.mask_format = MaskFormat::kTorchAo});
  const auto indices = [&](const char* name) {
    return state.state[name].get<at::Tensor>("mask").indices().sizes().vec();
  };
  EXPECT_THAT(indices("scalar"), ElementsAre(0, 1));
  EXPECT_THAT(indices("empty"), ElementsAre(2, 0));
  EXPECT_THAT(indices("dropped"), ElementsAre(2, 0));
  FirstRowSparsifier loaded;
  loaded.load_state_dict(state);
  EXPECT_TRUE(loaded.get_mask("dropped").equal(torch::zeros({2, 2})));
  EXPECT_EQ(loaded.get_mask("empty").sizes(), (std::vector<int64_t>{0, 4}));
}

TEST(DataSparsifierState, LoadsDenseMasksToo) {
  DataSparsifierState state = Stepped().state_dict({.mask_format = MaskFormat::kTorchAo});
  auto& values = state.state["x"];
  values.set("mask", values.get<at::Tensor>("mask").to_dense());
  FirstRowSparsifier loaded;
  loaded.load_state_dict(state);
  expect_stepped(loaded);
}

TEST(DataSparsifierState, StrictLoadReplacesWhatWasThereAndKeepsDefaults) {
  FirstRowSparsifier loaded({{"level", 0.9}});
  const at::Tensor mine = counting({2, 2});
  loaded.add_data("mine", mine);
  loaded.step();
  loaded.load_state_dict(Stepped().state_dict());
  expect_stepped(loaded);
  EXPECT_EQ(loaded.defaults().get<double>("level"), 0.9);
  EXPECT_EQ(loaded.step_count(), 1);
  EXPECT_TRUE(mine.equal(counting({2, 2})));
}

TEST(DataSparsifierState, NonStrictLoadKeepsExistingEntriesCompletely) {
  FirstRowSparsifier loaded;
  const at::Tensor mine = torch::zeros({5, 5});
  loaded.add_data("x", mine, {.config = {{"level", 0.7}}});
  loaded.add_data("other", counting({2, 2}));
  DataSparsifierState state = Stepped().state_dict();
  state.data_groups.insert("nobody", {});
  loaded.load_state_dict(state, /*strict=*/false);
  EXPECT_THAT(loaded.names(), ElementsAre("y", "x", "other"));
  EXPECT_TRUE(loaded.get_data("x").is_same(mine));
  EXPECT_EQ(loaded.data_group("x").get<double>("level"), 0.7);
  EXPECT_TRUE(loaded.get_mask("x").equal(torch::ones({5, 5})));
  loaded.step();
}

// One way to be wrong each; nothing may change.
TEST(DataSparsifierState, RefusesWhatDoesNotFitTogether) {
  const auto refused = [](const char* gist, const auto& change) {
    DataSparsifierState state = Stepped().state_dict({.mask_format = MaskFormat::kTorchAo});
    change(state);
    FirstRowSparsifier loaded;
    loaded.add_data("mine", counting({2, 2}));
    EXPECT_THAT(message_of<c10::Error>([&] { loaded.load_state_dict(state); }), HasSubstr(gist));
    EXPECT_THAT(loaded.names(), ElementsAre("mine"));
    EXPECT_TRUE(loaded.get_data("mine", false).equal(counting({2, 2})));
    loaded.step();
  };
  refused("Error loading y", [](auto& s) { s.data_groups.erase("y"); });
  refused("Error loading more", [](auto& s) { s.data_groups.insert("more", {}); });
  refused("Error loading x", [](auto& s) { s.container.erase("parametrizations.x.original"); });
  refused("has no 'mask'", [](auto& s) { s.state["x"].erase("mask"); });
  refused("mask: expected a tensor", [](auto& s) { s.state["x"].set("mask", 3); });
  refused("must match x shape", [](auto& s) { s.state["x"].set("mask", torch::ones({2})); });
  refused("may not change the dtype", [](auto& s) {
    s.state["x"].set("mask", torch::full({2, 2}, 1.0 / 3, torch::kDouble));  // no float has that
  });
  refused("is undefined", [](auto& s) { s.state["x"].set("mask", at::Tensor()); });
  refused("its tensor is undefined",
          [](auto& s) { s.container["parametrizations.x.original"] = at::Tensor(); });
  refused("no parametrization type",
          [](auto& s) { s.data_groups["x"].set("parametrization", "nobody at all"); });
  refused("can't contain", [](auto& s) {
    s.state.insert("a.b", s.state["x"]);
    s.data_groups.insert("a.b", {});
  });
}

// What is refused late must not leave half of it: an L2 snapshot whose data this class refuses.
TEST(DataSparsifierState, AFailedSnapshotChangesNoField) {
  DataNormSparsifier source({.sparsity_level = 0.75, .norm = Norm::kL2}), target;
  source.add_data("x", counting({4, 4}));
  DataSparsifierSnapshot snapshot = source.getstate();
  snapshot.container["parametrizations.x.original"] = torch::ones({4, 4}, torch::kInt);
  snapshot.state["x"].set("mask", torch::ones({4, 4}, torch::kInt));
  EXPECT_THROW(target.setstate(snapshot), c10::ValueError);
  EXPECT_EQ(target.norm(), Norm::kL1);
  EXPECT_EQ(target.defaults().get<double>("sparsity_level"), 0.5);
  EXPECT_TRUE(target.names().empty());
}

TEST(DataSparsifierState, RefusesStatesOfAnotherClass) {
  Stepped other;
  DataNormSparsifier target;
  EXPECT_THAT(message_of<c10::Error>([&] { target.load_state_dict(other.state_dict()); }),
              HasSubstr("no 'sparsity_level'"));
  EXPECT_THAT(message_of<c10::Error>([&] { target.setstate(other.getstate()); }),
              HasSubstr("no 'sparsity_level'"));
  EXPECT_THROW(target.setstate(DataSparsifierSnapshot()), c10::Error);
  std::stringstream file;
  torch::save(static_cast<BaseDataSparsifier&>(other), file);
  EXPECT_THAT(message_of<c10::Error>([&] { torch::load(target, file); }),
              HasSubstr("a file of a Stepped, not of a DataNormSparsifier"));
  target.add_data("x", counting({4, 4}));
  target.step();
}

TEST(DataSparsifierState, RefusesConfigurationsThatTheSparsifierRefuses) {
  DataNormSparsifier source, loaded;
  source.add_data("x", counting({4, 4}));
  DataSparsifierState state = source.state_dict({.mask_format = MaskFormat::kTorchAo});
  state.data_groups["x"].set("sparsity_level", "high");
  EXPECT_THROW(loaded.load_state_dict(state), c10::TypeError);
  state.data_groups["x"].set("sparsity_level", 0.5);
  state.container["parametrizations.x.original"] = torch::ones({4, 4}, torch::kInt);
  state.state["x"].set("mask", torch::ones({4, 4}, torch::kInt));
  EXPECT_THROW(loaded.load_state_dict(state), c10::ValueError);
  EXPECT_TRUE(loaded.names().empty());
}

class Scaling : public Parametrization {
 public:
  explicit Scaling(at::Tensor mask) : mask_(std::move(mask)) {
    factor = register_parameter("factor", torch::full({1}, 2.0F));
  }
  at::Tensor forward(const at::Tensor& x) override { return mask_ * x * factor; }
  at::Tensor factor;

 private:
  at::Tensor mask_;
};

// Upstream looks for it in the wrong place and falls back to its own.
TEST(DataSparsifierState, RestoresAParametrizationOfTheUsersOwn) {
  register_parametrization_type(
      "scaling", [](const at::Tensor& mask) { return std::make_shared<Scaling>(mask); });
  FirstRowSparsifier source;
  source.add_data("x", counting({2, 2}), {.config = {{"parametrization", "scaling"}}});
  DataSparsifierState state = source.state_dict();
  EXPECT_TRUE(state.container.contains("parametrizations.x.0.factor"));
  state.container["parametrizations.x.0.factor"].fill_(3);
  FirstRowSparsifier loaded;
  loaded.load_state_dict(state);
  EXPECT_EQ(loaded.get_data("x", false)[0][0].item<float>(), 3);
  state.container["parametrizations.x.0.factor"] = torch::ones({2});
  EXPECT_THAT(message_of<c10::Error>([&] { loaded.load_state_dict(state); }),
              HasSubstr("Error loading x"));
}

TEST(DataSparsifierState, SnapshotHoldsEverything) {
  DataNormSparsifier source({.sparsity_level = 0.75, .norm = Norm::kL2, .scope = Scope::kGlobal});
  source.add_data("x", counting({4, 4}));
  source.step();
  source.set_enable_mask_update(false);
  const DataSparsifierSnapshot snapshot = source.getstate();
  EXPECT_EQ(snapshot.fields.get<std::string>("norm"), "L2");
  EXPECT_EQ(snapshot.enable_mask_update, false);
  DataNormSparsifier restored;
  restored.setstate(snapshot);
  EXPECT_EQ(restored.norm(), Norm::kL2);
  EXPECT_EQ(restored.scope(), Scope::kGlobal);
  EXPECT_FALSE(restored.enable_mask_update());
  EXPECT_EQ(restored.defaults().get<double>("sparsity_level"), 0.75);
  EXPECT_TRUE(restored.get_mask("x").equal(source.get_mask("x")));
  restored.set_enable_mask_update(true);
  restored.step();
}

// What upstream's __getstate__ has, without the keys that are ours.
TEST(DataSparsifierState, SnapshotsOfUpstreamsFourKeysLoad) {
  DataNormSparsifier source({.norm = Norm::kL2});
  source.add_data("x", counting({4, 4}));
  DataSparsifierSnapshot snapshot = source.getstate();
  snapshot.enable_mask_update.reset();
  snapshot.fields = {};
  DataNormSparsifier restored({.norm = Norm::kL2});
  restored.setstate(snapshot);
  EXPECT_TRUE(restored.enable_mask_update());
  EXPECT_EQ(restored.norm(), Norm::kL1);
  snapshot.fields = {{"norm", "L3"}};
  snapshot.defaults.set("sparsity_level", 0.1);
  EXPECT_THAT(message_of<AssertionError>([&] { restored.setstate(snapshot); }),
              HasSubstr("norm: expected 'L1' or 'L2'"));
  EXPECT_EQ(restored.defaults().get<double>("sparsity_level"), 0.5);
}

TEST(DataSparsifierState, FilesRoundTrip) {
  DataNormSparsifier source({.sparsity_level = 0.75, .sparse_block_shape = {1, 2}});
  source.add_data("a name with spaces", counting({4, 4}),
                  {.config = {{"extra", "text"}, {"list", std::vector<int64_t>{1, 2}}}});
  source.add_data("1", counting({2, 2}));
  source.step();
  source.state("1").set("count", 5);
  source.squash_mask({"1"});
  std::stringstream file;
  torch::save(source, file);
  DataNormSparsifier loaded;
  torch::load(loaded, file);
  EXPECT_EQ(loaded.text(), source.text());
  EXPECT_TRUE(loaded.get_mask("a name with spaces").equal(source.get_mask("a name with spaces")));
  EXPECT_TRUE(loaded.get_data("a name with spaces").equal(counting({4, 4})));
  EXPECT_TRUE(loaded.get_data("1", false).equal(source.get_data("1", false)));
  EXPECT_FALSE(loaded.is_parametrized("1"));
  EXPECT_EQ(loaded.state("1").get<int64_t>("count"), 5);
  EXPECT_EQ(to_text(loaded.defaults().at("sparse_block_shape")), "(1, 2)");
}

TEST(DataSparsifierState, OtherFilesAreRefusedAndChangeNothing) {
  DataNormSparsifier loaded;
  loaded.add_data("mine", counting({4, 4}));
  std::stringstream module;
  torch::save(torch::nn::Linear(2, 2), module);
  EXPECT_THAT(message_of<c10::Error>([&] { torch::load(loaded, module); }),
              HasSubstr("not a file of a data sparsifier"));
  std::stringstream junk("this is no archive");
  EXPECT_THROW(torch::load(loaded, junk), c10::Error);
  std::stringstream whole;
  torch::save(loaded, whole);
  std::stringstream cut(whole.str().substr(0, whole.str().size() / 2));
  EXPECT_THROW(torch::load(loaded, cut), c10::Error);
  EXPECT_THAT(loaded.names(), ElementsAre("mine"));
}

TEST(DataSparsifierState, LoadsWhatWasSavedAfterTheDataChangedTheirType) {
  for (const bool given : {false, true}) {
    FirstRowSparsifier sparsifier;
    torch::nn::Embedding embedding(3, 2);
    sparsifier.add_data(
        "x", embedding,
        {.config = given ? NamedValues{{"mask", torch::eye(3).slice(1, 0, 2)}} : NamedValues()});
    embedding->to(torch::kHalf);
    for (const MaskFormat format : {MaskFormat::kPacked, MaskFormat::kTorchAo}) {
      FirstRowSparsifier loaded;
      loaded.load_state_dict(sparsifier.state_dict({.mask_format = format}));
      EXPECT_EQ(loaded.get_data("x", false).scalar_type(), torch::kHalf);
      EXPECT_TRUE(
          loaded.get_mask("x").to(torch::kFloat).equal(sparsifier.get_mask("x").to(torch::kFloat)));
    }
    std::stringstream stream;
    torch::save(sparsifier, stream);
    FirstRowSparsifier loaded;
    torch::load(loaded, stream);
    EXPECT_EQ(loaded.get_data("x").scalar_type(), torch::kHalf);
  }
}

TEST(DataSparsifierState, RefusesDataThatAddDataRefuses) {
  const DataSparsifierState good = Stepped().state_dict();
  const at::Tensor quantized =
      torch::quantize_per_tensor(torch::ones({2, 2}), 0.1, 0, torch::kQUInt8);
  for (const at::Tensor& data :
       {torch::ones({2, 2}).to_sparse(), torch::ones({2, 2}).to_sparse_csr(), quantized}) {
    DataSparsifierState state = good;
    state.container["parametrizations.x.original"] = data;
    Stepped sparsifier;
    const auto message = message_of<AssertionError>([&] { sparsifier.load_state_dict(state); });
    EXPECT_THAT(message, HasSubstr("'x', "));
    EXPECT_THAT(message, HasSubstr("not supported"));
    expect_stepped(sparsifier);
  }
}

TEST(DataSparsifierState, MasksAreLoadedIntoTheMasksThatAreHere) {
  Stepped source;
  source.get_mask("y")[1][1] = 0;
  const DataSparsifierState packed = source.state_dict(),
                            dense = source.state_dict({.mask_format = MaskFormat::kTorchAo});
  for (const DataSparsifierState& state : {packed, dense}) {
    Stepped target;
    const at::Tensor mask = target.get_mask("y"), data = target.get_data("y");
    const auto version = mask._version();
    target.load_masks(state);
    EXPECT_EQ(target.get_mask("y").is_same(mask), state.state["y"].contains("mask_bits"));
    EXPECT_TRUE(target.get_mask("y").equal(source.get_mask("y")));
    EXPECT_TRUE(target.get_data("y").is_same(data));
    EXPECT_TRUE(target.get_data("y", false).equal(source.get_data("y", false)));
    if (target.get_mask("y").is_same(mask)) {
      EXPECT_GT(mask._version(), version);
    }
  }
}

TEST(DataSparsifierState, AStateOfWhichOneMaskDoesNotFitLoadsNone) {
  Stepped source, target;
  source.get_mask("x").fill_(1);
  DataSparsifierState state = source.state_dict();
  state.state["y"].set("mask_shape", {2, 3});
  EXPECT_THROW(target.load_masks(state), c10::Error);
  expect_stepped(target);
}

}  // namespace
}  // namespace winnow
