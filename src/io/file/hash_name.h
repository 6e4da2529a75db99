// Private: which files are named by the hash of what they hold.
#pragma once

#include <string_view>

namespace winnow::io {

/// Whether the file name in `path` is a hash, as tools name the files of a store from which they
/// are taken by content: with other bytes such a file is wrong for everyone who shares it.
///
/// The names alone decide, since a look at the content costs as long as reading it:
///
///     40 or 64 digits                 Hugging Face's cache (SHA-1 of git, SHA-256), git-lfs, git
///     sha256-<64 digits>              Ollama
///     KEY-s<size>--<digits>[.ext]     git-annex, whose keys begin with the name of a hash
///     <2 digits>/<30 digits>          DVC (MD5)
///
/// Digits are hexadecimal, letters in lower case.
bool is_hash_name(std::string_view path) noexcept;

}  // namespace winnow::io
