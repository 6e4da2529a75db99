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

/// An ordered dictionary. Iterates in the order of insertion; setting a name again keeps its place.
/// Look-ups are linear, because configurations have few names. Copies share tensors and lists; see
/// deep_copy. Thread-safety: const members of one object may be called concurrently.
class NamedValues {
 public:
  /// A name and its value.
  struct Entry {
    /// Any value of an IValue: numbers, strings, tensors, lists, dictionaries.
    Entry(std::string name, c10::IValue value) : name(std::move(name)), value(std::move(value)) {}
    /// A tuple of integers, such as a block shape {rows, columns}.
    Entry(std::string name, std::initializer_list<int64_t> integers);

    std::string name;
    c10::IValue value;
  };

  NamedValues() = default;
  /// If a name occurs more than once, its last value is used.
  NamedValues(std::initializer_list<Entry> entries);

  /// Returns the value of that name, or null. Valid until the dictionary is changed.
  const c10::IValue* find(std::string_view name) const noexcept;
  /// Returns true if there is a value of that name.
  bool contains(std::string_view name) const noexcept { return find(name) != nullptr; }

  /// Returns the value of that name. Valid until the dictionary is changed. Throws KeyError, with
  /// the name, if there is none.
  const c10::IValue& at(std::string_view name) const;

  /// Returns at(name) as T: double (integers convert), int64_t, bool, std::string or at::Tensor. No
  /// other T compiles. Throws c10::TypeError, with the name and both types, if the value has
  /// another type.
  template <typename T>
  T get(std::string_view name) const = delete;

  /// Replaces the value of that name in its place, or appends a new entry.
  void set(std::string_view name, c10::IValue value);
  /// Does the same for a tuple of integers, such as a block shape {rows, columns}.
  void set(std::string_view name, std::initializer_list<int64_t> integers);

  /// Sets every entry of `other`.
  void update(const NamedValues& other);

  /// Removes the name. Returns false if there was no such name.
  bool erase(std::string_view name);

  /// Returns a copy that shares nothing: tensors are cloned (detached), lists and dictionaries
  /// copied.
  NamedValues deep_copy() const;

  /// Returns the number of entries.
  size_t size() const noexcept { return entries_.size(); }
  /// Returns true if there are no entries.
  bool empty() const noexcept { return entries_.empty(); }
  /// Returns an iterator to the first entry in the order of insertion; valid until a change.
  auto begin() const noexcept { return entries_.begin(); }
  /// Returns the iterator behind the last entry.
  auto end() const noexcept { return entries_.end(); }

 private:
  std::vector<Entry> entries_;
};

/// get for an integer or floating-point number.
template <>
double NamedValues::get<double>(std::string_view name) const;
/// get for an integer.
template <>
int64_t NamedValues::get<int64_t>(std::string_view name) const;
/// get for a bool.
template <>
bool NamedValues::get<bool>(std::string_view name) const;
/// get for a string.
template <>
std::string NamedValues::get<std::string>(std::string_view name) const;
/// get for a tensor, which is shared with the dictionary.
template <>
at::Tensor NamedValues::get<at::Tensor>(std::string_view name) const;

/// Formats a value as Python's str() does: 0.5, (1, 4), True, None. Of a tensor, only its sizes and
/// dtype are printed.
std::string to_text(const c10::IValue& value);

}  // namespace winnow
