// The cases of tests/data/golden_data.json that concern the sparsifiers: upstream's values, and
// ours where we differ.
#include "support/golden.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <nlohmann/json.hpp>

#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "winnow/torch/data_norm_sparsifier.h"

namespace winnow {
namespace {

using nlohmann::json;
using testing::counting;
using ::testing::ElementsAreArray;
using testing::FirstRowSparsifier;
using testing::golden;
using testing::golden_number;

at::ScalarType dtype_of(const std::string& name) {
  static const std::map<std::string, at::ScalarType> types = {
      {"float32", at::kFloat},     {"float64", at::kDouble}, {"float16", at::kHalf},
      {"bfloat16", at::kBFloat16}, {"int8", at::kChar},      {"uint8", at::kByte},
      {"int32", at::kInt},         {"int64", at::kLong},     {"bool", at::kBool}};
  return types.at(name);
}

at::Tensor tensor_of(const json& values, std::vector<int64_t> shape, at::ScalarType dtype) {
  std::vector<double> numbers;
  for (const json& value : values) numbers.push_back(golden_number(value));
  return torch::tensor(numbers, torch::kDouble).reshape(shape).to(dtype);
}

template <typename T>
std::vector<T> flat(const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().to(c10::CppTypeToScalarType<T>::value).contiguous();
  return {values.data_ptr<T>(), values.data_ptr<T>() + values.numel()};
}

/// The settings of a case, as the configuration of one piece of data.
NamedValues config_of(const json& c) {
  return {{"sparsity_level", golden_number(c["level"])},
          {"sparse_block_shape", {c["block"][0].get<int64_t>(), c["block"][1].get<int64_t>()}},
          {"zeros_per_block", c["zeros_per_block"].get<int64_t>()}};
}

std::unique_ptr<DataNormSparsifier> sparsifier_of(const json& c, const at::Tensor& data) {
  auto sparsifier = std::make_unique<DataNormSparsifier>(
      DataNormSparsifierOptions{.norm = c["norm"] == "L1" ? Norm::kL1 : Norm::kL2});
  sparsifier->add_data("x", data, {.config = config_of(c)});
  sparsifier->step();
  return sparsifier;
}

void expect_case(const json& c) {
  SCOPED_TRACE(c["id"].get<std::string>());
  const auto shape = c["shape"].get<std::vector<int64_t>>();
  const at::Tensor data = tensor_of(c["data"], shape, dtype_of(c["dtype"]));
  const json& expected = c.contains("recommended") ? c["recommended"] : c["upstream"];
  if (expected.contains("error")) {
    EXPECT_THROW(sparsifier_of(c, data), c10::ValueError);
    return;
  }
  const auto sparsifier = sparsifier_of(c, data);
  sparsifier->add_data("x", data, {.reuse_mask = true});  // the same tensor once more
  sparsifier->step();                                     // idempotent
  const at::Tensor mask = sparsifier->get_mask("x");
  EXPECT_EQ(mask.scalar_type(), at::kChar);
  EXPECT_EQ(mask.sizes(), shape);
  EXPECT_TRUE(mask.is_contiguous());
  EXPECT_THAT(flat<int64_t>(mask), ElementsAreArray(expected["mask"].get<std::vector<int64_t>>()));
  at::Tensor masked = mask * data;
  if (c["upstream"].contains("sparsified") && !c.contains("recommended")) {
    masked = tensor_of(c["upstream"]["sparsified"], shape, data.scalar_type());
  }
  const auto expect_masked = [&](const at::Tensor& values) {
    EXPECT_TRUE(at::allclose(values, masked, 0, 0, /*equal_nan=*/true)) << values << masked;
  };
  expect_masked(sparsifier->get_data("x", false));
  sparsifier->squash_mask();
  expect_masked(data);
}

TEST(GoldenSparsifier, ProducesTorchAoMasks) {
  testing::CapturedWarnings warnings;
  for (const json& c : golden()["mask_cases"]) expect_case(c);
}

TEST(GoldenSparsifier, ProducesTorchAoMasksOfTheLargeCases) {
  const at::Tensor i = torch::arange(24 * 40, torch::kLong);
  const at::Tensor data =
      (((7919 * i * i + 389 * i + 77) % 100003 - 50001).to(torch::kDouble) / 4096)
          .to(torch::kFloat)
          .reshape({24, 40});
  for (const json& c : golden()["large_cases"]) {
    SCOPED_TRACE(c["id"].get<std::string>());
    std::vector<int64_t> expected;
    for (const json& row : c["rows"]) {
      for (const char digit : row.get<std::string>()) expected.push_back(digit - '0');
    }
    const auto sparsifier = sparsifier_of(c, data.clone());
    EXPECT_THAT(flat<int64_t>(sparsifier->get_mask("x")), ElementsAreArray(expected));
  }
}

TEST(GoldenSparsifier, RoundsTheNumberOfBlocksHalfToEven) {
  for (const json& c : golden()["rounding"]) {
    const auto blocks = c["num_blocks"].get<int64_t>();
    DataNormSparsifier sparsifier(
        {.sparsity_level = c["level"].get<double>(), .sparse_block_shape = {1, 1}});
    sparsifier.add_data("x", counting({blocks, 1}));
    sparsifier.step();
    EXPECT_EQ(blocks - sparsifier.get_mask("x").sum().item<int64_t>(),
              c["zeroed_blocks"].get<int64_t>())
        << c;
  }
}

void expect_group(const NamedValues& group, const json& expected) {
  EXPECT_EQ(group.size(), expected.size());
  for (const auto& [key, value] : expected.items()) {
    if (value.is_array()) {
      EXPECT_EQ(to_text(group.at(key)),
                c10::str("(", value[0].get<int64_t>(), ", ", value[1].get<int64_t>(), ")"));
    } else {
      EXPECT_EQ(group.get<double>(key), value.get<double>()) << key;
    }
  }
}

const json& config_case(const std::string& id) {
  for (const json& c : golden()["config_cases"]) {
    if (c["id"] == id) return c;
  }
  throw std::out_of_range(id);
}

// The data and configurations behind the three config cases of one sparsifier.
TEST(GoldenSparsifier, MergesConfigsAsTorchAoDoes) {
  testing::CapturedWarnings warnings;
  DataNormSparsifier sparsifier({.sparsity_level = 0.7, .sparse_block_shape = {1, 4}});
  sparsifier.add_data("t", counting({4, 4}));
  sparsifier.add_data("u", counting({4, 4}), {.config = {{"sparsity_level", 0.3}, {"extra", 5}}});
  const json& groups = config_case("defaults_and_override")["groups"];
  expect_group(sparsifier.data_group("t"), groups["t"]);
  expect_group(sparsifier.data_group("u"), groups["u"]);

  sparsifier.step();
  const at::Tensor mask = sparsifier.get_mask("u");
  const at::Tensor reversed = torch::flip(counting({4, 4}).reshape({4, 4}), {0});
  sparsifier.add_data("u", reversed, {.config = {{"zeros_per_block", 2}}});
  const at::Tensor returned = sparsifier.get_data("u", /*return_original=*/false);
  const json& replaced = config_case("replace_keeps_old_config_and_mask");
  EXPECT_THAT(sparsifier.names(),
              ElementsAreArray(replaced["order"].get<std::vector<std::string>>()));
  expect_group(sparsifier.data_group("u"), replaced["group_u"]);
  EXPECT_EQ(sparsifier.get_mask("u").is_same(mask), replaced["same_mask_object"].get<bool>());
  EXPECT_THAT(flat<float>(returned),
              ElementsAreArray(replaced["returned"].get<std::vector<float>>()));
  EXPECT_THAT(flat<int64_t>(mask), ElementsAreArray(replaced["mask"].get<std::vector<int64_t>>()));

  const json& fresh = config_case("replace_reuse_mask_false");
  sparsifier.add_data("u", counting({2, 2}), {.reuse_mask = false});
  expect_group(sparsifier.data_group("u"), fresh["group_u"]);
  EXPECT_THAT(flat<float>(sparsifier.get_mask("u")),
              ElementsAreArray(fresh["mask"].get<std::vector<float>>()));
}

TEST(GoldenSparsifier, ResolvesZerosPerBlockAndCountsSteps) {
  const json& resolved = config_case("ctor_zeros_per_block_none");
  const DataNormSparsifier sparsifier({.sparse_block_shape = {2, 3}});
  expect_group(sparsifier.defaults(), resolved["defaults"]);

  const json& stepped = config_case("first_row_sparsifier_3_steps");
  FirstRowSparsifier first_row({{"test", 3}});
  first_row.add_data("x", counting({3, 3}));
  for (int i = 0; i < 3; ++i) first_row.step();
  EXPECT_THAT(flat<float>(first_row.get_mask("x")),
              ElementsAreArray(stepped["mask"].get<std::vector<float>>()));
  EXPECT_EQ(first_row.get_mask("x").scalar_type(), at::kChar);  // upstream: that of the data
  EXPECT_EQ(first_row.state("x").get<int64_t>("step_count"), stepped["step_count"]);
  expect_group(first_row.data_group("x"), stepped["group"]);
}

TEST(GoldenSparsifier, SquashesAsTorchAoDoes) {
  const json& kept = golden()["squash_case"];
  const at::Tensor data = counting({4, 4}), view = data.view({16});
  DataNormSparsifier sparsifier;
  sparsifier.add_data("x", data);
  sparsifier.step();
  EXPECT_THAT(sparsifier.state_dict().container.keys(),
              ElementsAreArray(kept["container_keys_before"].get<std::vector<std::string>>()));
  sparsifier.squash_mask();
  EXPECT_THAT(sparsifier.state_dict().container.keys(),
              ElementsAreArray(kept["container_keys_after"].get<std::vector<std::string>>()));
  EXPECT_THAT(flat<float>(data), ElementsAreArray(kept["tensor_after"].get<std::vector<float>>()));
  // Upstream gives the tensor another storage: views of it keep kept["older_view_after"].
  EXPECT_TRUE(view.equal(data.view({16})));
  EXPECT_EQ(sparsifier.get_data("x", false).is_same(data), kept["same_tensor_object"].get<bool>());

  const json& left = golden()["squash_leave_false"];
  const at::Tensor other = counting({4, 4});
  DataNormSparsifier second;
  second.add_data("x", other);
  second.step();
  second.squash_mask(second.names(), /*leave_parametrized=*/false);
  EXPECT_THAT(flat<float>(other), ElementsAreArray(left["tensor_after"].get<std::vector<float>>()));
  EXPECT_THAT(second.state_dict().container.keys(),
              ElementsAreArray(left["container_keys_after"].get<std::vector<std::string>>()));
  EXPECT_TRUE(second.state_dict().state["x"].contains("mask_bits"));
}

DataSparsifierState golden_state() {
  DataNormSparsifier sparsifier;
  sparsifier.add_data("t", counting({4, 4}));
  sparsifier.add_data("p", counting({4, 4}).requires_grad_());
  sparsifier.add_data("z", torch::ones({1, 4}), {.config = {{"sparsity_level", 0.1}}});
  sparsifier.step();
  sparsifier.squash_mask({"z"});
  return sparsifier.state_dict({.mask_format = MaskFormat::kTorchAo});
}

TEST(GoldenSparsifier, StateDictIsThatOfTorchAo) {
  const json& c = golden()["state_dict_case"];
  const DataSparsifierState state = golden_state();
  EXPECT_EQ(state.state.size(), c["state"].size());
  for (const auto& item : state.state) {
    const json& expected = c["state"][item.key()]["mask"];
    const auto mask = item.value().get<at::Tensor>("mask");
    EXPECT_TRUE(mask.is_sparse() && mask.is_coalesced());
    EXPECT_EQ(mask.sizes(), expected["size"].get<std::vector<int64_t>>());
    EXPECT_EQ(mask._nnz(), expected["nnz"].get<int64_t>());
    for (int64_t d = 0; d < 2; ++d) {
      EXPECT_THAT(flat<int64_t>(mask.indices()[d]),
                  ElementsAreArray(expected["indices"][d].get<std::vector<int64_t>>()));
    }
    EXPECT_EQ(mask.values().scalar_type(), dtype_of(expected["values_dtype"]));
    EXPECT_THAT(flat<int64_t>(mask.values()),
                ElementsAreArray(expected["values"].get<std::vector<int64_t>>()));
    expect_group(state.data_groups[item.key()], c["data_groups"][item.key()]);
  }
  EXPECT_EQ(state.container.size(), c["_container"].size());
  for (const auto& item : state.container) {
    EXPECT_THAT(flat<float>(item.value()),
                ElementsAreArray(c["_container"][item.key()].get<std::vector<float>>()));
  }
}

TEST(GoldenSparsifier, LoadsStateAsTorchAoDoes) {
  const json& strict = golden()["state_dict_case"]["after_strict_load"];
  const DataSparsifierState state = golden_state();
  DataNormSparsifier loaded({.sparsity_level = strict["defaults_level"].get<double>()});
  loaded.add_data("old", counting({2, 2}));
  loaded.load_state_dict(state);
  EXPECT_THAT(flat<int64_t>(loaded.get_mask("t")),
              ElementsAreArray(strict["mask_t"].get<std::vector<int64_t>>()));
  EXPECT_EQ(loaded.get_mask("t").scalar_type(), dtype_of(strict["mask_dtype"]));
  EXPECT_EQ(loaded.defaults().get<double>("sparsity_level"),
            strict["defaults_level"].get<double>());
  EXPECT_EQ(loaded.container()->named_parameters().is_empty(),
            !strict["p_is_parameter"].get<bool>());
  EXPECT_THAT(loaded.state_dict().container.keys(),
              ElementsAreArray(strict["container_keys"].get<std::vector<std::string>>()));

  const json& lenient = golden()["state_dict_case"]["after_non_strict_load_into_o"];
  DataNormSparsifier other;
  other.add_data("o", counting({2, 2}));
  other.load_state_dict(state, /*strict=*/false);
  const DataSparsifierState merged = other.state_dict();
  EXPECT_THAT(merged.state.keys(),
              ElementsAreArray(lenient["state_order"].get<std::vector<std::string>>()));
  EXPECT_THAT(merged.data_groups.keys(),
              ElementsAreArray(lenient["groups_order"].get<std::vector<std::string>>()));
  EXPECT_THAT(merged.container.keys(),
              ElementsAreArray(lenient["container_keys"].get<std::vector<std::string>>()));
}

TEST(GoldenSparsifier, PrintsAsTorchAoDoes) {
  DataNormSparsifier sparsifier;
  EXPECT_EQ(sparsifier.text(), golden()["repr"]["empty"].get<std::string>());
  sparsifier.add_data("t", counting({4, 4}));
  EXPECT_EQ(sparsifier.text(), golden()["repr"]["one"].get<std::string>());
}

}  // namespace
}  // namespace winnow
