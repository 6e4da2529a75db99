// winnow::nn::Embedding and EmbeddingBag once they are quantized.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include <filesystem>
#include <functional>
#include <sstream>
#include <thread>

#include "support/golden.h"
#include "torch/captured_warnings.h"
#include "torch/quantized_tables.h"
#include "torch/sparsifiers.h"
#include "winnow/torch/error.h"
#include "winnow/torch/fake_sparsity.h"
#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"
#include "winnow/torch/safetensors.h"

namespace winnow::nn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using testing::quarters;
using testing::same_bits;

constexpr int64_t kRows = 9, kCols = 5;

struct EmbeddingCase {
  using Holder = Embedding;
  static EmbeddingOptions options() { return EmbeddingOptions(kRows, kCols).padding_idx(3); }
  static constexpr const char* kText =
      "QuantizedEmbedding(num_embeddings=9, embedding_dim=5, padding_idx=3)";
};

struct EmbeddingBagCase {
  using Holder = EmbeddingBag;
  static EmbeddingBagOptions options() {
    return EmbeddingBagOptions(kRows, kCols).mode(torch::kSum).padding_idx(3);
  }
  static constexpr const char* kText =
      "QuantizedEmbeddingBag(num_embeddings=9, embedding_dim=5, mode=kSum, padding_idx=3)";
};

template <typename Case>
class QuantizedModule : public ::testing::Test {
 public:
  using Holder = typename Case::Holder;
  using Impl = typename Holder::Impl;

  static Holder quantized(uint64_t seed = 1) {
    Holder module(Case::options());
    module->quantize(quarters(kRows, kCols, seed));
    return module;
  }
  static at::Tensor indices() { return torch::tensor({{0, 3, 5}, {5, 1, 6}}); }
};
using Cases = ::testing::Types<EmbeddingCase, EmbeddingBagCase>;
TYPED_TEST_SUITE(QuantizedModule, Cases);

template <typename Holder>
std::string text_of(const Holder& module) {
  std::ostringstream text;
  text << module;
  return text.str();
}

void expect_same_tables(const Quantizable& a, const Quantizable& b) {
  const QuantizedWeight left = a.quantized_weight(), right = b.quantized_weight();
  EXPECT_TRUE(left.codes.equal(right.codes));
  EXPECT_TRUE(same_bits(left.scales, right.scales));
  EXPECT_TRUE(same_bits(left.zero_points, right.zero_points));
}

TYPED_TEST(QuantizedModule, HasPlainBuffersInThePlaceOfItsWeight) {
  typename TypeParam::Holder module(TypeParam::options());
  module->eval();
  const at::Tensor weight = module->weight, before = weight.detach().clone();
  const QuantizedWeight table = quantize_rows(weight);
  module->quantize(table);
  EXPECT_FALSE(module->weight.defined());
  EXPECT_TRUE(module->parameters().empty());
  EXPECT_THAT(module->named_buffers().keys(), ElementsAre("codes", "scales", "zero_points"));
  EXPECT_TRUE(module->is_quantized());
  EXPECT_FALSE(module->is_training());
  EXPECT_EQ(module->storage()->kind(), "quantized");
  EXPECT_TRUE(module->storage()->weight().equal(dequantize_rows(table)));
  EXPECT_FALSE(module->storage()->weight().requires_grad());
  EXPECT_EQ(text_of(module), TypeParam::kText);
  EXPECT_TRUE(weight.equal(before));  // who holds it keeps it

  const QuantizedWeight buffers = module->quantized_weight();
  EXPECT_TRUE(buffers.codes.equal(table.codes));
  EXPECT_TRUE(module->named_buffers()["codes"].is_same(buffers.codes));
  EXPECT_TRUE(module->named_buffers()["scales"].is_same(buffers.scales));
  EXPECT_TRUE(module->named_buffers()["zero_points"].is_same(buffers.zero_points));
}

TYPED_TEST(QuantizedModule, HoldsItsTableOnce) {
  auto module = TestFixture::quantized();
  const at::Tensor codes = module->quantized_weight().codes;
  // The codes lie in the kernel's rows, which have a scale and a bias besides.
  EXPECT_EQ(codes.storage().nbytes(), static_cast<size_t>(kRows * (kCols + 8)));
  const auto storage = codes.storage().unsafeGetStorageImpl();
  module->forward(TestFixture::indices());
  EXPECT_EQ(module->quantized_weight().codes.storage().unsafeGetStorageImpl(), storage);
}

TYPED_TEST(QuantizedModule, CopiesWhatItIsGiven) {
  const QuantizedWeight table = quarters(kRows, kCols);
  typename TypeParam::Holder module(TypeParam::options());
  module->quantize(table);
  const at::Tensor before = module(TestFixture::indices());
  table.codes.zero_();
  table.scales.fill_(7);
  table.zero_points.zero_();
  EXPECT_TRUE(module(TestFixture::indices()).equal(before));
}

