// Private: what an AtomicDirectory should hold when it is put in place.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "winnow/base/status.h"
#include "winnow/io/env.h"

namespace winnow::io {

/// The names of files and subdirectories that were asked for, as paths from the top: "a/b". Not
/// thread-safe. Allocates the names.
class StagedTree {
 public:
  /// Adds a file; one that is there already stays. kInvalidArgument: a name in the path that
  /// check_file_name refuses, a directory that was not added before, or the path of a directory.
  Status add_file(std::string_view path);

  /// Adds a directory. The same errors, a path deeper than AtomicDirectory::kMaxDepth included;
  /// kAlreadyExists: the path is taken.
  Status add_directory(std::string_view path);

  /// ok if `top` and its subdirectories hold these names and no others; else kCheckFailed, with the
  /// first name that differs.
  Status check(Env& env, const std::string& top) const;

  /// Puts the names in `top` and in its subdirectories on the disk.
  Status sync(Env& env, const std::string& top) const;

 private:
  using Names = std::set<std::string, std::less<>>;
  Status check_new(std::string_view path) const;

  // By directory, the names in it. The top is "", and a parent comes before what is in it.
  std::map<std::string, Names, std::less<>> names_ = {{"", {}}};
};

}  // namespace winnow::io
