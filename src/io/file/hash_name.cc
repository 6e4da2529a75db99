#include "io/file/hash_name.h"

#include <algorithm>

namespace winnow::io {
namespace {

constexpr size_t kMd5 = 32, kSha1 = 40, kSha224 = 56, kSha256 = 64, kSha384 = 96, kSha512 = 128;

bool is_hex(std::string_view text) noexcept {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
}

bool is_hex(std::string_view text, size_t digits) noexcept {
  return text.size() == digits && is_hex(text);
}

// Takes what stands behind the last slash off the end of `path`.
std::string_view take_name(std::string_view& path) noexcept {
  const size_t slash = path.rfind('/');
  const std::string_view name = path.substr(slash + 1);  // npos + 1 is 0
  path = slash == path.npos ? std::string_view() : path.substr(0, slash);
  return name;
}

// Such as "SHA256E-s31390--HASH.png": the kind of hash, the size, the hash.
bool is_annex_key(std::string_view name) noexcept {
  const size_t dashes = name.find("--");
  const size_t size = name.find("-s");
  if (dashes == name.npos || size >= dashes || name.empty()) return false;
  if (name[0] < 'A' || name[0] > 'Z') return false;
  const std::string_view behind = name.substr(dashes + 2);
  const std::string_view digits = behind.substr(0, behind.find('.'));
  constexpr size_t kLengths[] = {kMd5, kSha1, kSha224, kSha256, kSha384, kSha512};
  return is_hex(digits) && std::ranges::find(kLengths, digits.size()) != std::end(kLengths);
}

}  // namespace

bool is_hash_name(std::string_view path) noexcept {
  constexpr std::string_view kOllama = "sha256-";
  constexpr size_t kFolderDigits = 2;
  const std::string_view name = take_name(path);
  // Hugging Face's cache and git-lfs; git-annex.
  if (is_hex(name, kSha1) || is_hex(name, kSha256) || is_annex_key(name)) return true;
  if (name.starts_with(kOllama)) return is_hex(name.substr(kOllama.size()), kSha256);
  // DVC: the first digits of the MD5 name the folder.
  return is_hex(name, kMd5 - kFolderDigits) && is_hex(take_name(path), kFolderDigits);
}

}  // namespace winnow::io
