// Any text as the settings in a file's metadata, and any settings as a text. What is accepted has
// to be the canonical text of valid settings, and settings have to come back from their text.
//
//   python3 fuzz/settings_seeds.py seeds
//   settings_fuzzer -dict=fuzz/settings_fuzzer.dict -timeout=5 corpus seeds
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/checkpoint/prune_settings.h"

namespace {

using winnow::ErrorCode;
using winnow::PruneSettings;
using winnow::Result;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_message(const winnow::Status& status) {
  require(status.code() == ErrorCode::kBadSettings || status.code() == ErrorCode::kOtherRule);
  require(!status.message().empty());
}

void check_text(std::string_view text) {
  const Result<PruneSettings> settings = winnow::parse_config_text(text);
  if (!settings.ok()) return check_message(settings.status());
  require(winnow::validate(*settings).ok());
  require(winnow::config_text(*settings) == text);
}

// A pattern need not be a valid one here, but it has to be UTF-8.
std::string ascii(FuzzedDataProvider& input) {
  std::string text = input.ConsumeRandomLengthString(12);
  for (char& c : text) c = static_cast<char>(c & 0x7F);
  return text;
}

std::vector<std::string> patterns(FuzzedDataProvider& input) {
  std::vector<std::string> result(input.ConsumeIntegralInRange<size_t>(0, 3));
  for (std::string& pattern : result) pattern = ascii(input);
  return result;
}

double level(FuzzedDataProvider& input) {
  return input.ConsumeBool() ? input.ConsumeProbability<double>()
                             : input.ConsumeFloatingPoint<double>();
}

PruneSettings settings_of(FuzzedDataProvider& input) {
  PruneSettings settings;
  settings.config.sparsity_level = level(input);
  settings.config.sparse_block_shape = {
      input.ConsumeIntegral<uint64_t>() >> (input.ConsumeIntegral<uint8_t>() % 64),
      input.ConsumeIntegral<uint64_t>() >> (input.ConsumeIntegral<uint8_t>() % 64)};
  if (input.ConsumeBool()) settings.config.zeros_per_block = input.ConsumeIntegral<uint16_t>();
  if (input.ConsumeBool()) settings.config.norm = winnow::Norm::kL2;
  if (input.ConsumeBool()) settings.scope = winnow::Scope::kGlobal;
  if (input.ConsumeBool()) settings.nan = winnow::NanPolicy::kKeep;
  settings.include = patterns(input);
  settings.exclude = patterns(input);
  settings.force = patterns(input);
  for (const std::string& pattern : patterns(input)) {
    settings.levels.push_back({pattern, level(input)});
  }
  return settings;
}

void check_settings(const PruneSettings& settings) {
  if (!winnow::validate(settings).ok()) return;
  const std::string text = winnow::config_text(settings);
  const Result<PruneSettings> again = winnow::parse_config_text(text);
  require(again.ok() && winnow::config_text(*again) == text);
  require(again->config.sparsity_level == settings.config.sparsity_level);
  require(again->config.sparse_block_shape == settings.config.sparse_block_shape);
  require(again->config.norm == settings.config.norm && again->scope == settings.scope);
  require(again->levels == settings.levels && again->nan == settings.nan);
  // Equal work has equal text, whatever the order of patterns and how often they are given.
  PruneSettings same = settings;
  for (std::vector<std::string>* list : {&same.include, &same.exclude, &same.force}) {
    std::reverse(list->begin(), list->end());
    if (!list->empty()) list->push_back(list->front());
  }
  require(winnow::config_text(same) == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check_text({reinterpret_cast<const char*>(data), size});
  FuzzedDataProvider input(data, size);
  check_settings(settings_of(input));
  return 0;
}
