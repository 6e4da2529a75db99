// Differences from torch.ao that docs/differences.md lists and no other test is about.
#include <gmock/gmock.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

#include "torch/sparsifiers.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/schedules.h"

namespace winnow {
namespace {

using testing::counting;
using ::testing::ElementsAre;
using ::testing::ExitedWithCode;
using testing::FirstRowSparsifier;

/// Keeps warnings as they would be printed: those that come once come once.
class PrintedWarnings : public c10::WarningHandler {
 public:
  PrintedWarnings() : guard_(this) {}
  void process(const c10::Warning& warning) override { messages.push_back(warning.msg()); }

  std::vector<std::string> messages;

 private:
  c10::WarningUtils::WarningHandlerGuard guard_;
};

size_t warnings_of_replacements() {
  const PrintedWarnings warnings;
  FirstRowSparsifier sparsifier, other;
  for (int i = 0; i < 3; ++i) {
    sparsifier.add_data("x", counting({2, 2}));
    other.add_data("x", counting({2, 2}));
  }
  return warnings.messages.size();
}

TEST(Differences, AReplacementIsWarnedOfOnceInAProcess) {
  // "threadsafe" starts the program anew: here, a test before this one may have replaced data.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(std::_Exit(static_cast<int>(warnings_of_replacements())), ExitedWithCode(1), "");
}

TEST(Differences, DataCalledParametrizationCanBeLoaded) {
  FirstRowSparsifier sparsifier, loaded;
  sparsifier.add_data("parametrization", counting({2, 2}));
  sparsifier.step();
  loaded.load_state_dict(sparsifier.state_dict());
  EXPECT_THAT(loaded.names(), ElementsAre("parametrization"));
  EXPECT_TRUE(loaded.get_data("parametrization", false)
                  .equal(sparsifier.get_data("parametrization", false)));
}

TEST(Differences, WrongTypesDoNotCompile) {
  static_assert(std::is_convertible_v<at::Tensor, Data>);
  static_assert(std::is_convertible_v<torch::nn::Embedding, Data>);
  static_assert(!std::is_convertible_v<double, Data>);
  static_assert(!std::is_convertible_v<std::vector<float>, Data>);
  static_assert(!std::is_convertible_v<std::string, Data>);
  static_assert(std::is_abstract_v<BaseDataSparsifier>);
  static_assert(std::is_abstract_v<BaseDataScheduler>);
  static_assert(std::is_constructible_v<StepDataScheduler, DataNormSparsifier&>);
  static_assert(!std::is_constructible_v<StepDataScheduler, torch::nn::Linear&>);
}

}  // namespace
}  // namespace winnow
