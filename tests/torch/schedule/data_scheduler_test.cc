#include "winnow/torch/data_scheduler.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "support/golden.h"
#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/schedules.h"

namespace winnow {
namespace {

using nlohmann::json;
using testing::CapturedWarnings;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;

/// The scheduler of upstream's tests: the base at epoch 0, then half of what is there.
class Halving : public BaseDataScheduler {
 public:
  explicit Halving(BaseDataSparsifier& sparsifier, const DataSchedulerOptions& options = {})
      : BaseDataScheduler(sparsifier, options) {
    start();
  }

 protected:
  ScheduleValues get_schedule_param() override {
    if (last_epoch() == 0) return base_param();
    ScheduleValues values;
    for (const std::string& name : sparsifier().names()) {
      values.insert(name, 0.5 * sparsifier().data_group(name).get<double>(schedule_param()));
    }
    return values;
  }
};

/// Does what the test says.
class Scripted : public BaseDataScheduler {
 public:
  using Script = std::function<ScheduleValues(Scripted&)>;
  Scripted(BaseDataSparsifier& sparsifier, Script script, const DataSchedulerOptions& options = {},
           bool starts = true)
      : BaseDataScheduler(sparsifier, options), script(std::move(script)) {
    if (starts) start();
  }
  using BaseDataScheduler::called_within_step;
  using BaseDataScheduler::start;

  Script script;
  NamedValues kept;

