// Replays tests/data/trace.json, whose levels, masks and states make_trace.py computes on its own.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "torch/captured_warnings.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/schedules.h"
#include "winnow/torch/torch_file.h"

namespace winnow {
namespace {

using nlohmann::json;

at::Tensor traced_tensor(const json& data, int64_t seed) {
  const auto shape = data["shape"].get<std::vector<int64_t>>();
  const at::Tensor i = torch::arange(c10::multiply_integers(shape), at::kLong);
  const at::Tensor numbers = (7919 * i * i + 389 * i + 77 + 31 * seed).remainder(97) - 48;
  const std::map<std::string, at::ScalarType> types = {{"float32", at::kFloat},
                                                       {"float64", at::kDouble},
                                                       {"float16", at::kHalf},
                                                       {"bfloat16", at::kBFloat16}};
  return numbers.reshape(shape).to(types.at(data["dtype"]));
}

int64_t traced_side(const json& side) { return side == -1 ? kWholeDimension : side.get<int64_t>(); }

std::unique_ptr<DataNormSparsifier> traced_sparsifier(const json& c) {
  DataNormSparsifierOptions options{
      .sparsity_level = c["sparsity_level"],
      .sparse_block_shape = {traced_side(c["sparse_block_shape"][0]),
                             traced_side(c["sparse_block_shape"][1])},
      .norm = c["norm"] == "L1" ? Norm::kL1 : Norm::kL2,
      .scope = c["scope"] == "global" ? Scope::kGlobal : Scope::kTensor};
  if (c["zeros_per_block"] != -1) options.zeros_per_block = c["zeros_per_block"].get<int64_t>();
  auto sparsifier = std::make_unique<DataNormSparsifier>(options);
  for (size_t i = 0; i < c["data"].size(); ++i) {
    const json& data = c["data"][i];
    NamedValues config;
    for (const auto& [key, value] : data["config"].items()) config.set(key, value.get<double>());
    sparsifier->add_data(data["name"], traced_tensor(data, static_cast<int64_t>(i)),
                         {.config = config});
  }
  return sparsifier;
}

std::unique_ptr<BaseDataScheduler> traced_scheduler(BaseDataSparsifier& sparsifier, const json& s) {
  if (s.is_null()) return nullptr;
  const std::string param = s["param"];
  const int64_t begin = s["begin_step"], end = s["end_step"];
  if (s["kind"] == "lambda") {
    const auto factors = s["factors"].get<std::vector<double>>();
    return std::make_unique<LambdaDataScheduler>(
        sparsifier, LambdaDataSchedulerOptions{.schedule_param = param,
                                               .factor = [=](int64_t t) { return factors.at(t); },
                                               .begin_step = begin,
                                               .end_step = end});
  }
  if (s["kind"] == "step") {
    return std::make_unique<StepDataScheduler>(sparsifier,
                                               StepDataSchedulerOptions{.schedule_param = param,
                                                                        .gamma = s["gamma"],
                                                                        .step_size = s["step_size"],
                                                                        .begin_step = begin,
                                                                        .end_step = end});
  }
  CubicDataSchedulerOptions options{.schedule_param = param,
                                    .initial_value = s["initial_value"],
                                    .begin_step = begin,
                                    .end_step = end};
  if (!s["final_value"].is_null()) options.final_value = s["final_value"].get<double>();
  if (s["kind"] == "linear") return std::make_unique<LinearDataScheduler>(sparsifier, options);
  options.power = s["power"];
  return std::make_unique<CubicDataScheduler>(sparsifier, options);
}

std::string traced_digits(const at::Tensor& mask) {
  std::string digits;
  const at::Tensor flat = mask.to(at::kChar).flatten();
  for (int64_t i = 0; i < flat.numel(); ++i) digits += flat[i].item<int>() != 0 ? '1' : '0';
  return digits;
}

void expect_epoch(const BaseDataSparsifier& sparsifier, const json& schedule, const json& epoch) {
  for (const auto& [name, value] : epoch["values"].items()) {
    const c10::IValue& found = sparsifier.data_group(name).at(schedule["param"].get<std::string>());
    EXPECT_EQ(found.isInt(), value.is_number_integer()) << name;
    EXPECT_EQ(found.toScalar().toDouble(), value.get<double>()) << name;  // to the last bit
  }
  for (const auto& [name, digits] : epoch["masks"].items()) {
    EXPECT_EQ(traced_digits(sparsifier.get_mask(name)), digits) << name;
  }
}

void expect_state(const DataNormSparsifier& sparsifier, const json& c) {
  DataSparsifierState state = sparsifier.state_dict();
  for (const auto& [name, packed] : c["state"].items()) {
    const NamedValues& entry = state.state[name];
    const at::Tensor bits =
        torch::tensor(packed["mask_bits"].get<std::vector<int64_t>>(), at::kByte);
    EXPECT_TRUE(entry.get<at::Tensor>("mask_bits").equal(bits)) << name;
    EXPECT_EQ(entry.get<std::string>("mask_dtype"), packed["mask_dtype"]) << name;
    state.state[name].set("mask_bits", bits);  // what is loaded below is the trace's
  }
  DataNormSparsifier loaded;
  loaded.load_state_dict(state);
  for (const auto& [name, digits] : c["trace"].back()["masks"].items()) {
    EXPECT_EQ(traced_digits(loaded.get_mask(name)), digits) << name;
  }
}

json traced_cases() { return json::parse(std::ifstream(WINNOW_TEST_DATA "/trace.json")); }

/// The sparsifier after the last epoch of a case, each of which is compared.
std::unique_ptr<DataNormSparsifier> replayed(const json& c) {
  auto sparsifier = traced_sparsifier(c);
  const auto scheduler = traced_scheduler(*sparsifier, c["schedule"]);
  for (size_t epoch = 0; epoch < c["trace"].size(); ++epoch) {
    SCOPED_TRACE("epoch " + std::to_string(epoch));
    if (scheduler != nullptr && epoch > 0) scheduler->step();
    sparsifier->step();
    expect_epoch(*sparsifier, c["schedule"], c["trace"][epoch]);
  }
  return sparsifier;
}

std::string bytes_in(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Trace, LevelsMasksAndStatesAreThoseOfThePlainComputation) {
  const testing::CapturedWarnings warnings;
  const json cases = traced_cases();
  ASSERT_GT(cases.size(), 8u);
  for (const json& c : cases) {
    SCOPED_TRACE(c["name"].get<std::string>());
    expect_state(*replayed(c), c);
  }
}

// tests/data/trace_state.pt is what this writes; the Python suite loads it.
TEST(Trace, TheDefaultStateIsTheFileThatPythonLoads) {
  const testing::CapturedWarnings warnings;
  for (const json& c : traced_cases()) {
    if (c["name"] != "global") continue;
    const std::string path = ::testing::TempDir() + "trace_state.pt";
    save_torch_file(path, to_value(replayed(c)->state_dict()));
    EXPECT_TRUE(bytes_in(path) == bytes_in(WINNOW_TEST_DATA "/trace_state.pt")) << path;
  }
}

}  // namespace
}  // namespace winnow
