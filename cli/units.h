// Formats numbers and names for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/checkpoint/progress.h"
#include "winnow/io/safetensors.h"

namespace winnow::cli {

/// "90.9 MB": decimal units, three digits. Below 1000, the plain number: "512 B".
std::string bytes_text(double bytes);

/// The bytes of "512M", "512MiB" (1024 * 1024 each), "512MB" (1000 * 1000 each) or "512" (B);
/// nothing for any other text, and for what does not fit into 64 bits. Letters of either case.
std::optional<uint64_t> parse_bytes(std::string_view text);

/// "22,713,216".
std::string count_text(uint64_t count);

/// "80.00 %"; "-" if `of` is 0.
std::string share_text(uint64_t part, uint64_t of);

/// "0.31 s".
std::string seconds_text(double seconds);

/// The stages that took any time: "open 0.00 s, read 0.06 s".
std::string stages_text(const StageSeconds& seconds);

/// The lines of a summary that say how long `bytes` took: "time     0.31 s, 9.71 GB/s, peak memory
/// 30.0 MB", and behind it, if they are asked for, the stages.
std::string time_text(const StageSeconds& seconds, uint64_t bytes, uint64_t peak_memory_bytes,
                      bool list_stages);

/// "lm_head.weight is stored as emb.weight".
std::string alias_text(const std::string& alias, const TensorInfo& tensor);

/// The output as it was typed, and if that is a link, what was really `written`.
std::string result_text(const std::string& output, const std::string& written);

/// The lines of a summary that list what was not carried over: names of files, and how many values
/// that are no tensors; empty if all was.
std::string left_out_text(const std::vector<std::string>& names, uint64_t values);

/// "30522 x 384"; "scalar" for a shape without dimensions.
std::string shape_text(const std::vector<uint64_t>& shape);

}  // namespace winnow::cli
