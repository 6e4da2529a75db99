#include "io/file/file_kind.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "winnow/base/concat.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

struct FileKind {
  size_t at;  // where the magic stands
  std::string_view magic;
  std::string_view what;
  std::string_view advice;
};

// The kind that was recognised; none if `what` is empty.
struct Found {
  std::string what;
  std::string_view advice = {};
};

constexpr std::string_view kZipMagic = "PK\3\4";
constexpr std::string_view kDecompress = "decompress it first";
constexpr std::string_view kSaveAgain =
    "load it with torch.load(path, weights_only=True) and save its tensors with "
    "safetensors.torch.save_file";
constexpr std::string_view kDownloadAgain =
    "a server answered with it in the place of the file: download the file itself";

using namespace std::string_view_literals;

// The first that fits is meant.
constexpr FileKind kKinds[] = {
    {0, "version https://git-lfs.github.com/spec/", "a Git LFS pointer",
     "run `git lfs pull` to get the file that it stands for"},
    {0, kZipMagic, "a zip, as torch.save writes", kSaveAgain},
    {0, "GGUF", "a GGUF file of llama.cpp", "give the file that it was made from"},
    {0, "\x1f\x8b\x08", "compressed by gzip", kDecompress},
    {0, "\x28\xb5\x2f\xfd", "compressed by zstd", kDecompress},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     "compressed by xz", kDecompress},
    {0, "BZh", "compressed by bzip2", kDecompress},
    {0, "\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes", "save its arrays as safetensors"},
    {0, "\x93NUMPY", "an array of NumPy (.npy)",
     "save it with safetensors.numpy.save_file({name: array}, path)"},
    {257, "ustar", "a tar archive", "extract the file from it"},
    {0, "\x80\x02", "a pickle, as Python and torch before 1.6 write", kSaveAgain},
    {0, "\x80\x03", "a pickle, as Python writes", kSaveAgain},
    {0, "\x80\x04", "a pickle, as Python writes", kSaveAgain},
    {0, "\x80\x05", "a pickle, as Python writes", kSaveAgain},
};

// These begin behind spaces, in letters of either case.
constexpr FileKind kTextKinds[] = {
    {0, "<!doctype html", "a web page", kDownloadAgain},
    {0, "<html", "a web page", kDownloadAgain},
    {0, "<?xml", "an XML text", kDownloadAgain},
};

// `magic` is in lower case, the text in either.
bool begins_as(std::string_view text, std::string_view magic) noexcept {
  const auto same = [](char m, char c) {
    return m == (c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  };
  return text.size() >= magic.size() && std::equal(magic.begin(), magic.end(), text.begin(), same);
}

bool is_printable(std::string_view text) noexcept {
  return std::ranges::all_of(
      text, [](char c) { return (c >= ' ' && c <= '~') || c == '\t' || c == '\n' || c == '\r'; });
}

Found plain_text(std::string_view text) {
  constexpr size_t kShown = 40;
  const std::string_view line = text.substr(0, std::min(text.find_first_of("\r\n"), kShown));
  return {concat("a text that begins with \"", escape_name(line), "\"")};
}

Found find_text(std::string_view front) {
  constexpr size_t kLengthBytes = 8;  // of a safetensors file, in which no text can stand
  const size_t begin = front.find_first_not_of(" \t\r\n");
  if (begin == front.npos || !is_printable(front.substr(0, kLengthBytes))) return {};
  const std::string_view text = front.substr(begin);
  for (const FileKind& kind : kTextKinds) {
    if (begins_as(text, kind.magic)) return {std::string(kind.what), kind.advice};
  }
  if (text[0] != '{') return plain_text(text);
  if (text.find("\"weight_map\"") == text.npos) return {"a JSON text"};
  return {"the index of a checkpoint in shards", "give its shards one by one"};
}

Found find_kind(std::string_view front) {
  if (is_safetensors(front)) return {"a safetensors file"};
  for (const FileKind& kind : kKinds) {
    if (front.substr(std::min(kind.at, front.size())).starts_with(kind.magic)) {
      return {std::string(kind.what), kind.advice};
    }
  }
  return find_text(front);
}

}  // namespace

// Only tells the kind: the reader says better what is wrong with such a file.
bool is_safetensors(std::string_view front) noexcept {
  constexpr size_t kLengthBytes = 8;
  const size_t begin = front.find_first_not_of(" \t\r\n", kLengthBytes);
  // The upper half of the length is 0, since no header has 2^32 bytes.
  return begin != front.npos && front[begin] == '{' &&
         front.substr(4, 4) == std::string_view("\0\0\0\0", 4);
}

bool is_zip(std::string_view front) noexcept { return front.starts_with(kZipMagic); }

std::string file_kind_message(std::span<const std::byte> bytes, std::string_view expected) {
  if (bytes.empty()) return concat("the file is empty, no ", expected);
  if (std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{}; })) {
    return concat("the file begins with ", bytes.size(), " NUL bytes, as a download that was not ",
                  "finished may, and is no ", expected);
  }
  const Found found = find_kind({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  // Of the kind that was expected, but broken: the reader's own message says more.
  if (found.what.empty() || found.what.ends_with(expected)) return {};
  return concat("this is ", found.what, ", no ", expected, found.advice.empty() ? "" : "; ",
                found.advice);
}

Status with_file_kind(const Status& status, std::span<const std::byte> front) {
  // With a later fault, the header is a JSON object, and so the file of no other kind.
  if (status.code().number < SafetensorsError::kFileTooShort.number ||
      status.code().number > SafetensorsError::kHeaderNotObject.number) {
    return status;
  }
  std::string message = file_kind_message(front, "safetensors file");
  return message.empty() ? status : Status(status.code(), std::move(message));
}

}  // namespace winnow::io
