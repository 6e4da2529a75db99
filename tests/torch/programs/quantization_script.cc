// Prunes and quantizes tables, for tests/python/test_torch_quantization.py, which does the same by
// upstream's functions.
//
//   quantization_script CASES.json TABLES.safetensors OUT.safetensors
//
// CASES is a list of {"name", "kind": "embedding" or "bag", "level", "block", "sparsify_first"};
// the tables go by the cases' names. OUT gets `NAME/codes`, `NAME/scales`, `NAME/zero_points` and
// `NAME/rows`, the last by lookups of every row, under ZeroPolicy::kUpstream.
#include <torch/torch.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "winnow/torch/nn/embedding.h"
#include "winnow/torch/nn/embedding_bag.h"
#include "winnow/torch/quantization.h"
#include "winnow/torch/safetensors.h"

namespace {

using nlohmann::json;
using Tensors = torch::OrderedDict<std::string, at::Tensor>;

/// A module of LibTorch on the table; its replacement sits in the list afterwards.
torch::nn::Sequential list_of(const std::string& kind, const at::Tensor& table) {
  if (kind == "embedding") {
    return torch::nn::Sequential(torch::nn::Embedding::from_pretrained(table));
  }
  return torch::nn::Sequential(torch::nn::EmbeddingBag::from_pretrained(
      table, torch::nn::EmbeddingBagFromPretrainedOptions().mode(torch::kSum)));
}

void run(const json& c, const at::Tensor& table, Tensors& out) {
  const auto kind = c["kind"].get<std::string>(), name = c["name"].get<std::string>();
  auto list = list_of(kind, table);
  winnow::post_training_sparse_quantize(
      *list,
      {.sparsity_level = c["level"],
       .sparse_block_shape = {c["block"][0].get<int64_t>(), c["block"][1].get<int64_t>()}},
      {.sparsify_first = c["sparsify_first"], .zero_policy = winnow::nn::ZeroPolicy::kUpstream});
  const auto weight = dynamic_cast<winnow::nn::Quantizable&>(*list->ptr(0)).quantized_weight();
  out.insert(name + "/codes", weight.codes);
  out.insert(name + "/scales", weight.scales);
  out.insert(name + "/zero_points", weight.zero_points);
  const at::Tensor indices = torch::arange(table.size(0));
  out.insert(name + "/rows", list->forward(kind == "embedding" ? indices : indices.unsqueeze(1)));
}

}  // namespace

int main(int, char** argv) try {
  const json cases = json::parse(std::ifstream(argv[1]));
  const Tensors tables = winnow::load_safetensors(argv[2]);
  Tensors out;
  for (const json& c : cases) run(c, tables[c["name"].get<std::string>()], out);
  winnow::save_safetensors(argv[3], out);
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
