// The most memory that a call takes, as the system counts it.
#pragma once

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>

namespace winnow::testing {

/// kB of a line of /proc/self/status.
inline int64_t status_kb(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kb = 0;
    if (word == key + ":" && status >> kb) return kb;
  }
  return -1;
}

/// The most memory that `call` had at once beyond what was there before it, in shares of `bytes`.
/// Throws if the system does not let a process forget its peak.
template <typename Call>
double peak_share(int64_t bytes, const Call& call) {
  std::ofstream("/proc/self/clear_refs") << 5;
  const int64_t before = status_kb("VmRSS");
  if (status_kb("VmHWM") > before + 1024) throw std::runtime_error("the peak cannot be reset");
  call();
  return static_cast<double>((status_kb("VmHWM") - before) * 1024) / static_cast<double>(bytes);
}

}  // namespace winnow::testing
