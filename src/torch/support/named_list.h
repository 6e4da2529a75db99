// PRIVATE. A dictionary in the order of insertion.
#pragma once

#include <list>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace winnow::internal {

/// Like torch::OrderedDict, but the cost of erase does not depend on the size; that class renumbers
/// all later items. References are valid until their own name is erased.
template <typename Value>
class NamedList {
 public:
  using Item = std::pair<const std::string, Value>;

  NamedList() = default;
  NamedList(NamedList&&) noexcept = default;
  NamedList& operator=(NamedList&&) noexcept = default;
  NamedList(const NamedList&) = delete;  // the index would point into the other list
  NamedList& operator=(const NamedList&) = delete;

  /// Returns the value of that name, or null.
  Value* find(const std::string& name) { return find_in(*this, name); }
  const Value* find(const std::string& name) const { return find_in(*this, name); }
  bool contains(const std::string& name) const { return index_.contains(name); }

  /// Appends. Precondition: the name is new.
  Value& insert(const std::string& name, Value value) {
    items_.emplace_back(name, std::move(value));
    index_.emplace(name, std::prev(items_.end()));
    return items_.back().second;
  }

  /// Removes the name; does nothing if there is none.
  void erase(const std::string& name) {
    const auto found = index_.find(name);
    if (found == index_.end()) return;
    items_.erase(found->second);
    index_.erase(found);
  }

  /// Moves all items of `other` to the end. Precondition: no name is in both.
  void append(NamedList&& other) {
    index_.merge(other.index_);
    items_.splice(items_.end(), other.items_);
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    names.reserve(items_.size());
    for (const Item& item : items_) names.push_back(item.first);
    return names;
  }

  auto begin() noexcept { return items_.begin(); }
  auto end() noexcept { return items_.end(); }
  auto begin() const noexcept { return items_.begin(); }
  auto end() const noexcept { return items_.end(); }

 private:
  template <typename List>
  static auto find_in(List& list, const std::string& name) -> decltype(&list.begin()->second) {
    const auto found = list.index_.find(name);
    return found == list.index_.end() ? nullptr : &found->second->second;
  }

  std::list<Item> items_;
  std::unordered_map<std::string, typename std::list<Item>::iterator> index_;
};

}  // namespace winnow::internal
