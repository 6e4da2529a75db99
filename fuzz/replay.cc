// Runs a fuzz target without libFuzzer: on every file of a folder, and on mutants of each, the same
// ones every time. It is the short form of fuzzing in `./dev test`, where the library has been
// compiled already; `./dev fuzz` compiles it again, with clang and sanitizers.
//
//   replay FOLDER MUTANTS [REGRESS]
//
// REGRESS is a folder of inputs that once failed; they are run as they are.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

Bytes read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Some bytes changed, one inserted, or the end cut off.
Bytes mutant_of(Bytes bytes, std::mt19937& random) {
  if (bytes.empty()) return {static_cast<uint8_t>(random())};
  const size_t at = random() % bytes.size();
  switch (random() % 4) {
    case 0:
      bytes.resize(at);
      break;
    case 1:
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), static_cast<uint8_t>(random()));
      break;
    default:
      for (size_t i = 0; i <= random() % 4; ++i) {
        bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
      }
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fputs("usage: replay FOLDER MUTANTS [REGRESS]\n", stderr);
    return 2;
  }
  const auto mutants = std::strtoul(argv[2], nullptr, 10);
  std::mt19937 random(1);
  size_t runs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    const Bytes seed = read(entry.path());
    LLVMFuzzerTestOneInput(seed.data(), seed.size());
    for (size_t i = 0; i < mutants; ++i) {
      const Bytes bytes = mutant_of(seed, random);
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
    runs += 1 + mutants;
  }
  if (argc == 4) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[3])) {
      const Bytes input = read(entry.path());
      LLVMFuzzerTestOneInput(input.data(), input.size());
      ++runs;
    }
  }
  std::printf("%zu inputs\n", runs);
  return runs > 0 ? 0 : 1;
}
