#include "io/file/temp_name.h"

#include <cstdint>

namespace winnow::io {
namespace {

// FNV-1a with the offset basis and prime of its 64-bit form. Any hash does that stays the same from
// one version to the next; std::hash does not promise it.
uint64_t stable_hash(std::string_view text) noexcept {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  return hash;
}

std::string hex(uint64_t value) {
  std::string out(16, '0');
  for (size_t i = 16; i-- > 0; value >>= 4) out[i] = "0123456789abcdef"[value & 0xF];
  return out;
}

// `name` itself, or if that is too long its beginning and its hash.
std::string shortened(const std::string& name) {
  const size_t room = kMaxFileName - 1 - kTempSuffix.size();
  if (name.size() <= room) return name;
  // 17: the tilde and the digits of the hash.
  return name.substr(0, room - 17) + "~" + hex(stable_hash(name));
}

// In the same directory, since a rename does not leave its file system.
std::string hidden_path(const std::string& path, std::string_view suffix) {
  const std::string name = file_name_of(path);
  std::string out = path.substr(0, path.size() - name.size());
  return out.append(".").append(shortened(name)).append(suffix);
}

static_assert(kTempSuffix.size() == kStagedSuffix.size(), "names are cut at the same length");

}  // namespace

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string file_name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string temp_path_for(const std::string& path) { return hidden_path(path, kTempSuffix); }

std::string staged_path_for(const std::string& path) { return hidden_path(path, kStagedSuffix); }

}  // namespace winnow::io
