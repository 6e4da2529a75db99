// Checkpoints that are refused; trainer_test.cc resumes those that are not.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include "io/temp_dir.h"
#include "torch/sparsifiers.h"
#include "torch/training/runs.h"
#include "winnow/torch/torch_file.h"

namespace winnow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kBatches;
using testing::kEpochs;
using testing::Linears;
using testing::message_of;
using testing::options_of;
using testing::TempDir;
using testing::TrainingRun;

std::string saved_run(const TempDir& dir,
                      const TrainingAwareOptions& options = options_of(true,
                                                                       StepInterval::kEpoch)) {
  const std::string path = dir.path("run.pt");
  TrainingRun run(options);
  run.before_step = [&](int64_t epoch, int64_t) {
    if (epoch == 1) run.trainer.stop();
  };
  run.fit();
  run.trainer.save_checkpoint(path);
  return path;
}

std::string refused_resume(TrainingRun& run, const std::string& path) {
  const auto before = run.model->parameters();
  std::vector<at::Tensor> copies;
  for (const at::Tensor& tensor : before) copies.push_back(tensor.detach().clone());
  const std::string message = message_of<c10::Error>([&] { run.fit(path); });
  for (size_t i = 0; i < copies.size(); ++i) EXPECT_TRUE(before[i].equal(copies[i]));
  EXPECT_TRUE(run.optimizer.state().empty());
  return message;
}

TEST(Checkpoint, IsRefusedByAnotherConfiguration) {
  const TempDir dir;
  const std::string path = saved_run(dir);
  TrainingRun by_step(options_of(true, StepInterval::kStep));
  EXPECT_THAT(refused_resume(by_step, path), HasSubstr("interval was epoch and is step now"));
  TrainingRun copies(options_of(false, StepInterval::kEpoch));
  EXPECT_THAT(refused_resume(copies, path), HasSubstr("apply_to_model was True and is False now"));
  TrainingRun alone(options_of(true, StepInterval::kEpoch));
  alone.trainer = Trainer({.max_epochs = kEpochs});
  EXPECT_THAT(refused_resume(alone, path),
              HasSubstr("there were 1 callbacks then, and there are 0 now"));
}

TEST(Checkpoint, IsRefusedByOtherSettingsOfTheSparsifierAndTheSchedule) {
  const TempDir dir;
  const std::string path = saved_run(dir);
  const auto refused = [&](const auto& change) {
    TrainingAwareOptions options = options_of(true, StepInterval::kEpoch);
    change(options);
    TrainingRun run(options);
    const std::string message = refused_resume(run, path);
    run.fit();  // from the start: nothing of the refused file is left in the callback
    EXPECT_EQ(run.trainer.global_step(), kEpochs * kBatches);
    return message;
  };
  const auto sparsifier = [](const DataNormSparsifierOptions& made) {
    return [made](TrainingAwareOptions& options) {
      options.make_sparsifier = [made] { return std::make_unique<DataNormSparsifier>(made); };
    };
  };
  EXPECT_THAT(refused(sparsifier({.sparsity_level = 0.5, .sparse_block_shape = {1, 2}})),
              HasSubstr("sparsity_level of linears_0_weight was 0.75 and is 0.5 now"));
  EXPECT_THAT(refused(sparsifier({.sparsity_level = 0.75, .sparse_block_shape = {1, 4}})),
              HasSubstr("sparse_block_shape was (1, 2) and is (1, 4) now"));
  EXPECT_THAT(refused(sparsifier(
                  {.sparsity_level = 0.75, .sparse_block_shape = {1, 2}, .norm = Norm::kL2})),
              HasSubstr("norm was L1 and is L2 now"));
  EXPECT_THAT(refused([](TrainingAwareOptions& options) {
                options.make_scheduler = [](BaseDataSparsifier& made) {
                  return std::make_unique<CubicDataScheduler>(
                      made, CubicDataSchedulerOptions{.end_step = 9});
                };
              }),
              HasSubstr("end_step was 2 and is 9 now"));
  EXPECT_THAT(refused([](TrainingAwareOptions& options) {
                options.make_scheduler = [](BaseDataSparsifier& made) {
                  return std::make_unique<LinearDataScheduler>(
                      made, LinearDataSchedulerOptions{.end_step = 2});
                };
              }),
              HasSubstr("the class of the scheduler was CubicDataScheduler"));
  EXPECT_THAT(refused([](TrainingAwareOptions& options) {
                options.attach.filter = [](const std::string& fqn, const at::Tensor&) {
                  return fqn == "linears.0.weight";
                };
              }),
              AllOf(HasSubstr("run.pt: cannot resume: "),
                    HasSubstr("'linears_0_bias' was sparsified, and the filter does not take it")));
}

