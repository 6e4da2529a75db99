// What torch.ao's test_data_sparsifier.py checks of the sparsifiers, written anew: the same checks
// on the same kinds of data. Its value loop of check_sparsity_level never runs there; it does here.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "winnow/torch/data_norm_sparsifier.h"

namespace winnow {
namespace {

using testing::CapturedWarnings;
using testing::FirstRowSparsifier;

/// A piece of data and the configuration it is added with.
struct Item {
  std::string name;
  Data data;
  NamedValues config;
};

struct Case {
  std::string title;
  NamedValues defaults;
  std::vector<Item> items;
};

at::Tensor weight_of(const Data& data) {
  return data.module() == nullptr ? data.tensor() : data.module()->named_parameters()["weight"];
}

at::Tensor parameter(at::IntArrayRef shape) { return torch::randn(shape, torch::requires_grad()); }

std::vector<Case> base_cases() {
  const NamedValues defaults{{"test", 3}}, own{{"test", 4}};
  return {
      {"tensors",
       defaults,
       {{"tensor1", torch::randn({3, 3}), {}},
        {"tensor2", torch::randn({4, 4}), {}},
        {"tensor3", torch::randn({5, 5}), {}},
        {"tensor4", torch::randn({1, 1}), own},
        {"tensor5", torch::randn({4, 4}), {{"test", 5}}}}},
      {"nn_parameters",
       defaults,
       {{"param1", parameter({3, 3}), {}},
        {"param2", parameter({4, 4}), {}},
        {"param3", parameter({5, 5}), {}},
        {"param4", parameter({1, 1}), own},
        {"param5", parameter({4, 4}), {{"test", 5}}}}},
      {"nn_embeddings",
       defaults,
       {{"emb1", torch::nn::Embedding(10, 3), {}},
        {"emb2", torch::nn::Embedding(20, 3), {}},
        {"emb3", torch::nn::Embedding(15, 3), own},
        {"emb1_bag", torch::nn::EmbeddingBag(10, 3), {}},
        {"emb2_bag", torch::nn::EmbeddingBag(20, 3), {}},
        {"emb3_bag", torch::nn::EmbeddingBag(20, 3), {{"test", 5}}}}},
  };
}

std::vector<Case> norm_cases() {
  const NamedValues defaults;
  const auto own = [](double level) {
    return NamedValues{
        {"sparsity_level", level}, {"sparse_block_shape", {2, 3}}, {"zeros_per_block", 6}};
  };
  return {
      {"tensors",
       defaults,
       {{"tensor1", torch::randn({1, 10}), {}},
        {"tensor2", torch::randn({4, 4}), {}},
        {"tensor3", torch::randn({8, 8}), own(0.7)},
        {"tensor4", torch::randn({6, 9}), own(0.3)}}},
      {"nn_parameters",
       defaults,
       {{"param1", parameter({2, 10}), {}},
        {"param2", parameter({4, 4}), {}},
        {"param3", parameter({8, 8}), own(0.7)},
        {"param4", parameter({6, 9}), own(0.3)}}},
      {"nn_embeddings",
       defaults,
       {{"emb1", torch::nn::Embedding(10, 3), {}},
        {"emb2", torch::nn::Embedding(20, 3), own(0.7)},
        {"emb1_bag", torch::nn::EmbeddingBag(10, 3), {}},
        {"emb2_bag", torch::nn::EmbeddingBag(20, 3), own(0.3)}}},
  };
}

using Make = std::function<std::unique_ptr<BaseDataSparsifier>()>;

std::unique_ptr<BaseDataSparsifier> filled(const Make& make, const Case& c) {
  auto sparsifier = make();
  for (const Item& item : c.items) {
    sparsifier->add_data(item.name, item.data, {.config = item.config});
  }
  return sparsifier;
}

void expect_config(const BaseDataSparsifier& sparsifier, const Item& item) {
  NamedValues expected = sparsifier.defaults();
  expected.update(item.config);
  const NamedValues& group = sparsifier.data_group(item.name);
  ASSERT_EQ(group.size(), expected.size());
  for (const auto& entry : expected) {
    EXPECT_EQ(to_text(group.at(entry.name)), to_text(entry.value)) << item.name;
  }
}

void check_constructor(const Make& make, const Case& c) {
  const auto sparsifier = filled(make, c);
  EXPECT_EQ(sparsifier->names().size(), c.items.size());
  for (const Item& item : c.items) expect_config(*sparsifier, item);
}

void check_squash_mask(const Make& make, const Case& c) {
  const auto sparsifier = filled(make, c);
  for (const Item& item : c.items) EXPECT_TRUE(sparsifier->is_parametrized(item.name));
  sparsifier->step();
  sparsifier->squash_mask();
  for (const Item& item : c.items) {
    EXPECT_FALSE(sparsifier->is_parametrized(item.name));
    EXPECT_THROW(sparsifier->get_data(item.name), c10::ValueError);
    EXPECT_TRUE(sparsifier->get_data(item.name, false).is_same(weight_of(item.data)));
  }
}

void check_add_data(const Make& make, const Case& c) {
  const auto sparsifier = filled(make, c);
  for (const Item& item : c.items) {
    const at::Tensor weight = weight_of(item.data);
    EXPECT_TRUE(sparsifier->get_data(item.name).equal(weight));
    sparsifier->step();
    const at::Tensor mask = sparsifier->get_mask(item.name).clone(), before = weight.clone();
    const at::Tensor fresh = torch::randn(weight.sizes());
    sparsifier->add_data(item.name, fresh);
    EXPECT_TRUE(sparsifier->get_data(item.name).equal(fresh));
    EXPECT_TRUE(sparsifier->get_mask(item.name).equal(mask));
    EXPECT_TRUE(weight.equal(before));
    expect_config(*sparsifier, item);
  }
}

void check_state_dict(const Make& make, const Case& c) {
  const auto sparsifier = filled(make, c);
  sparsifier->step();
  const DataSparsifierState state = sparsifier->state_dict({.mask_format = MaskFormat::kTorchAo});
  const auto loaded = make();
  loaded->add_data("other", torch::randn({4, 4}));
  loaded->load_state_dict(state);
  EXPECT_EQ(loaded->names(), sparsifier->names());
  for (const Item& item : c.items) {
    EXPECT_TRUE(state.state[item.name].get<at::Tensor>("mask").is_sparse());
    EXPECT_EQ(loaded->get_mask(item.name).layout(), at::kStrided);
    EXPECT_TRUE(loaded->get_mask(item.name).equal(sparsifier->get_mask(item.name)));
    EXPECT_TRUE(loaded->get_data(item.name).equal(sparsifier->get_data(item.name)));
    EXPECT_TRUE(loaded->get_data(item.name, false).equal(sparsifier->get_data(item.name, false)));
    EXPECT_EQ(loaded->is_parametrized(item.name), sparsifier->is_parametrized(item.name));
    expect_config(*loaded, item);
  }
}

void check_memory_reference(const Make& make, const Case& c) {
  const auto sparsifier = filled(make, c);
  for (const Item& item : c.items) {
    const at::Tensor weight = weight_of(item.data);
    weight.set_data(weight.detach() + torch::randn(weight.sizes()));
    EXPECT_EQ(sparsifier->get_data(item.name).data_ptr(), weight.data_ptr());
    EXPECT_TRUE(sparsifier->get_data(item.name).equal(weight));
  }
}

void check_all(const Make& make, const Case& c) {
  SCOPED_TRACE(c.title);
  CapturedWarnings warnings;
  check_constructor(make, c);
  check_add_data(make, c);
  check_state_dict(make, c);
  check_memory_reference(make, c);
  check_squash_mask(make, c);  // last: it changes the data
}

void check_first_row_step(const Make& make, const Case& c) {
  const auto sparsifier = filled(make, c);
  for (const Item& item : c.items) {
    const at::Tensor weight = weight_of(item.data);
    EXPECT_TRUE(sparsifier->get_data(item.name, false).equal(weight));
    EXPECT_TRUE(sparsifier->get_data(item.name).equal(weight));
    EXPECT_TRUE(sparsifier->get_mask(item.name)[0].equal(torch::ones_like(weight[0])));
  }
  for (int i = 0; i < 3; ++i) sparsifier->step();
  for (const Item& item : c.items) {
    EXPECT_EQ(sparsifier->get_data(item.name, false)[0].count_nonzero().item<int64_t>(), 0);
    EXPECT_EQ(sparsifier->get_mask(item.name)[0].count_nonzero().item<int64_t>(), 0);
    EXPECT_TRUE(sparsifier->get_data(item.name).equal(weight_of(item.data)));
    EXPECT_EQ(sparsifier->state(item.name).get<int64_t>("step_count"), 3);
  }
}

TEST(TestBaseDataSparsifier, TestTensorsParametersAndEmbeddings) {
  for (const Case& c : base_cases()) {
    const Make make = [&] { return std::make_unique<FirstRowSparsifier>(c.defaults); };
    check_first_row_step(make, c);
    check_all(make, c);
  }
}

Make norm_maker(Norm norm) {
  return [norm] {
    return std::make_unique<DataNormSparsifier>(DataNormSparsifierOptions{.norm = norm});
  };
}

/// Zeros of `mask` lie between those of the fewest and the most values that its blocks can hold.
void expect_ratio(const BaseDataSparsifier& sparsifier, const Item& item) {
  const at::Tensor mask = sparsifier.get_mask(item.name);
  const NamedValues& group = sparsifier.data_group(item.name);
  const auto block = group.at("sparse_block_shape").toTupleRef().elements();
  const int64_t bh = block[0].toInt(), bw = block[1].toInt();
  const int64_t blocks = ((mask.size(0) + bh - 1) / bh) * ((mask.size(1) + bw - 1) / bw);
  const auto fallen = static_cast<double>(blocks) * group.get<double>("sparsity_level");
  const auto zeros = static_cast<double>(mask.numel() - mask.sum().item<int64_t>());
  EXPECT_GT(zeros, 0) << item.name;
  EXPECT_GE(zeros, std::floor(fallen)) << item.name;  // a clipped block holds one value at least
  EXPECT_LE(zeros, std::ceil(fallen) * static_cast<double>(bh * bw)) << item.name;
}

void check_norm_step(const Make& make, const Case& c) {
  CapturedWarnings warnings;
  const auto sparsifier = filled(make, c);
  for (const Item& item : c.items) {
    EXPECT_EQ(sparsifier->get_mask(item.name).to(at::kDouble).mean().item<double>(), 1);
  }
  sparsifier->step();
  for (const Item& item : c.items) expect_ratio(*sparsifier, item);
  sparsifier->add_data("again", torch::randn({20, 20}));
  for (int i = 0; i < 100; ++i) {
    sparsifier->add_data("again", torch::randn({20, 20}));
    sparsifier->step();
    EXPECT_LT(sparsifier->get_mask("again").sum().item<int64_t>(), 400);
  }
}

void check_step_2_of_4(Norm norm) {
  DataNormSparsifier sparsifier({.sparsity_level = 1.0, .zeros_per_block = 2, .norm = norm});
  sparsifier.add_data("x", torch::randn({4, 4}));
  sparsifier.step();
  const at::Tensor kept = sparsifier.get_mask("x").reshape({4, 4}).sum(1);
  EXPECT_TRUE(kept.equal(torch::full({4}, 2, torch::kLong))) << kept;
}

void check_sparsity_level(Norm norm) {
  for (const double level : {-1.0, 0.0, 0.5, 1.0, 2.0}) {
    for (const auto& [rows, cols] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {1, 4}, {2, 2}, {4, 1}}) {
      for (int64_t zeros = 0; zeros <= rows * cols; ++zeros) {
        DataNormSparsifier sparsifier({.sparsity_level = level,
                                       .sparse_block_shape = {rows, cols},
                                       .zeros_per_block = zeros,
                                       .norm = norm});
        const at::Tensor data = torch::rand({4, 4}) + 1;  // no zeros of its own
        sparsifier.add_data("x", data);
        sparsifier.step();
        sparsifier.squash_mask();
        const double dropped = 16 - data.count_nonzero().item<double>();
        EXPECT_EQ(dropped / 16, std::clamp(level, 0.0, 1.0) * static_cast<double>(zeros) /
                                    static_cast<double>(rows * cols))
            << level << " " << rows << "x" << cols << " " << zeros;
      }
    }
  }
}

TEST(TestNormDataSparsifiers, TestTensorsParametersAndEmbeddings) {
  for (const Norm norm : {Norm::kL1, Norm::kL2}) {
    for (const Case& c : norm_cases()) {
      check_norm_step(norm_maker(norm), c);
      check_all(norm_maker(norm), c);
    }
  }
}

TEST(TestNormDataSparsifiers, TestStep2Of4AndSparsityLevel) {
  for (const Norm norm : {Norm::kL1, Norm::kL2}) {
    check_step_2_of_4(norm);
    check_sparsity_level(norm);
  }
}

}  // namespace
}  // namespace winnow
