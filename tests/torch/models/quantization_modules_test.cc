// post_training_sparse_quantize: which modules it takes, and what it refuses.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include <algorithm>

#include "support/golden.h"
#include "torch/captured_warnings.h"
#include "torch/quantized_models.h"
#include "torch/quantized_tables.h"
#include "torch/sparsifiers.h"
#include "winnow/torch/error.h"
#include "winnow/torch/fake_sparsity.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"
#include "winnow/torch/quantization.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using testing::FirstRowSparsifier;
using ::testing::HasSubstr;
using testing::holds;
using ::testing::IsEmpty;
using testing::kEightOfTen;
using testing::message_of;
using testing::Model;
using testing::same_bits;
using testing::text_of;
using testing::values;

/// Tells under which names it got data; drops the first row.
class Recorder : public FirstRowSparsifier {
 public:
  explicit Recorder(std::vector<std::string>& names) : names_(names) {}

 protected:
  void update_mask(const std::string& name, const at::Tensor& data,
                   const NamedValues& config) override {
    names_.push_back(name);
    FirstRowSparsifier::update_mask(name, data, config);
  }

 private:
  std::vector<std::string>& names_;
};

SparsifierFactory recorder(std::vector<std::string>& names) {
  return [&] { return std::make_unique<Recorder>(names); };
}

TEST(PostTrainingSparseQuantize, WalksInUpstreamsOrder) {
  using torch::nn::Sequential;
  const auto embedding = [] { return nn::Embedding(4, 3); };
  struct Walked : torch::nn::Module {
  } model;
  model.register_module("emb1", embedding());
  model.register_module("embbag1", nn::EmbeddingBag(4, 3));
  model.register_module("emb_seq", Sequential(embedding(), embedding()));
  model.register_module("lin", torch::nn::Linear(3, 3));
  model.register_module("deep", torch::nn::ModuleList(Sequential(embedding())));
  torch::nn::ModuleDict dict;
  dict->update({{"q", embedding().ptr()}});
  model.register_module("z", dict);

  std::vector<std::string> names, expected;
  post_training_sparse_quantize(model, recorder(names));
  for (const auto& fqn : testing::golden()["fetch_order"]["order"]) {
    expected.push_back(fqn.get<std::string>());
    std::ranges::replace(expected.back(), '.', '_');
  }
  EXPECT_THAT(names, ElementsAreArray(expected));
}

TEST(PostTrainingSparseQuantize, GivesEveryModuleANameOfItsOwn) {
  struct Colliding : torch::nn::Module {
  } model;
  torch::nn::ModuleDict a;
  a->update({{"b", nn::Embedding(8, 4).ptr()}});
  model.register_module("a_b", nn::Embedding(5, 4));
  model.register_module("a_b_1", nn::Embedding(6, 4));
  model.register_module("parametrizations", nn::Embedding(7, 4));
  model.register_module("a", a);
  std::vector<std::string> names;
  const testing::CapturedWarnings warnings;
  post_training_sparse_quantize(model, recorder(names));
  EXPECT_THAT(names, ElementsAre("a_b", "a_b_1", "parametrizations_1", "a_b_2"));
  EXPECT_THAT(warnings.messages(), IsEmpty());
  for (const std::string name : {"a_b", "a_b_1", "a.b", "parametrizations"}) {
    EXPECT_TRUE(holds(values(model, name)[0].eq(0)));
    EXPECT_FALSE(holds(values(model, name).eq(0)));
  }
}

TEST(PostTrainingSparseQuantize, ConvertsASharedModuleOnceForAllItsParents) {
  const testing::CapturedWarnings warnings;
  torch::nn::Embedding shared(6, 4);
  torch::nn::Sequential first(shared), second(torch::nn::Identity(), shared);
  torch::nn::ModuleList model(first, second, first);
  std::vector<std::string> names;
  post_training_sparse_quantize(*model, recorder(names));
  EXPECT_THAT(names, ElementsAre("0_0"));
  EXPECT_EQ(first->ptr(0), second->ptr(1));
  EXPECT_EQ(second->named_children()["1"], second->ptr(1));
  EXPECT_EQ(model->ptr(0)->named_children()["0"], first->ptr(0));
  EXPECT_THAT(warnings.messages(), IsEmpty());
}

