// Any values in any layout, under any settings: the mask has to be the same at every SIMD level,
// and what the plain reference of the tests makes of them.
//
//   python3 fuzz/mask_levels_seeds.py seeds
//   mask_levels_fuzzer -dict=fuzz/mask_levels_fuzzer.dict -timeout=5 corpus seeds
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <span>
#include <vector>

#include "support/guarded_buffer.h"
#include "support/reference_mask.h"
#include "support/values.h"
#include "winnow/core/mask.h"
#include "winnow/kernels/simd_level.h"

namespace {

using winnow::DataNormConfig;
using winnow::DType;
using winnow::MatrixShape;
using winnow::MatrixView;
using winnow::Norm;
using winnow::SimdLevel;
using winnow::testing::GuardedBuffer;
using Flush = GuardedBuffer::Flush;

void require(bool holds) {
  if (!holds) std::abort();
}

// Mostly small, for speed, but up to 19,200 values: more blocks than are selected without a sample.
struct Layout {
  explicit Layout(FuzzedDataProvider& input)
      : dtype(input.PickValueInArray(winnow::testing::kPrunable)),
        shape{input.ConsumeIntegralInRange<size_t>(0, 48),
              input.ConsumeIntegralInRange<size_t>(0, input.ConsumeBool() ? 400 : 40)},
        row_stride(shape.cols + input.ConsumeIntegralInRange<size_t>(0, 20)),
        misalignment(input.ConsumeIntegralInRange<size_t>(0, 15)) {}

  // Up to the last value alone, so that a read past it meets the guard page.
  size_t bytes() const {
    if (shape.numel() == 0) return misalignment;
    const size_t elements = (shape.rows - 1) * row_stride + shape.cols;
    return misalignment + elements * winnow::dtype_bits(dtype) / 8;
  }

  DType dtype;
  MatrixShape shape;
  size_t row_stride, misalignment;
};

DataNormConfig config_of(FuzzedDataProvider& input) {
  // Each path of the kernels, and blocks on both sides of what they take.
  constexpr uint64_t kSides[] = {1, 1, 1, 2, 3, 4, 4, 5, 7, 8, 16, 33, 64, 150};
  DataNormConfig config;
  config.sparsity_level = input.ConsumeFloatingPointInRange(-0.1, 1.1);
  config.sparse_block_shape = {input.PickValueInArray(kSides), input.PickValueInArray(kSides)};
  const uint64_t size = config.sparse_block_shape.rows * config.sparse_block_shape.cols;
  if (input.ConsumeBool()) {
    config.zeros_per_block = input.ConsumeIntegralInRange<uint64_t>(0, size);
  }
  config.norm = input.ConsumeBool() ? Norm::kL1 : Norm::kL2;
  return config;
}

// The input's bytes again and again, which makes many ties, or noise that is seeded by them.
void fill(std::span<uint8_t> memory, FuzzedDataProvider& input) {
  const bool noise = input.ConsumeBool();
  const std::vector<uint8_t> bytes = input.ConsumeRemainingBytes<uint8_t>();
  std::seed_seq seed(bytes.begin(), bytes.end());
  std::mt19937 random(seed);
  for (size_t i = 0; i < memory.size(); ++i) {
    memory[i] = static_cast<uint8_t>(noise || bytes.empty() ? random() : bytes[i % bytes.size()]);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  const Layout layout(input);
  const DataNormConfig config = config_of(input);
  // The kernels are compiled without sanitizers here: guard pages find what they read and write.
  const Flush flush = input.ConsumeBool() ? Flush::kStart : Flush::kEnd;
  GuardedBuffer values(layout.bytes(), flush), mask_memory(layout.shape.numel(), flush);
  fill({values.as<uint8_t>(), layout.bytes()}, input);
  const MatrixView view{values.as<char>() + layout.misalignment, layout.dtype, layout.shape,
                        layout.row_stride};
  const std::vector<uint8_t> expected = winnow::reference::masks({view}, config)[0];
  const auto dropped = std::count(expected.begin(), expected.end(), 0);
  for (const SimdLevel level : winnow::available_simd_levels()) {
    require(winnow::set_simd_level(level).ok());
    const std::span<uint8_t> mask(mask_memory.as<uint8_t>(), view.numel());
    std::fill(mask.begin(), mask.end(), 7);
    const winnow::Result<winnow::MaskStats> stats = winnow::compute_mask(view, config, mask);
    require(stats.ok() && std::equal(mask.begin(), mask.end(), expected.begin()));
    require(stats->dropped_values == static_cast<uint64_t>(dropped));
  }
  return 0;
}
