// The kernel `score` at every level, type, width and tail, flush against guard pages.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/value_kernels.h"
#include "support/simd_levels.h"

namespace winnow::kernels {
namespace {

using testing::Fill;
using Flush = GuardedMatrix::Flush;

class ScoreTest : public ::testing::TestWithParam<SimdLevel> {
 protected:
  // Scores blocks of rows x cols, `count` side by side.
  void check(size_t rows, size_t cols, size_t count, Fill fill, Flush flush, size_t misalignment) {
    for_each_value_kernels(
        kernel_table(GetParam()),
        [&]<typename Key>(DType dtype, Norm norm, const ValueKernels<Key>& kernels) {
          const size_t row = count * cols;
          GuardedMatrix values(dtype, {rows, row}, row + count % 3, fill, flush, misalignment);
          testing::GuardedBuffer keys(count * sizeof(Key), flush);
          kernels.score(values.run(cols), keys.as<Key>());
          ASSERT_EQ(std::vector<Key>(keys.as<Key>(), keys.as<Key>() + count),
                    keys_ref<Key>(values.view(), cols, norm))
              << count << " blocks " << rows << "x" << cols << " " << dtype_name(dtype) << " norm "
              << static_cast<int>(norm);
        });
  }
};

INSTANTIATE_TEST_SUITE_P(EveryLevel, ScoreTest, testing::every_level(), testing::level_name);

TEST_P(ScoreTest, EqualsTheReferenceAtEveryTail) {
  for (const size_t cols : {1, 2, 3, 4, 5, 8, 16}) {
    for (const size_t rows : {1, 2, 9}) {
      for (size_t count = 1; count < 67; count += rows) {
        const Flush flush = count % 2 == 0 ? Flush::kStart : Flush::kEnd;
        check(rows, cols, count, count % 5 == 0 ? Fill::kSpecials : Fill::kNormal, flush, 0);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(ScoreTest, ReadsValuesAtAnyAddress) {
  for (const size_t cols : {1, 4, 5}) {
    for (size_t misalignment = 1; misalignment < 8; ++misalignment) {
      check(2, cols, 35, Fill::kNormal, Flush::kStart, misalignment);
    }
  }
}

// Runs longer than the strip whose sums are kept between rows.
TEST_P(ScoreTest, GoesFromStripToStrip) {
  check(6, 1, 4096 + 4096 + 5, Fill::kNormal, Flush::kEnd, 0);
  check(5, 8, 1024 + 3, Fill::kNormal, Flush::kEnd, 0);
}

}  // namespace
}  // namespace winnow::kernels
