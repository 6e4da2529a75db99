// What torch_step.py times, as plain C functions in a shared library that is loaded into a Python
// process which has torch imported: our sparsifier and upstream's then step over the same memory,
// by the same LibTorch, in the same minute.
#include <ATen/ops/from_blob.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "train.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/tensor_mask.h"
#include "winnow/torch/torch_file.h"

namespace {

double seconds_of(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// No exception may pass into Python.
auto guarded(const auto& work, decltype(work()) otherwise) {
  try {
    return work();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return otherwise;
  }
}

}  // namespace

#define WINNOW_BENCH_API extern "C" __attribute__((visibility("default")))

struct WinnowTorchData {
  void* values;
  int64_t rows, cols, row_stride, col_stride;
  int32_t dtype;  // 0 F32, 1 F16, 2 BF16, 3 F64
};

struct WinnowTorchConfig {
  double level;
  int64_t block_rows, block_cols;
  int64_t zeros_per_block;  // -1: the whole block
  int32_t norm;             // 1 or 2
  int32_t global;           // one budget over all data
};

namespace {

at::Tensor tensor_of(const WinnowTorchData& data) {
  constexpr at::ScalarType kTypes[] = {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble};
  return at::from_blob(data.values, {data.rows, data.cols}, {data.row_stride, data.col_stride},
                       kTypes[data.dtype]);
}

winnow::DataNormConfig core_config(const WinnowTorchConfig& config) {
  winnow::DataNormConfig core{.sparsity_level = config.level,
                              .sparse_block_shape = {static_cast<uint64_t>(config.block_rows),
                                                     static_cast<uint64_t>(config.block_cols)},
                              .norm = config.norm == 1 ? winnow::Norm::kL1 : winnow::Norm::kL2};
  if (config.zeros_per_block >= 0) {
    core.zeros_per_block = static_cast<uint64_t>(config.zeros_per_block);
  }
  return core;
}

winnow::DataNormSparsifierOptions options_of(const WinnowTorchConfig& config) {
  winnow::DataNormSparsifierOptions options;
  options.sparsity_level = config.level;
  options.sparse_block_shape = {config.block_rows, config.block_cols};
  if (config.zeros_per_block >= 0) options.zeros_per_block = config.zeros_per_block;
  options.norm = config.norm == 1 ? winnow::Norm::kL1 : winnow::Norm::kL2;
  options.scope = config.global != 0 ? winnow::Scope::kGlobal : winnow::Scope::kTensor;
  return options;
}

}  // namespace

// A sparsifier over `count` data named by their number, or null where that failed. The values stay
// the caller's and must outlive it.
WINNOW_BENCH_API void* winnow_torch_new(const WinnowTorchConfig* config,
                                        const WinnowTorchData* data, int64_t count) {
  return guarded(
      [&]() -> void* {
        auto sparsifier = std::make_unique<winnow::DataNormSparsifier>(options_of(*config));
        for (int64_t i = 0; i < count; ++i) {
          sparsifier->add_data(std::to_string(i), tensor_of(data[i]));
        }
        return sparsifier.release();
      },
      nullptr);
}

WINNOW_BENCH_API void winnow_torch_delete(void* sparsifier) {
  delete static_cast<winnow::DataNormSparsifier*>(sparsifier);
}

// Seconds of one step, or a negative number where it failed.
WINNOW_BENCH_API double winnow_torch_step(void* sparsifier) {
  auto* ours = static_cast<winnow::DataNormSparsifier*>(sparsifier);
  return guarded([&] { return seconds_of([&] { ours->step(); }); }, -1.0);
}

// The bytes of the mask of data number `index`, which stepped before; null where there is none.
WINNOW_BENCH_API void* winnow_torch_mask(void* sparsifier, int64_t index) {
  auto* ours = static_cast<winnow::DataNormSparsifier*>(sparsifier);
  return guarded(
      [&]() -> void* { return ours->get_mask(std::to_string(index)).mutable_data_ptr<int8_t>(); },
      nullptr);
}

// Seconds of compute_masks_out over `count` data whose masks follow each other at `masks`.
WINNOW_BENCH_API double winnow_torch_masks_out(const WinnowTorchConfig* config,
                                               const WinnowTorchData* data, int64_t count,
                                               int8_t* masks) {
  return guarded(
      [&] {
        std::vector<winnow::TensorMask> targets;
        for (int64_t i = 0; i < count; ++i) {
          targets.push_back(
              {tensor_of(data[i]), at::from_blob(masks, {data[i].rows, data[i].cols}, at::kChar)});
          masks += data[i].rows * data[i].cols;
        }
        const winnow::DataNormConfig core = core_config(*config);
        return seconds_of([&] { winnow::compute_masks_out(targets, core); });
      },
      -1.0);
}

// Seconds of writing the state to a file that is on the disk then, or a negative number.
WINNOW_BENCH_API double winnow_torch_save(void* sparsifier, const char* path, int32_t packed) {
  const auto* ours = static_cast<winnow::DataNormSparsifier*>(sparsifier);
  const winnow::StateDictOptions options{
      .mask_format = packed != 0 ? winnow::MaskFormat::kPacked : winnow::MaskFormat::kTorchAo,
      .clone = false};
  return guarded(
      [&] {
        return seconds_of(
            [&] { winnow::save_torch_file(path, winnow::to_value(ours->state_dict(options))); });
      },
      -1.0);
}

// Seconds of reading such a file into a new sparsifier, or a negative number.
WINNOW_BENCH_API double winnow_torch_load(const char* path) {
  return guarded(
      [&] {
        winnow::DataNormSparsifier sparsifier;
        return seconds_of([&] {
          sparsifier.load_state_dict(winnow::to_sparsifier_state(winnow::load_torch_file(path)));
        });
      },
      -1.0);
}

// Median seconds of a training step of examples/recommender, and of one that also holds its masks;
// false where that failed.
WINNOW_BENCH_API int32_t winnow_torch_training_steps(const char* movielens, int64_t rounds,
                                                     double* plain, double* held) {
  return guarded(
      [&] {
        const recommender::MovieLens data = recommender::read_movielens(movielens);
        const recommender::Split split = recommender::split_ratings(data.ratings(), /*seed=*/0);
        const auto seconds = recommender::time_training_steps(data, split, rounds);
        *plain = seconds.plain;
        *held = seconds.held;
        return 1;
      },
      0);
}
