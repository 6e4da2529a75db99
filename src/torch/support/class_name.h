// PRIVATE. Names of classes in texts, like Python's __name__.
#pragma once

#include <c10/util/Type.h>

#include <string>
#include <typeinfo>

namespace winnow::internal {

/// Returns the name without namespaces, for example "DataNormSparsifier".
inline std::string class_name(const std::type_info& type) {
  const std::string name = c10::demangle(type.name());
  const size_t colon = name.rfind(':');
  return colon == std::string::npos ? name : name.substr(colon + 1);
}

}  // namespace winnow::internal
