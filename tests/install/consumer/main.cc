// Computes a mask, reads a header and writes settings down, as a program of someone else does.
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/version.h"
#include "winnow/checkpoint/prune_settings.h"
#include "winnow/core/mask.h"
#include "winnow/io/safetensors.h"
#include "winnow/io/torch_archive.h"

namespace {

bool computes_a_mask() {
  const float weights[] = {4, 1, 3, 2};
  std::vector<uint8_t> mask(4);
  const winnow::MatrixView view = winnow::contiguous_view(weights, winnow::DType::kF32, {1, 4});
  const auto stats = winnow::compute_mask(view, {.sparse_block_shape = {1, 1}}, mask);
  return stats.ok() && stats->dropped_values == 2 && mask == std::vector<uint8_t>{1, 0, 1, 0};
}

bool reads_a_header() {
  constexpr std::string_view kText = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const auto header = winnow::SafetensorsHeader::parse(std::string(kText), 8);
  return header.ok() && header->tensors().size() == 1 && header->tensors()[0].name == "w";
}

// Links what verifies checksums.
bool looks_for_an_archive() {
  const auto archive = winnow::TorchArchive::open(winnow::Env::posix(), "/there/is/no/model.pt");
  return archive.status().code() == winnow::ErrorCode::kIoError;
}

bool writes_settings_down() {
  const std::string text = winnow::config_text({.config = {.sparsity_level = 0.8}});
  const auto settings = winnow::parse_config_text(text);
  return settings.ok() && settings->config.sparsity_level == 0.8;
}

}  // namespace

int main() {
  if (!computes_a_mask() || !reads_a_header() || !writes_settings_down()) return 1;
  if (!looks_for_an_archive()) return 1;
  std::printf("winnow %s works from its installed package\n", WINNOW_VERSION);
  return 0;
}