TEST(PostTrainingSparseQuantize, ConvertsTheSelectedAloneInTheirOrder) {
  Model model;
  const auto bag = model->rest->ptr<torch::nn::EmbeddingBagImpl>(0);
  std::vector<std::string> names;
  post_training_sparse_quantize(*model, recorder(names),
                                {.select_embeddings = {{bag, model->users, bag}}});
  EXPECT_THAT(names, ElementsAre("rest_0", "users"));
  EXPECT_TRUE(model->users->is_quantized());
  EXPECT_FALSE(model->items->is_quantized());

  names.clear();
  post_training_sparse_quantize(*model, recorder(names));  // what is left
  EXPECT_THAT(names, ElementsAre("items"));
  names.clear();
  post_training_sparse_quantize(*model, recorder(names));
  post_training_sparse_quantize(*model, recorder(names),
                                {.select_embeddings = std::vector<Data>()});
  EXPECT_THAT(names, IsEmpty());
}

struct TheirEmbedding : torch::nn::EmbeddingImpl {
  using EmbeddingImpl::EmbeddingImpl;
};
struct OurEmbedding : nn::EmbeddingImpl {
  using EmbeddingImpl::EmbeddingImpl;
};

TEST(PostTrainingSparseQuantize, ConvertsClassesThatDeriveFromOursAlone) {
  torch::nn::Sequential model(std::make_shared<TheirEmbedding>(5, 3),
                              std::make_shared<OurEmbedding>(5, 3));
  const auto theirs = model->ptr(0), ours = model->ptr(1);
  post_training_sparse_quantize(*model, kEightOfTen);
  EXPECT_EQ(model->ptr(0), theirs);
  EXPECT_EQ(model->ptr(1), ours);
  EXPECT_TRUE(dynamic_cast<OurEmbedding&>(*ours).is_quantized());
  EXPECT_THAT(message_of<AssertionError>([&] {
                post_training_sparse_quantize(*model, kEightOfTen,
                                              {.select_embeddings = {{theirs}}});
              }),
              HasSubstr("expected an embedding or embedding bag"));
}

/// Keeps the data that it saw.
class DataRecorder : public FirstRowSparsifier {
 public:
  explicit DataRecorder(std::vector<at::Tensor>& data) : data_(data) {}

 protected:
  void update_mask(const std::string&, const at::Tensor& data, const NamedValues&) override {
    data_.push_back(data);
  }

 private:
  std::vector<at::Tensor>& data_;
};

TEST(PostTrainingSparseQuantize, CopiesNoWeightForTheSparsifierThatIsNotComputed) {
  torch::nn::Sequential model(nn::Embedding(4, 3), torch::nn::Embedding(4, 3), nn::Embedding(4, 3));
  const auto parameters = model->parameters();
  register_parametrization(*model->ptr(2), "weight",
                           std::make_shared<FakeSparsity>(torch::ones({4, 3})));
  std::vector<at::Tensor> data;
  post_training_sparse_quantize(*model, [&] { return std::make_unique<DataRecorder>(data); });
  ASSERT_EQ(data.size(), 3u);
  EXPECT_TRUE(data[0].is_alias_of(parameters[0]));
  EXPECT_TRUE(data[1].is_alias_of(parameters[1]));
  EXPECT_FALSE(data[2].is_alias_of(parameters[2]));
}

// ---- what is refused

/// Everything that a failing call could have changed.
struct Snapshot {
  explicit Snapshot(const torch::nn::Module& model)
      : text(text_of(model)), parameters(model.named_parameters()) {
    for (const auto& parameter : parameters) copies.push_back(parameter.value().detach().clone());
    for (const auto& module : model.named_modules("", /*include_self=*/false)) {
      modules.push_back(module.value().get());
    }
  }

  void expect_unchanged(const torch::nn::Module& model) const {
    const Snapshot now(model);
    EXPECT_EQ(now.text, text);
    EXPECT_EQ(now.modules, modules);
    ASSERT_EQ(now.parameters.keys(), parameters.keys());
    for (size_t i = 0; i < copies.size(); ++i) {
      EXPECT_TRUE(now.parameters[i].value().is_same(parameters[i].value()));
      EXPECT_TRUE(same_bits(now.copies[i], copies[i]));
    }
  }