TYPED_TEST(QuantizedModule, TakesTheMaskedReadAndDropsTheMask) {
  typename TypeParam::Holder module(TypeParam::options());
  const at::Tensor mask = torch::arange(kRows * kCols).remainder(2).view({kRows, kCols});
  register_parametrization(*module, "weight", std::make_shared<FakeSparsity>(mask));
  const at::Tensor read = module->storage()->weight().detach();
  module->quantize(quantize_rows(read));
  EXPECT_FALSE(is_parametrized(*module));
  EXPECT_TRUE(module->named_children().is_empty());
  EXPECT_THAT(module->named_buffers().keys(), ElementsAre("codes", "scales", "zero_points"));
  EXPECT_TRUE(
      module->storage()->weight().masked_select(mask.eq(0)).eq(0).all().template item<bool>());
}

TYPED_TEST(QuantizedModule, SeesWhatIsWrittenIntoItsBuffers) {
  auto module = TestFixture::quantized();
  const QuantizedWeight other = quarters(kRows, kCols, 2), buffers = module->quantized_weight();
  module(TestFixture::indices());
  buffers.codes.copy_(other.codes);
  buffers.scales.copy_(other.scales);
  buffers.zero_points.copy_(other.zero_points);
  const at::Tensor expected = TestFixture::quantized(2)(TestFixture::indices());
  EXPECT_TRUE(module(TestFixture::indices()).equal(expected));
  buffers.scales.mul_(2);
  EXPECT_TRUE(module(TestFixture::indices()).equal(expected * 2));
  buffers.codes.set_data(torch::zeros({kRows, kCols}, torch::kByte));  // memory of another's
  buffers.zero_points.set_data(torch::zeros({kRows}));
  EXPECT_TRUE(module(TestFixture::indices()).eq(0).all().template item<bool>());
  buffers.scales.set_data(torch::ones({kRows + 1}));
  EXPECT_THROW(module(TestFixture::indices()), c10::ValueError);
}

// What upstream's unpacked scales fail at: they point into memory that set_weight frees.
TYPED_TEST(QuantizedModule, TensorsThatWereReadOutliveItsTable) {
  at::Tensor scales, values;
  {
    auto module = TestFixture::quantized();
    scales = module->quantized_weight().scales;
    values = module->storage()->weight();
    module = TestFixture::quantized(2);
  }
  EXPECT_TRUE(scales.equal(quarters(kRows, kCols).scales));
  EXPECT_TRUE(values.equal(dequantize_rows(quarters(kRows, kCols))));
}

TYPED_TEST(QuantizedModule, CanBeQuantizedAgainInTheSameTensors) {
  auto module = TestFixture::quantized();
  const QuantizedWeight buffers = module->quantized_weight();
  module->quantize(quarters(kRows, kCols, 2));
  EXPECT_TRUE(module->quantized_weight().codes.is_same(buffers.codes));
  expect_same_tables(*module, *TestFixture::quantized(2));
  EXPECT_TRUE(
      module(TestFixture::indices()).equal(TestFixture::quantized(2)(TestFixture::indices())));
}

TYPED_TEST(QuantizedModule, SharesATableUnlessItHasOneAlready) {
  typename TypeParam::Holder first(TypeParam::options()), second(TypeParam::options());
  auto again = TestFixture::quantized();
  const QuantizedWeight buffers = again->quantized_weight();
  const auto table = make_quantized_table(quarters(kRows, kCols, 2));
  for (auto module : {first, second, again}) module->quantize(table);
  EXPECT_TRUE(first->quantized_weight().codes.is_same(second->quantized_weight().codes));
  EXPECT_TRUE(again->quantized_weight().codes.is_same(buffers.codes));
  expect_same_tables(*again, *first);

  first->quantize(quarters(kRows, kCols, 3));
  expect_same_tables(*second, *TestFixture::quantized(3));
  EXPECT_TRUE(
      second(TestFixture::indices()).equal(TestFixture::quantized(3)(TestFixture::indices())));
  expect_same_tables(*again, *TestFixture::quantized(2));
}

TYPED_TEST(QuantizedModule, ClonesWithATableOfItsOwn) {
  for (const bool inference : {false, true}) {
    auto module = TestFixture::quantized();
    module->eval();
    const c10::InferenceMode mode(inference);
    const auto copy = std::dynamic_pointer_cast<typename TestFixture::Impl>(module->clone());
    EXPECT_FALSE(copy->is_training());
    EXPECT_TRUE(copy->named_buffers()["codes"].is_same(copy->quantized_weight().codes));
    expect_same_tables(*copy, *module);
    const at::Tensor before = module(TestFixture::indices());
    EXPECT_TRUE(copy->forward(TestFixture::indices()).equal(before));
    copy->quantized_weight().codes.zero_();
    EXPECT_FALSE(copy->forward(TestFixture::indices()).equal(before));
    EXPECT_TRUE(module(TestFixture::indices()).equal(before));
  }
}