 protected:
  ScheduleValues get_schedule_param() override { return script(*this); }
  NamedValues fields() const override { return kept; }
  void set_fields(const NamedValues& fields) override { kept = fields; }
};

ScheduleValues nothing(Scripted&) { return ScheduleValues(); }

double level(const BaseDataSparsifier& sparsifier, const std::string& name) {
  return sparsifier.data_group(name).get<double>("sparsity_level");
}

/// What upstream's tests start with.
struct DataScheduler : ::testing::Test {
  DataScheduler() : sparsifier({.sparsity_level = 0.7, .zeros_per_block = 2}) {
    sparsifier.add_data("tensor", torch::randn({5, 5}));
    sparsifier.add_data("parameter", torch::randn({10, 10}).requires_grad_());
    sparsifier.add_data("embedding", torch::nn::Embedding(50, 5));
    sparsifier.add_data("own", torch::randn({4, 4}), {.config = {{"sparsity_level", 0.3}}});
  }
  CapturedWarnings warnings;
  DataNormSparsifier sparsifier;
};

json numbers(const ScheduleValues& values) {
  json out = json::object();
  for (const auto& item : values) out[item.key()] = item.value().toDouble();
  return out;
}

json trace_of(const BaseDataSparsifier& sparsifier, const BaseDataScheduler& scheduler) {
  json levels = json::object();
  for (const std::string& name : sparsifier.names()) levels[name] = level(sparsifier, name);
  return {{"last_epoch", scheduler.last_epoch()},
          {"step_count", scheduler.step_count()},
          {"sparsifier_step_count", sparsifier.step_count()},
          {"levels", levels},
          {"last_param", numbers(scheduler.get_last_param())},
          {"base_param", numbers(scheduler.base_param())}};
}

json golden_trace(const std::string& id) {
  for (const json& entry : testing::golden()["scheduler_cases"]) {
    if (entry["id"] == id) return entry["trace"];
  }
  return {};
}

TEST(DataSchedulerGolden, HalvingTakesUpstreamsSteps) {
  DataNormSparsifier sparsifier({.sparsity_level = 0.7});
  sparsifier.add_data("x", torch::ones({4, 4}));
  sparsifier.add_data("y", torch::ones({4, 4}), {.config = {{"sparsity_level", 0.3}}});
  Halving scheduler(sparsifier);
  json trace = {trace_of(sparsifier, scheduler)};
  for (int epoch = 0; epoch < 3; ++epoch) {
    sparsifier.step();
    scheduler.step();
    trace.push_back(trace_of(sparsifier, scheduler));
  }
  EXPECT_EQ(trace, golden_trace("halving"));
}

TEST(DataSchedulerGolden, ConstructionAtALaterEpochSetsTheValueOfTheNext) {
  DataNormSparsifier sparsifier({.sparsity_level = 0.5});
  sparsifier.add_data("x", torch::ones({4, 4}));
  const Halving scheduler(sparsifier, {.last_epoch = 4});
  EXPECT_EQ(json{trace_of(sparsifier, scheduler)}, golden_trace("last_epoch_4_ctor"));
}

// Upstream's test_constructor.
TEST_F(DataScheduler, TestConstructor) {
  const Halving scheduler(sparsifier);
  EXPECT_EQ(scheduler.step_count(), 1);
  EXPECT_EQ(scheduler.last_epoch(), 0);
  EXPECT_EQ(scheduler.schedule_param(), "sparsity_level");
  EXPECT_EQ(scheduler.base_param().keys(), sparsifier.names());
  for (const auto& item : scheduler.base_param()) {
    EXPECT_EQ(item.value().toDouble(), level(sparsifier, item.key()));
  }
}

// Upstream's test_order_of_steps.
TEST_F(DataScheduler, TestOrderOfSteps) {
  Halving wrong(sparsifier);
  wrong.step();
  EXPECT_THAT(warnings.messages(),
              ElementsAre(HasSubstr("`scheduler.step()` before `data_sparsifier.step()`")));
  wrong.step();  // only the first step asks
  sparsifier.step();
  Halving second(sparsifier);  // steps before its construction do not count
  second.step();
  const auto of_order = [&] {
    return std::ranges::count_if(warnings.messages(), [](const std::string& message) {
      return message.find("before `data_sparsifier.step()`") != std::string::npos;
    });
  };
  EXPECT_EQ(of_order(), 2);
  Halving right(sparsifier);
  sparsifier.step();
  right.step();
  right.step();
  EXPECT_EQ(of_order(), 2);
}

TEST_F(DataScheduler, DisabledStepsOfTheSparsifierCount) {
  Halving scheduler(sparsifier);
  sparsifier.set_enable_mask_update(false);
  sparsifier.step();
  scheduler.step();
  EXPECT_THAT(warnings.messages(), IsEmpty());
}

// O18: upstream starts the count of the sparsifier's steps anew for the second scheduler.
TEST_F(DataScheduler, ASecondSchedulerDoesNotDisturbTheFirst) {
  Halving levels(sparsifier);
  sparsifier.step();
  Scripted zeros(sparsifier,
                 [](Scripted&) {
                   return ScheduleValues{{"own", 1}};
                 },
                 {.schedule_param = "zeros_per_block"});
  EXPECT_EQ(sparsifier.step_count(), 1);
  levels.step();
  EXPECT_THAT(warnings.messages(), IsEmpty());
  sparsifier.step();
  zeros.step();
  EXPECT_THAT(warnings.messages(), IsEmpty());
  EXPECT_EQ(level(sparsifier, "own"), 0.15);
  EXPECT_EQ(sparsifier.data_group("own").get<int64_t>("zeros_per_block"), 1);
  EXPECT_EQ(sparsifier.data_group("tensor").get<int64_t>("zeros_per_block"), 2);
}

// Upstream's test_step.
TEST_F(DataScheduler, TestStep) {
  Halving scheduler(sparsifier);
  EXPECT_EQ(level(sparsifier, "tensor"), 0.7);
  EXPECT_EQ(level(sparsifier, "own"), 0.3);
  sparsifier.step();
  scheduler.step();
  EXPECT_EQ(level(sparsifier, "tensor"), 0.35);
  EXPECT_EQ(level(sparsifier, "own"), 0.15);
  for (int i = 0; i < 5; ++i) scheduler.step();
  EXPECT_EQ(scheduler.step_count(), 5 + 2);
  EXPECT_EQ(scheduler.last_epoch(), 6);
  EXPECT_EQ(numbers(scheduler.get_last_param())["own"], level(sparsifier, "own"));
}

// Upstream's test_state_dict.
TEST_F(DataScheduler, TestStateDict) {
  Halving first(sparsifier);
  sparsifier.step();
  first.step();
  Halving second(sparsifier);
  EXPECT_EQ(numbers(second.base_param()), numbers(first.get_last_param()));
  EXPECT_NE(numbers(second.base_param()), numbers(first.base_param()));
  const double before = level(sparsifier, "tensor");
  second.load_state_dict(first.state_dict());
  EXPECT_EQ(numbers(second.base_param()), numbers(first.base_param()));
  EXPECT_EQ(numbers(second.get_last_param()), numbers(first.get_last_param()));
  EXPECT_EQ(second.last_epoch(), 1);
  EXPECT_EQ(second.step_count(), 2);
  EXPECT_EQ(level(sparsifier, "tensor"), before);
}

TEST_F(DataScheduler, StateDictIsACopyWithTheFieldsOfTheSubclass) {
  Scripted scheduler(sparsifier, nothing);
  scheduler.kept = {{"list", std::vector<int64_t>{1}}};
  const DataSchedulerState state = scheduler.state_dict();
  EXPECT_EQ(state.schedule_param, "sparsity_level");
  scheduler.kept.at("list").toIntList().push_back(2);
  scheduler.step();
  EXPECT_EQ(state.fields.at("list").toIntVector(), std::vector<int64_t>{1});
  EXPECT_EQ(state.last_epoch, 0);
  scheduler.load_state_dict(state);
  EXPECT_EQ(scheduler.kept.at("list").toIntVector(), std::vector<int64_t>{1});
  EXPECT_EQ(scheduler.last_epoch(), 0);
}

TEST_F(DataScheduler, NamesThatAreLeftOutKeepTheirValue) {
  Scripted scheduler(sparsifier, [](Scripted&) { return ScheduleValues{{"own", 1.25}}; });
  EXPECT_EQ(level(sparsifier, "own"), 1.25);  // nothing is clamped
  EXPECT_EQ(level(sparsifier, "tensor"), 0.7);
  EXPECT_EQ(numbers(scheduler.get_last_param())["tensor"], 0.7);
  EXPECT_EQ(numbers(scheduler.get_last_param())["own"], 1.25);
  EXPECT_EQ(numbers(scheduler.base_param())["own"], 0.3);
}

TEST_F(DataScheduler, DataAddedLaterStandInLastParamOnly) {
  Halving scheduler(sparsifier);
  sparsifier.add_data("late", torch::randn({4, 4}));
  scheduler.step();
  EXPECT_FALSE(scheduler.base_param().contains("late"));
  EXPECT_EQ(numbers(scheduler.get_last_param())["late"], 0.35);
}

TEST_F(DataScheduler, AnUnknownParameterIsNone) {
  const Scripted scheduler(sparsifier, nothing, {.schedule_param = "no_such"});
  EXPECT_TRUE(scheduler.base_param()["own"].isNone());
  EXPECT_TRUE(scheduler.get_last_param()["own"].isNone());
  EXPECT_FALSE(sparsifier.data_group("own").contains("no_such"));
}

// O17: upstream makes a group of that name, which breaks the sparsifier's next step.
TEST_F(DataScheduler, AnUnknownNameIsAnErrorAndNothingIsSet) {
  bool ghost = false;
  Scripted scheduler(sparsifier, [&](Scripted&) {
    ScheduleValues values{{"own", 0.9}};
    if (ghost) values.insert("ghost", 0.5);
    return values;
  });
  ghost = true;
  sparsifier.set_config("own", "sparsity_level", 0.4);
  sparsifier.set_enable_mask_update(false);
  EXPECT_THAT(message_of<c10::ValueError>([&] { scheduler.step(); }), HasSubstr("'ghost'"));
  EXPECT_EQ(level(sparsifier, "own"), 0.4);
  EXPECT_FALSE(sparsifier.enable_mask_update());
  EXPECT_EQ(numbers(scheduler.get_last_param())["own"], 0.9);
  EXPECT_EQ(scheduler.last_epoch(), 1);  // the epoch has advanced
  EXPECT_EQ(scheduler.step_count(), 2);
}

TEST_F(DataScheduler, AValueThatTheConfigurationRefusesSetsNothing) {
  Scripted scheduler(sparsifier, nothing);
  scheduler.script = [](Scripted&) {
    return ScheduleValues{{"own", 0.9}, {"tensor", std::nan("")}};
  };
  EXPECT_THROW(scheduler.step(), c10::ValueError);
  scheduler.script = [](Scripted&) { return ScheduleValues{{"own", 0.9}, {"tensor", "high"}}; };
  EXPECT_THROW(scheduler.step(), c10::TypeError);
  EXPECT_EQ(level(sparsifier, "own"), 0.3);
  EXPECT_EQ(level(sparsifier, "tensor"), 0.7);
}

TEST_F(DataScheduler, AValueThatOneConfigurationRefusesSetsNone) {
  DataNormSparsifier two({.sparse_block_shape = {1, 8}});
  two.add_data("wide", torch::ones({4, 8}));
  two.add_data("narrow", torch::ones({4, 8}),
               {.config = {{"sparse_block_shape", {1, 4}}, {"zeros_per_block", 4}}});
  CubicDataScheduler scheduler(
      two, {.schedule_param = "zeros_per_block", .final_value = 6, .end_step = 1});
  EXPECT_THAT(message_of<c10::ValueError>([&] { scheduler.step(); }), HasSubstr("'narrow'"));
  EXPECT_EQ(two.data_group("wide").get<int64_t>("zeros_per_block"), 0);
  EXPECT_EQ(two.data_group("narrow").get<int64_t>("zeros_per_block"), 0);
}

TEST_F(DataScheduler, WhatGetScheduleParamThrowsPassesThrough) {
  Scripted scheduler(sparsifier, nothing);
  scheduler.script = [](Scripted&) -> ScheduleValues { throw std::runtime_error("no value"); };
  sparsifier.set_enable_mask_update(false);
  EXPECT_THROW(scheduler.step(), std::runtime_error);
  EXPECT_FALSE(scheduler.called_within_step());
  EXPECT_EQ(scheduler.last_epoch(), 1);
  EXPECT_EQ(scheduler.step_count(), 2);
  EXPECT_FALSE(sparsifier.enable_mask_update());
  EXPECT_EQ(level(sparsifier, "own"), 0.3);
}

TEST_F(DataScheduler, CalledWithinStepIsTrueOnlyThen) {
  bool within = false;
  Scripted scheduler(sparsifier, [&](Scripted& self) {
    within = self.called_within_step();
    return ScheduleValues();
  });
  EXPECT_TRUE(within);
  EXPECT_FALSE(scheduler.called_within_step());
}

// O19: kept as upstream has it.
TEST_F(DataScheduler, StepTurnsMaskUpdatesOnAgain) {
  Scripted scheduler(sparsifier, nothing);
  sparsifier.set_enable_mask_update(false);
  scheduler.step();
  EXPECT_TRUE(sparsifier.enable_mask_update());
}

TEST_F(DataScheduler, VerboseGetsALineForEveryValue) {
  std::vector<std::string> lines;
  Scripted scheduler(sparsifier,
                     [](Scripted&) {
                       return ScheduleValues{{"tensor", 0.25}, {"own", 1}};
                     },
                     {.verbose = [&](const std::string& line) { lines.push_back(line); }});
  EXPECT_THAT(lines, ElementsAre("Adjusting sparsity_level for group tensor to 0.25",
                                 "Adjusting sparsity_level for group own to 1"));
}

TEST_F(DataScheduler, WithoutStartThereIsNoStep) {
  Scripted scheduler(sparsifier, nothing, {}, /*starts=*/false);
  EXPECT_EQ(scheduler.step_count(), 0);
  EXPECT_THAT(message_of<c10::Error>([&] { scheduler.step(); }), HasSubstr("start();"));
  EXPECT_EQ(scheduler.last_epoch(), -1);
  scheduler.start();
  scheduler.step();
  EXPECT_THROW(scheduler.start(), c10::Error);
  EXPECT_EQ(scheduler.last_epoch(), 1);
}

TEST(DataSchedulerLifetime, AnErrorTellsThatTheSparsifierWasDestroyed) {
  auto sparsifier = std::make_unique<DataNormSparsifier>();
  sparsifier->add_data("x", torch::ones({4, 4}));
  Halving scheduler(*sparsifier);
  sparsifier.reset();
  EXPECT_THAT(message_of<c10::Error>([&] { scheduler.step(); }),
              HasSubstr("sparsifier of this Halving was destr"));
  EXPECT_THROW(scheduler.text(), c10::Error);
  EXPECT_EQ(scheduler.step_count(), 1);
  EXPECT_EQ(scheduler.state_dict().last_epoch, 0);
}

TEST(DataSchedulerText, IsThatOfUpstream) {
  DataNormSparsifier sparsifier;
  sparsifier.add_data("x", torch::ones({4, 4}));
  const Halving scheduler(sparsifier);
  std::ostringstream stream;
  stream << scheduler;
  EXPECT_EQ(stream.str(), "Halving (\nData Sparsifier " + sparsifier.text() +
                              "\n    sparsity_level: {'x': 0.5}\n)");
}

}  // namespace
}  // namespace winnow