  std::string text;
  torch::OrderedDict<std::string, at::Tensor> parameters;
  std::vector<at::Tensor> copies;
  std::vector<const torch::nn::Module*> modules;
};

/// What the call says; nothing may have changed.
template <typename Error>
std::string refusal(torch::nn::Module& model, const PostTrainingSparseQuantizeOptions& options = {},
                    const DataNormSparsifierOptions& sparsifier = kEightOfTen) {
  const Snapshot before(model);
  const std::string message =
      message_of<Error>([&] { post_training_sparse_quantize(model, sparsifier, options); });
  before.expect_unchanged(model);
  return message;
}

TEST(PostTrainingSparseQuantize, RefusesSelectionsThatAreNoEmbeddingsOfTheModel) {
  Model model;
  const nn::Embedding other(3, 4);
  const auto message = [&](const Data& data) {
    return refusal<AssertionError>(*model, {.select_embeddings = {{model->users, data}}});
  };
  EXPECT_THAT(message(model->rest->ptr(1)), HasSubstr("expected an embedding or embedding bag"));
  EXPECT_THAT(message(torch::ones({2, 2})), HasSubstr("found a tensor"));
  EXPECT_THAT(message(nn::Embedding(nullptr)), HasSubstr("expected an embedding"));
  EXPECT_THAT(message(model.ptr()), HasSubstr("expected an embedding"));
  EXPECT_THAT(message(other), HasSubstr("must be part of input model"));
  nn::Embedding alone(3, 4);
  EXPECT_THAT(refusal<KeyError>(*alone, {.select_embeddings = {{alone}}}), HasSubstr("no name"));
  EXPECT_THAT(refusal<KeyError>(*alone), HasSubstr("call its quantize"));
  alone->quantize(nn::QuantizedWeight::zeros(3, 4));
  torch::nn::Sequential parent(alone);
  EXPECT_THAT(refusal<AssertionError>(*parent, {.select_embeddings = {{alone}}}),
              HasSubstr("that is quantized already"));
}

TEST(PostTrainingSparseQuantize, RefusesATypedMemberOfLibTorchNamingTheTypeToDeclare) {
  struct Typed : torch::nn::Module {
    nn::Embedding good{register_module("good", nn::Embedding(4, 3))};
    torch::nn::EmbeddingBag bag{register_module("bag", torch::nn::EmbeddingBag(4, 3))};
  } model;
  const std::string message = refusal<c10::ValueError>(model);
  EXPECT_THAT(message, HasSubstr("declare the member as winnow::nn::EmbeddingBag"));
  EXPECT_THAT(message, HasSubstr("of 'bag'"));
  // In a container as well as by a member: one of its places cannot follow.
  struct Both : torch::nn::Module {
    torch::nn::Embedding member{register_module("member", torch::nn::Embedding(4, 3))};
    torch::nn::Sequential list{register_module("list", torch::nn::Sequential(member))};
  } both;
  EXPECT_THAT(refusal<c10::ValueError>(both), HasSubstr("declare the member"));
}

TEST(PostTrainingSparseQuantize, RefusesMaxNormBeforeItTouchesTheModel) {
  torch::nn::Sequential model(
      nn::Embedding(4, 3),
      torch::nn::EmbeddingBag(torch::nn::EmbeddingBagOptions(4, 3).max_norm(1.0)));
  EXPECT_THAT(refusal<c10::ValueError>(*model),
              ::testing::AllOf(HasSubstr("max_norm"), HasSubstr("of '1'")));
}

/// Has a tensor by the name of one that a quantized module has.
struct ScaledEmbedding : nn::EmbeddingImpl {
  ScaledEmbedding() : EmbeddingImpl(4, 3) { register_buffer("scales", torch::ones({4})); }
};

TEST(PostTrainingSparseQuantize, RefusesANameThatIsTakenBeforeItTouchesTheModel) {
  torch::nn::Sequential model(nn::Embedding(4, 3), std::make_shared<ScaledEmbedding>());
  EXPECT_THAT(refusal<c10::ValueError>(*model),
              ::testing::AllOf(HasSubstr("'scales'"), HasSubstr("of '1'")));
}