TEST(Checkpoint, IsRefusedByAWiderFilter) {
  const TempDir dir;
  TrainingAwareOptions narrow = options_of(true, StepInterval::kEpoch);
  narrow.attach.filter = [](const std::string& fqn, const at::Tensor&) {
    return fqn == "linears.0.weight";
  };
  const std::string path = saved_run(dir, narrow);
  TrainingRun run(options_of(true, StepInterval::kEpoch));
  EXPECT_THAT(refused_resume(run, path),
              HasSubstr("'linears_0_bias' was not sparsified, and the filter takes it in now"));
}

TEST(Checkpoint, NamesTheCallbackThatWasAnotherOne) {
  const TempDir dir;
  const std::string path = saved_run(dir);
  TrainingRun run(options_of(true, StepInterval::kEpoch));
  run.trainer = Trainer({.max_epochs = kEpochs, .callbacks = {std::make_shared<Callback>()}});
  EXPECT_THAT(refused_resume(run, path),
              HasSubstr("callback 0 was TrainingAwareDataSparsity and is Callback now"));
}

TEST(Checkpoint, NamesThePartThatIsMissing) {
  const TempDir dir;
  const std::string path = saved_run(dir);
  const NamedValues whole = to_named_values(load_torch_file(path));
  for (const auto& part : whole) {
    NamedValues less = whole;
    less.erase(part.name);
    save_torch_file(path, to_value(less));
    TrainingRun run(options_of(true, StepInterval::kEpoch));
    const std::string message = refused_resume(run, path);
    EXPECT_THAT(message, HasSubstr("run.pt")) << part.name;
    if (part.name == "format") continue;  // without it nothing says what else there should be
    EXPECT_THAT(message, HasSubstr("no '" + part.name + "'"));
  }
}

TEST(Checkpoint, IsRefusedByAnotherModelOrOptimizer) {
  const TempDir dir;
  const std::string path = saved_run(dir);
  TrainingRun run(options_of(true, StepInterval::kEpoch));
  run.model = Linears(/*bias=*/false);
  EXPECT_THAT(refused_resume(run, path), HasSubstr("the model has no 'linears.0.bias'"));

  TrainingRun other(options_of(true, StepInterval::kEpoch));
  torch::optim::SGD sgd(other.model->parameters(), 0.1);
  EXPECT_THAT(message_of<c10::Error>([&] {
                other.trainer.fit(
                    *other.model, sgd, kBatches, [](int64_t, int64_t) { return at::Tensor(); },
                    path);
              }),
              HasSubstr("the optimizer was Adam and is SGD now"));
  EXPECT_THAT(message_of<c10::Error>([&] {
                other.trainer.fit(
                    *other.model, other.optimizer, kBatches + 1,
                    [](int64_t, int64_t) { return at::Tensor(); }, path);
              }),
              HasSubstr("an epoch had 4 batches then, and has 5 now"));
}

TEST(Checkpoint, IsRefusedWhereItIsDamaged) {
  const TempDir dir;
  const std::string path = saved_run(dir);
  const std::string whole = testing::read_file(path);
  const auto refused = [&](const std::string& bytes) {
    testing::write_file(path, bytes);
    TrainingRun run(options_of(true, StepInterval::kEpoch));
    return refused_resume(run, path);
  };
  for (const size_t size : {size_t{0}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    EXPECT_THAT(refused(whole.substr(0, size)), HasSubstr("run.pt")) << size;
  }
  // Any bit of what holds values; between records there is padding that means nothing.
  size_t unseen = 0, flips = 0;
  for (size_t place = 1; place < whole.size(); place += whole.size() / 200) {
    std::string flipped = whole;
    flipped[place] = static_cast<char>(flipped[place] ^ (1 << place % 8));
    testing::write_file(path, flipped);
    TrainingRun run(options_of(true, StepInterval::kEpoch));
    ++flips;
    try {
      run.fit(path);
      unseen += whole[place] != '\0' && whole[place] != 'Z';
    } catch (const c10::Error&) {
    }
  }
  EXPECT_EQ(unseen, 0U) << "of " << flips;
  // A flipped bit of the model's values is seen before anything is changed.
  std::string flipped = whole;
  const at::Tensor weight = to_tensors(to_named_values([&] {
                                         testing::write_file(path, whole);
                                         return load_torch_file(path);
                                       }())
                                           .at("model"))["linears.0.weight"]
                                .contiguous();
  const std::string bytes(static_cast<const char*>(weight.const_data_ptr()), weight.nbytes());
  const size_t at = flipped.find(bytes);
  ASSERT_NE(at, std::string::npos);
  flipped[at + 5] = static_cast<char>(flipped[at + 5] ^ 1);
  EXPECT_THAT(refused(flipped), HasSubstr("CRC-32"));
  save_torch_file(path, to_value(NamedValues{{"weights", torch::ones({2})}}));
  TrainingRun run(options_of(true, StepInterval::kEpoch));
  EXPECT_THAT(refused_resume(run, path), HasSubstr("it is no checkpoint of a Trainer"));
}

}  // namespace
}  // namespace winnow
