#include "deflate.h"

#include <zlib.h>

#include <fstream>
#include <iterator>
#include <stdexcept>
#include <vector>

namespace recommender {

FileSize file_size(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file),
                                std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad()) {
    throw std::runtime_error(path + " cannot be read");
  }
  uLongf deflated = compressBound(bytes.size());
  std::vector<Bytef> buffer(deflated);
  if (compress2(buffer.data(), &deflated, reinterpret_cast<const Bytef*>(bytes.data()),
                bytes.size(), Z_DEFAULT_COMPRESSION) != Z_OK) {
    throw std::runtime_error(path + " cannot be deflated");
  }
  return {.bytes = static_cast<int64_t>(bytes.size()),
          .deflated_bytes = static_cast<int64_t>(deflated)};
}

}  // namespace recommender
