// How often a mask reads the values: once on ordinary data, whatever the blocks. Every mask would
// be right with more passes too, only slower.
#include "core/masks/mask_job.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "support/values.h"

namespace winnow::core {
namespace {

using testing::Fill;

std::atomic<uint64_t> values_read{0};

const kernels::KernelTable& real_table() { return kernels::kernel_table(SimdLevel::kScalar); }

// Lets the kernels that read values of one type, by L1, count what they read.
template <auto kKernels>
void count_reads(kernels::KernelTable& table) {
  [&]<typename Key>(kernels::ValueKernels<Key>& counting) {
    counting.score = [](const kernels::BlockRun& run, Key* keys) {
      values_read += run.block_rows * run.block_cols * run.count;
      (real_table().*kKernels).l1.score(run, keys);
    };
    counting.classify_values = [](const void* values, size_t block_cols, size_t words,
                                  const kernels::Bracket<Key>& bracket, uint64_t* keep,
                                  const kernels::CandidateSink<Key>& candidates, uint64_t* kept) {
      values_read += words * kernels::kKeysPerWord * block_cols;
      return (real_table().*kKernels)
          .l1.classify_values(values, block_cols, words, bracket, keep, candidates, kept);
    };
  }((table.*kKernels).l1);
}

// How often the mask of half of all blocks reads each value, on average.
double reads_per_value(DType dtype, BlockShape block, Fill fill) {
  kernels::KernelTable table = real_table();
  count_reads<&kernels::KernelTable::f32>(table);
  count_reads<&kernels::KernelTable::bf16>(table);
  const MatrixShape shape{1600, 1200};
  testing::Values values(dtype, shape, shape.cols);
  testing::fill(values, shape, fill, 1);
  std::vector<uint8_t> mask(shape.numel());
  const MaskTarget target{values.view(), mask};
  const BlockMatrix matrix(target.values, {0.5, block, {}, Norm::kL1}, table);
  SerialFor threads;
  values_read = 0;
  MaskJob<int32_t>({&matrix, 1}, {&target, 1}, table, threads).run(matrix.blocks() / 2);
  return static_cast<double>(values_read) / static_cast<double>(shape.numel());
}

// What is above 1 are the sample, and candidates.
TEST(MaskJob, ReadsOrdinaryValuesOnce) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const BlockShape block : {BlockShape{1, 1}, BlockShape{1, 4}, BlockShape{8, 8}}) {
      const double reads = reads_per_value(dtype, block, Fill::kNormal);
      EXPECT_GE(reads, 1) << dtype_name(dtype) << " " << block.rows << "x" << block.cols;
      EXPECT_LE(reads, 1.2) << dtype_name(dtype) << " " << block.rows << "x" << block.cols;
    }
  }
}

// The pass that classifies would collect too much of them.
TEST(MaskJob, ReadsValuesThatAreMostlyEqualTwice) {
  for (const BlockShape block : {BlockShape{1, 1}, BlockShape{1, 4}}) {
    const double reads = reads_per_value(DType::kF32, block, Fill::kAllEqual);
    EXPECT_GE(reads, 2) << block.rows << "x" << block.cols;
    EXPECT_LE(reads, 2.2) << block.rows << "x" << block.cols;
  }
}

}  // namespace
}  // namespace winnow::core
