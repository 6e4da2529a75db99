#include "deflate.h"

#include <libdeflate.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

namespace recommender {
namespace {

constexpr int kLevel = 6;  // the default of zip programs

int64_t deflated_size(const std::vector<char>& bytes) {
  const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
      libdeflate_alloc_compressor(kLevel), libdeflate_free_compressor);
  if (compressor == nullptr) {
    throw std::bad_alloc();
  }
  std::vector<char> out(libdeflate_deflate_compress_bound(compressor.get(), bytes.size()));
  return static_cast<int64_t>(libdeflate_deflate_compress(compressor.get(), bytes.data(),
                                                          bytes.size(), out.data(), out.size()));
}

}  // namespace

FileSize file_size(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file),
                                std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad()) {
    throw std::runtime_error(path + " cannot be read");
  }
  return {.bytes = static_cast<int64_t>(bytes.size()), .deflated_bytes = deflated_size(bytes)};
}

}  // namespace recommender
