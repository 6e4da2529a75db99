// Prunes the word embedding of a real model, from safetensors file to safetensors file.
//
//   example_minilm_embedding IN.safetensors OUT.safetensors
//   winnow verify OUT.safetensors --against IN.safetensors
//
// The settings go into the file's metadata. `winnow verify` reads them there, computes the mask
// again and compares every tensor bit for bit. The model is MiniLM (./dev demo fetches it). Any
// other file with a tensor of this name works too, if its only metadata is "format = pt".
#include <torch/torch.h>

#include <exception>
#include <iostream>
#include <string>

#include "winnow/checkpoint/prune_settings.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/safetensors.h"
#include "winnow/torch/tensor_mask.h"

namespace {

constexpr const char* kTensor = "embeddings.word_embeddings.weight";  // MiniLM: 30522 x 384
constexpr double kLevel = 0.8;

/// What `winnow prune -s 0.8 --block 1x1 --include TENSOR` would record.
winnow::Metadata metadata() {
  const winnow::PruneSettings settings{
      .config = {.sparsity_level = kLevel, .sparse_block_shape = {1, 1}}, .include = {kTensor}};
  return {{"format", "pt"}, {std::string(winnow::kConfigKey), winnow::config_text(settings)}};
}

void prune(const std::string& in, const std::string& out) {
  const torch::OrderedDict<std::string, at::Tensor> tensors = winnow::load_safetensors(in);
  const at::Tensor& weight = tensors[kTensor];

  winnow::DataNormSparsifier sparsifier({.sparsity_level = kLevel, .sparse_block_shape = {1, 1}});
  sparsifier.add_data("words", weight);
  sparsifier.step();
  sparsifier.squash_mask();
  // Squashing multiplies, so a dropped negative value becomes -0. In the file it must be +0.
  winnow::apply_mask_(weight, sparsifier.get_mask("words"));

  winnow::save_safetensors(out, tensors, {.metadata = metadata()});
  std::cout << weight.eq(0).sum().item<int64_t>() << " of " << weight.numel() << " values of "
            << kTensor << " are 0 in " << out << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " IN.safetensors OUT.safetensors\n";
    return 2;
  }
  try {
    prune(argv[1], argv[2]);
    return 0;
  } catch (const c10::Error& error) {
    std::cerr << error.what_without_backtrace() << '\n';
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
  }
  return 1;
}