template <typename Module>
void expect_outgrown_table_is_refused(Module module) {
  const at::Tensor weight = module->weight;
  weight.set_data(torch::cat({weight.detach(), torch::ones({1, 3})}));
  EXPECT_TRUE(holds(module(torch::tensor({4})).eq(1)));  // forward takes it
  torch::nn::Sequential model(nn::Embedding(4, 3), module);
  for (const bool sparsify_first : {true, false}) {
    EXPECT_THAT(
        refusal<c10::ValueError>(*model, {.sparsify_first = sparsify_first}),
        ::testing::AllOf(HasSubstr("a module of 4 x 3 cannot have a quantized table of 5 x 3"),
                         HasSubstr("of '1'")));
  }
}

TEST(PostTrainingSparseQuantize, RefusesATableThatOutgrewItsOptionsBeforeItTouchesTheModel) {
  expect_outgrown_table_is_refused(nn::Embedding(4, 3));
  expect_outgrown_table_is_refused(torch::nn::Embedding(4, 3));
}

TEST(PostTrainingSparseQuantize, RefusesRowsWithoutAnExactZeroNamingModuleAndRow) {
  at::Tensor weight = torch::ones({4, 3});
  weight[2][1] = INFINITY;
  for (const bool sparsify_first : {true, false}) {
    torch::nn::Sequential model(nn::Embedding(4, 3),
                                torch::nn::Embedding::from_pretrained(weight.clone()));
    EXPECT_THAT(refusal<c10::ValueError>(*model, {.sparsify_first = sparsify_first}),
                ::testing::AllOf(HasSubstr("cannot quantize row 2"), HasSubstr("of '1'")));
  }
}

TEST(PostTrainingSparseQuantize, RefusesWeightsThatAreNoFloatsOnTheCpu) {
  torch::nn::Sequential integers(nn::Embedding::from_pretrained(torch::ones({4, 3})));
  integers->to(torch::kLong);
  EXPECT_THAT(refusal<c10::ValueError>(*integers), HasSubstr("'0' has dtype Long"));
  EXPECT_THAT(refusal<c10::ValueError>(*integers, {.sparsify_first = false}),
              HasSubstr("has to be of a floating dtype"));
  torch::nn::Sequential meta(
      nn::Embedding(torch::nn::EmbeddingOptions(4, 3)._weight(torch::empty({4, 3}, torch::kMeta))));
  EXPECT_THROW(post_training_sparse_quantize(*meta, kEightOfTen, {.sparsify_first = false}),
               c10::ValueError);
}

/// Works on the first name and fails at the second.
class Failing : public FirstRowSparsifier {
 protected:
  void update_mask(const std::string& name, const at::Tensor& data,
                   const NamedValues& config) override {
    if (count_++ == 1) throw std::runtime_error("a step that fails");
    FirstRowSparsifier::update_mask(name, data, config);
  }
  int count_ = 0;
};

TEST(PostTrainingSparseQuantize, AStepThatFailsChangesNothing) {
  for (const bool sparsify_first : {true, false}) {
    Model model;
    const Snapshot before(*model);
    EXPECT_THROW(post_training_sparse_quantize(*model, [] { return std::make_unique<Failing>(); },
                                               {.sparsify_first = sparsify_first}),
                 std::runtime_error);
    before.expect_unchanged(*model);
    EXPECT_THAT(refusal<c10::ValueError>(*model, {.sparsify_first = sparsify_first},
                                         {.sparsity_level = std::nan("")}),
                HasSubstr("sparsity_level"));
  }
}

TEST(PostTrainingSparseQuantize, AsksForANewSparsifier) {
  Model model;
  const Snapshot before(*model);
  EXPECT_THROW(post_training_sparse_quantize(*model, SparsifierFactory()), c10::ValueError);
  EXPECT_THROW(
      post_training_sparse_quantize(*model, [] { return std::unique_ptr<BaseDataSparsifier>(); }),
      c10::ValueError);
  EXPECT_THROW(post_training_sparse_quantize(*model,
                                             [] {
                                               auto used = std::make_unique<FirstRowSparsifier>();
                                               used->add_data("users", torch::ones({2, 2}));
                                               return used;
                                             }),
               c10::ValueError);
  before.expect_unchanged(*model);
}

}  // namespace
}  // namespace winnow
