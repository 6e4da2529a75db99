// Judges safetensors files for tests/python/test_safetensors_differential.py. Reads one file after
// the other from the standard input, each behind its length in 8 bytes, the lowest first, and
// answers with a line for each: "ok" or the name of the error code.
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "winnow/io/safetensors.h"

namespace {

bool read_bytes(std::vector<std::byte>& out) {
  std::cin.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size()));
  return std::cin.gcount() == static_cast<std::streamsize>(out.size());
}

bool read_file(std::vector<std::byte>& file) {
  std::vector<std::byte> length_bytes(8);
  if (!read_bytes(length_bytes)) return false;
  uint64_t length = 0;
  for (size_t i = 8; i-- > 0;) length = length << 8 | std::to_integer<uint64_t>(length_bytes[i]);
  file.resize(length);
  return read_bytes(file);
}

std::string verdict(const std::vector<std::byte>& file) {
  const winnow::Status status = winnow::SafetensorsHeader::parse_image(file).status();
  return status.ok() ? "ok" : std::string(status.code().name);
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  std::cin.tie(nullptr);
  std::vector<std::byte> file;
  while (read_file(file)) std::cout << verdict(file) << '\n';
  return std::cout.flush() ? 0 : 1;
}
