// PRIVATE. Tuples, lists and dictionaries of c10::IValue.
#pragma once

#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>
#include <c10/util/Exception.h>  // before the next, which uses it
#include <torch/ordered_dict.h>

#include <string>
#include <vector>

namespace winnow::internal {

inline c10::IValue tuple_of(at::IntArrayRef integers) {
  return c10::ivalue::Tuple::create(std::vector<c10::IValue>(integers.begin(), integers.end()));
}

// Lists and dictionaries declare values of any type, because one may hold several types.

template <typename Items, typename ValueOf>
c10::IValue list_of(const Items& items, const ValueOf& value_of) {
  c10::impl::GenericList list(c10::AnyType::get());
  for (const auto& item : items) list.push_back(value_of(item));
  return list;
}

template <typename Value>
c10::IValue dict_of(const torch::OrderedDict<std::string, Value>& items) {
  c10::impl::GenericDict dict(c10::StringType::get(), c10::AnyType::get());
  for (const auto& item : items) dict.insert(item.key(), item.value());
  return dict;
}

}  // namespace winnow::internal