template <typename Case>
class ParentImpl : public torch::nn::Cloneable<ParentImpl<Case>> {
 public:
  ParentImpl() { reset(); }
  void reset() override {
    child = this->register_module("child", typename Case::Holder(Case::options()));
  }
  typename Case::Holder child = nullptr;
};

TYPED_TEST(QuantizedModule, ClonesInsideItsParent) {
  auto parent = std::make_shared<ParentImpl<TypeParam>>();
  parent->child->quantize(quarters(kRows, kCols));
  const auto copy = std::dynamic_pointer_cast<ParentImpl<TypeParam>>(parent->clone());
  EXPECT_THAT(copy->named_buffers().keys(),
              ElementsAre("child.codes", "child.scales", "child.zero_points"));
  EXPECT_TRUE(copy->parameters().empty());
  expect_same_tables(*copy->child, *parent->child);
  copy->child->quantized_weight().scales.zero_();
  EXPECT_FALSE(parent->child(TestFixture::indices()).eq(0).all().template item<bool>());
  EXPECT_TRUE(copy->child(TestFixture::indices()).eq(0).all().template item<bool>());
}

TYPED_TEST(QuantizedModule, RoundTripsThroughArchives) {
  auto saved = TestFixture::quantized();
  std::stringstream archive;
  torch::save(saved, archive);
  EXPECT_LT(archive.str().size(), 8000u);

  typename TypeParam::Holder loaded(TypeParam::options());
  loaded->quantize(QuantizedWeight::zeros(kRows, kCols));
  const at::Tensor codes = loaded->named_buffers()["codes"];
  torch::load(loaded, archive);
  EXPECT_TRUE(loaded->named_buffers()["codes"].is_same(codes));
  expect_same_tables(*loaded, *saved);
  EXPECT_TRUE(loaded(TestFixture::indices()).equal(saved(TestFixture::indices())));
  EXPECT_EQ(codes.storage().nbytes(), static_cast<size_t>(kRows * (kCols + 8)));
}

TYPED_TEST(QuantizedModule, ALoadThatFailsChangesNothing) {
  auto module = TestFixture::quantized();
  std::stringstream dense, other;
  torch::save(typename TypeParam::Holder(TypeParam::options()), dense);
  auto options = TypeParam::options();
  typename TypeParam::Holder small(options.num_embeddings(kRows - 1));
  small->quantize(QuantizedWeight::zeros(kRows - 1, kCols));
  torch::save(small, other);
  EXPECT_THROW(torch::load(module, dense), c10::Error);
  EXPECT_THROW(torch::load(module, other), c10::ValueError);
  expect_same_tables(*module, *TestFixture::quantized());
}

TYPED_TEST(QuantizedModule, RoundTripsThroughSafetensors) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "winnow_quantized.safetensors";
  auto saved = TestFixture::quantized();
  save_safetensors(path, *saved);
  typename TypeParam::Holder loaded(TypeParam::options());
  loaded->quantize(QuantizedWeight::zeros(kRows, kCols));
  loaded(TestFixture::indices());
  load_safetensors(path, *loaded);
  expect_same_tables(*loaded, *saved);
  EXPECT_TRUE(loaded(TestFixture::indices()).equal(saved(TestFixture::indices())));
  std::filesystem::remove(path);
}

TYPED_TEST(QuantizedModule, StaysOnTheCpuInItsTypes) {
  auto module = TestFixture::quantized();
  module->to(torch::kDouble);
  module->to(torch::kCPU);
  module->to(torch::kCPU, torch::kHalf);
  expect_same_tables(*module, *TestFixture::quantized());
  EXPECT_EQ(module(TestFixture::indices()).scalar_type(), torch::kFloat);
  EXPECT_THAT(message_of<c10::ValueError>([&] { module->to(torch::kCUDA); }),
              HasSubstr("cannot go to cuda"));
  EXPECT_THROW(module->to(torch::kMeta, torch::kFloat), c10::ValueError);
  EXPECT_THROW(module->clone(torch::Device(torch::kMeta)), c10::ValueError);
}

