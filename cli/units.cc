#include "units.h"

#include <cctype>
#include <charconv>
#include <cstdio>
#include <iterator>

#include "console.h"
#include "winnow/base/checked.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow::cli {
namespace {

std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

std::string bytes_text(double bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  size_t unit = 0;
  // From 999.5 on, three digits would show 1000. The formats below keep three digits likewise.
  for (; bytes >= 999.5 && unit + 1 < std::size(kUnits); ++unit) bytes /= 1000;
  const char* format = unit == 0 || bytes >= 99.95 ? "%.0f " : bytes >= 9.995 ? "%.1f " : "%.2f ";
  return formatted(format, bytes) + kUnits[unit];
}

std::optional<uint64_t> parse_bytes(std::string_view text) {
  uint64_t bytes = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (error != std::errc()) return std::nullopt;
  std::string unit(text.substr(static_cast<size_t>(rest - text.data())));
  for (char& letter : unit) letter = static_cast<char>(std::tolower(letter));
  constexpr std::string_view kPrefixes = "kmgtpe";
  const size_t power = unit.empty() ? kPrefixes.npos : kPrefixes.find(unit[0]);
  const std::string_view suffix = std::string_view(unit).substr(power == kPrefixes.npos ? 0 : 1);
  const bool is_binary = suffix.empty() || (suffix == "ib" && suffix.size() < unit.size());
  if (!is_binary && suffix != "b") return std::nullopt;
  for (size_t i = 0; power != kPrefixes.npos && i <= power; ++i) {
    const std::optional<uint64_t> product = checked_mul(bytes, is_binary ? 1024 : 1000);
    if (!product) return std::nullopt;
    bytes = *product;
  }
  return bytes;
}

std::string count_text(uint64_t count) {
  std::string text = std::to_string(count);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, 1, ',');
  return text;
}

std::string share_text(uint64_t part, uint64_t of) {
  if (of == 0) return "-";
  return formatted("%.2f %%", 100.0 * static_cast<double>(part) / static_cast<double>(of));
}

std::string seconds_text(double seconds) { return formatted("%.2f s", seconds); }

std::string stages_text(const StageSeconds& seconds) {
  std::string text;
  for (const Stage& stage : kStages) {
    const double value = seconds.*stage.seconds;
    if (value == 0) continue;
    text += concat(text.empty() ? "" : ", ", stage.name, " ", seconds_text(value));
  }
  return text;
}

std::string time_text(const StageSeconds& seconds, uint64_t bytes, uint64_t peak_memory_bytes,
                      bool list_stages) {
  const double speed = static_cast<double>(bytes) / seconds.total;
  return concat("time     ", seconds_text(seconds.total), ", ", bytes_text(speed),
                "/s, peak memory ", bytes_text(static_cast<double>(peak_memory_bytes)), "\n",
                list_stages ? concat("stages   ", stages_text(seconds), "\n") : "");
}

std::string alias_text(const std::string& alias, const TensorInfo& tensor) {
  return escape_name(alias) + " is stored as " + escape_name(tensor.name);
}

std::string result_text(const std::string& output, const std::string& written) {
  if (written.empty()) return "none: a dry run writes nothing";
  return written == output ? shown(output) : shown(output) + ", a link to " + shown(written);
}

std::string left_out_text(const std::vector<std::string>& names, uint64_t values) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "left out " : "         ") + shown(name) + "\n";
  }
  if (values > 0) {
    text += (text.empty() ? "left out " : "         ") + count_text(values) +
            " values that are no tensors: a safetensors file has no place for them\n";
  }
  return text;
}

std::string shape_text(const std::vector<uint64_t>& shape) {
  if (shape.empty()) return "scalar";
  std::string text;
  for (const uint64_t dimension : shape) {
    text += (text.empty() ? "" : " x ") + std::to_string(dimension);
  }
  return text;
}

}  // namespace winnow::cli
