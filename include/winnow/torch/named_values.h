// A small ordered dictionary from names to c10::IValue: the configuration of one piece of data, its
// state, the values of a schedule.
//
//   NamedValues config{{"sparsity_level", 0.7}, {"sparse_block_shape", {2, 3}}};
//   config.set("zeros_per_block", 6);
//   double level = config.get<double>("sparsity_level");
#pragma once

#include <ATen/core/ivalue.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace winnow {

/// Iterates in the order of insertion; setting a name again keeps its place. Look-up is linear: a
/// configuration has a handful of names. Copies share tensors and lists, as handles do; see
/// deep_copy. Thread-safety: const members of one object may be called at the same time.
class NamedValues {
 public:
  struct Entry {
    /// Anything that an IValue holds: numbers, strings, tensors, lists, dictionaries.
    Entry(std::string name, c10::IValue value) : name(std::move(name)), value(std::move(value)) {}
    /// A tuple of integers, such as a block shape {rows, columns}.
    Entry(std::string name, std::initializer_list<int64_t> integers);

    std::string name;
    c10::IValue value;
  };

  NamedValues() = default;
  /// Of equal names the last value counts.
  NamedValues(std::initializer_list<Entry> entries);

  /// The value of that name, or null. Valid until the dictionary is changed.
  const c10::IValue* find(std::string_view name) const noexcept;
  /// Whether there is a value of that name.
  bool contains(std::string_view name) const noexcept { return find(name) != nullptr; }

  /// The value of that name. KeyError naming it where there is none.
  const c10::IValue& at(std::string_view name) const;

  /// at(name) as T: double (integers convert), int64_t, bool, std::string or at::Tensor.
  /// c10::TypeError naming the value's name and both types where it is something else.
  template <typename T>
  T get(std::string_view name) const = delete;

  /// Adds the value at the end, or replaces the one of that name in its place.
  void set(std::string_view name, c10::IValue value);
  /// The same for a tuple of integers, such as a block shape {rows, columns}.
  void set(std::string_view name, std::initializer_list<int64_t> integers);

  /// Sets every entry of `other`.
  void update(const NamedValues& other);

  /// Removes the name; false where it was not there.
  bool erase(std::string_view name);

  /// A copy that shares nothing: tensors are cloned (detached), lists and dictionaries copied.
  NamedValues deep_copy() const;

  /// The entries in the order of insertion. Iterators are valid until the dictionary is changed.
  size_t size() const noexcept { return entries_.size(); }
  bool empty() const noexcept { return entries_.empty(); }
  auto begin() const noexcept { return entries_.begin(); }
  auto end() const noexcept { return entries_.end(); }

 private:
  std::vector<Entry> entries_;
};

/// The types that `get` knows; no other compiles.
template <>
double NamedValues::get<double>(std::string_view name) const;
template <>
int64_t NamedValues::get<int64_t>(std::string_view name) const;
template <>
bool NamedValues::get<bool>(std::string_view name) const;
template <>
std::string NamedValues::get<std::string>(std::string_view name) const;
template <>
at::Tensor NamedValues::get<at::Tensor>(std::string_view name) const;

/// A value as Python's str() writes it: 0.5, (1, 4), True, None; tensors as their sizes and type.
std::string to_text(const c10::IValue& value);

}  // namespace winnow