TYPED_TEST(QuantizedModule, RefusesWhatDoesNotFitAndChangesNothing) {
  typename TypeParam::Holder module(TypeParam::options());
  const at::Tensor weight = module->weight;
  EXPECT_THAT(message_of<c10::ValueError>([&] { module->quantize(quarters(kRows, kCols + 1)); }),
              HasSubstr("a module of 9 x 5 cannot have a quantized table of 9 x 6"));
  EXPECT_THROW(module->quantize(QuantizedWeight()), c10::ValueError);
  EXPECT_THROW(module->quantize(std::shared_ptr<QuantizedTable>()), c10::ValueError);
  EXPECT_THROW(module->quantized_weight(), c10::ValueError);
  auto options = TypeParam::options();
  typename TypeParam::Holder scaling(options.max_norm(1.0));
  EXPECT_THAT(message_of<c10::ValueError>([&] { scaling->quantize(quarters(kRows, kCols)); }),
              HasSubstr("max_norm"));
  EXPECT_FALSE(module->is_quantized() || scaling->is_quantized());
  EXPECT_TRUE(module->named_parameters()["weight"].is_same(weight));

  auto quantized = TestFixture::quantized();
  quantized->options.max_norm(1.0);  // afterwards
  EXPECT_THROW(quantized(TestFixture::indices()), c10::ValueError);
  EXPECT_THROW(quantized->reset_parameters(), c10::ValueError);
  EXPECT_THROW(quantized->quantize(quarters(kRows, kCols)), c10::ValueError);
  EXPECT_THROW(register_parametrization(*quantized, "weight",
                                        std::make_shared<FakeSparsity>(torch::ones({9, 5}))),
               KeyError);
  testing::FirstRowSparsifier sparsifier;
  EXPECT_THAT(message_of<AssertionError>([&] { sparsifier.add_data("x", quantized); }),
              HasSubstr("specified data type quantized"));
}

/// The ways in which a name of a module can be taken.
std::vector<std::function<void(torch::nn::Module&, const std::string&)>> ways_to_take_a_name() {
  using torch::nn::Module;
  return {
      [](Module& module, const std::string& name) { module.register_buffer(name, at::Tensor()); },
      [](Module& module, const std::string& name) {
        module.register_parameter(name, at::Tensor(), /*requires_grad=*/false);
      },
      [](Module& module, const std::string& name) {
        module.register_buffer(name, torch::ones({2}));
      },
      [](Module& module, const std::string& name) {
        module.register_parameter(name, torch::ones({2}));
      },
      [](Module& module, const std::string& name) {
        module.register_module(name, torch::nn::Identity());
      },
      [](Module& module, const std::string& name) {
        module.register_buffer(name, torch::ones({2}));
        register_parametrization(module, name, std::make_shared<FakeSparsity>(torch::ones({2})));
      }};
}

TYPED_TEST(QuantizedModule, RefusesWhereANameIsTakenAndChangesNothing) {
  for (const auto& take : ways_to_take_a_name()) {
    for (const std::string name : {"codes", "scales", "zero_points"}) {
      typename TypeParam::Holder module(TypeParam::options());
      const at::Tensor weight = module->weight;
      take(*module, name);
      const auto buffers = module->named_buffers().keys();
      EXPECT_THAT(message_of<c10::ValueError>([&] { module->quantize(quarters(kRows, kCols)); }),
                  HasSubstr("'" + name + "'"));
      EXPECT_FALSE(module->is_quantized());
      EXPECT_TRUE(module->weight.is_same(weight));
      EXPECT_TRUE(module->named_parameters()["weight"].is_same(weight));
      EXPECT_EQ(module->named_buffers().keys(), buffers);
    }
  }
}

TYPED_TEST(QuantizedModule, RefusesWhereItsWeightOutgrewItsOptionsAndChangesNothing) {
  typename TypeParam::Holder module(TypeParam::options());
  const at::Tensor weight = module->weight;
  weight.set_data(torch::cat({weight.detach(), torch::ones({1, kCols})}));
  EXPECT_THAT(message_of<c10::ValueError>([&] { module->quantize(quantize_rows(weight)); }),
              HasSubstr("a module of 9 x 5 cannot have a quantized table of 10 x 5"));
  EXPECT_FALSE(module->is_quantized());
  EXPECT_TRUE(module->named_parameters()["weight"].is_same(weight));
}

TYPED_TEST(QuantizedModule, ManyThreadsMayLookUpAtTheSameTime) {
  auto module = TestFixture::quantized();
  module->quantized_weight().scales.mul_(2);  // the first of them lays the table out anew
  const at::Tensor expected = TestFixture::quantized()(TestFixture::indices()) * 2;
  std::atomic<int> equal = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) equal += module(TestFixture::indices()).equal(expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, 200);
}

TYPED_TEST(QuantizedModule, WarnsOfNothing) {
  const testing::CapturedWarnings warnings;
  auto module = TestFixture::quantized();
  module(TestFixture::indices());
  module->storage()->weight();
  std::stringstream archive;
  torch::save(module, archive);
  torch::load(module, archive);
  module->clone();
  EXPECT_THAT(warnings.messages(), IsEmpty());
}

}  // namespace
}  // namespace winnow::nn
