// Prunes a tensor along a schedule, squashes it and sends it through a file, as a program of
// someone else does.
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "winnow/base/version.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/error.h"
#include "winnow/torch/safetensors.h"
#include "winnow/torch/schedules.h"

namespace {

/// Values that grow, in 64 rows of 1024: large enough for several threads.
at::Tensor growing() { return at::arange(1.0, 65537.0, at::kFloat).reshape({64, 1024}); }

int64_t zeros(const at::Tensor& tensor) { return tensor.eq(0).sum().item<int64_t>(); }

bool prunes_along_a_schedule(const at::Tensor& data) {
  winnow::DataNormSparsifier sparsifier({.sparsity_level = 0.75});
  sparsifier.add_data("table", data);
  winnow::LinearDataScheduler scheduler(sparsifier, {.end_step = 3});
  for (int epoch = 0; epoch < 3; ++epoch) {
    sparsifier.step();
    scheduler.step();
  }
  sparsifier.step();
  sparsifier.squash_mask();
  // The smallest three quarters are the first rows.
  return zeros(data) == 49152 && zeros(data.slice(0, 48)) == 0;
}

bool comes_back_from_a_file(const at::Tensor& data, const std::string& path) {
  winnow::save_safetensors(path, {{"table", data}});
  return at::equal(winnow::load_safetensors(path)["table"], data);
}

bool catches_an_error() {
  winnow::DataNormSparsifier sparsifier;
  try {
    sparsifier.add_data("a.b", growing());
  } catch (const winnow::KeyError&) {
    return true;
  }
  return false;
}

}  // namespace

int main() {
  const at::Tensor data = growing();
  if (!prunes_along_a_schedule(data)) return 1;
  if (!comes_back_from_a_file(data, "consumer_torch.safetensors")) return 2;
  if (!catches_an_error()) return 3;
  std::printf("winnow %s works with LibTorch from its installed package\n", WINNOW_VERSION);
  return 0;
}
