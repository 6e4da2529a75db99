// The size of a file before and after zipping.
#pragma once

#include <cstdint>
#include <string>

namespace recommender {

/// The size of a file, and of its bytes deflated at level 6, as zip programs do. An archive adds
/// about 100 bytes for the name.
struct FileSize {
  int64_t bytes = 0;
  int64_t deflated_bytes = 0;
};

/// Reads the whole file. Throws std::runtime_error, which names the file, if that fails.
FileSize file_size(const std::string& path);

}  // namespace recommender
