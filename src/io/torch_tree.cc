#include "io/torch_tree.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <compare>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "io/concat.h"
#include "io/torch_tensor_checks.h"
#include "io/utf8.h"
#include "winnow/base/checked.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

using Table = TorchTreeAccess::Table;

// What the walk knows of a node: nothing, that it is on the path from the root, or all.
struct Visit {
  enum State : uint8_t { kNew, kOnPath, kDone } state = kNew;
  uint32_t height = 0;    // nodes on the longest path down
  uint64_t expanded = 0;  // nodes below, shared ones counted at each use
};

struct Step {
  TorchNode node;
  size_t next_child = 0;
};

// Depth first, children before parents, on a stack of its own.
class Walk {
 public:
  Walk(const Table& table, std::span<const TorchStorage> storages, std::vector<TorchNode>& order)
      : table_(table), storages_(storages), order_(order), visits_(table.nodes.size()) {}

  Status run(TorchNode root) {
    WINNOW_RETURN_IF_ERROR(enter(root));
    while (!path_.empty()) {
      Step& step = path_.back();
      const TorchNodeData& data = table_.nodes[step.node];
      if (step.next_child < children(data)) {
        WINNOW_RETURN_IF_ERROR(enter(child(data, step.next_child++)));
      } else {
        WINNOW_RETURN_IF_ERROR(leave(step.node, data));
      }
    }
    return {};
  }

 private:
  static size_t children(const TorchNodeData& data) {
    return data.items.size() + (data.attributes == kNoTorchNode ? 0 : 1);
  }

  static TorchNode child(const TorchNodeData& data, size_t i) {
    return i < data.items.size() ? data.items[i] : data.attributes;
  }

  Status enter(TorchNode node) {
    if ((node & kForeignBit) != 0) {
      return {ErrorCode::kPickleValue, "a storage or a name stands where data should"};
    }
    Visit& visit = visits_[node];
    if (visit.state == Visit::kOnPath) {
      return {ErrorCode::kPickleCycle,
              concat("a ", torch_kind_name(table_.nodes[node].kind), " contains itself")};
    }
    if (visit.state == Visit::kDone) return {};
    visit.state = Visit::kOnPath;
    path_.push_back({node});
    return {};
  }

  Status leave(TorchNode node, const TorchNodeData& data) {
    WINNOW_RETURN_IF_ERROR(measure(node, data));
    WINNOW_RETURN_IF_ERROR(check_node(node, data));
    visits_[node].state = Visit::kDone;
    order_.push_back(node);
    path_.pop_back();
    return {};
  }

  // Neither number overflows: each child's is within its limit, and so is the sum so far.
  Status measure(TorchNode node, const TorchNodeData& data) {
    Visit& visit = visits_[node];
    visit.expanded = 1;
    for (size_t i = 0; i < children(data); ++i) {
      const Visit& below = visits_[child(data, i)];
      visit.height = std::max(visit.height, below.height);
      visit.expanded += below.expanded;
      if (visit.expanded > kMaxTorchNodes) {
        return {ErrorCode::kPickleTooLarge,
                concat("more than ", kMaxTorchNodes, " values, shared ones counted at each use")};
      }
    }
    if (++visit.height > kMaxTorchDepth) {
      return {ErrorCode::kPickleTooDeep, concat("values are nested deeper than ", kMaxTorchDepth)};
    }
    return {};
  }

  Status check_node(TorchNode node, const TorchNodeData& data) const {
    switch (data.kind) {
      case TorchKind::kString:
        return check_text(table_.string_at(node));
      case TorchKind::kTensor:
        return check_tensor(table_.tensor_at(node), storages_);
      case TorchKind::kSparseTensor:
        return check_sparse(table_.sparse_at(node), storages_);
      case TorchKind::kDict:
        WINNOW_RETURN_IF_ERROR(check_attributes(data));
        return check_keys(table_, node);
      case TorchKind::kSet:
        return check_keys(table_, node);
      default:
        return {};
    }
  }

  // Attributes have names.
  Status check_attributes(const TorchNodeData& data) const {
    if (data.attributes == kNoTorchNode) return {};
    const std::vector<TorchNode>& items = table_.nodes[data.attributes].items;
    for (size_t i = 0; i < items.size(); i += 2) {
      const TorchKind kind = table_.nodes[items[i]].kind;
      if (kind == TorchKind::kString) continue;
      return {ErrorCode::kPickleKey,
              concat("a ", torch_kind_name(kind), " as an attribute's name")};
    }
    return {};
  }

  static Status check_text(std::string_view text) {
    const size_t invalid = find_invalid_utf8(text);
    if (invalid == text.size()) return {};
    return {ErrorCode::kPickleText,
            concat("the string \"", escape_name(text), "\" is not UTF-8 from byte ", invalid)};
  }

  const Table& table_;
  std::span<const TorchStorage> storages_;
  std::vector<TorchNode>& order_;
  std::vector<Visit> visits_;
  std::vector<Step> path_;
};

// A key as Python compares it: 1, 1.0 and True are equal.
struct Key {
  enum Rank : uint8_t { kNone, kInt, kReal, kText } rank = kNone;
  int64_t number = 0;  // of kReal, the bits
  std::string_view text = {};

  auto operator<=>(const Key&) const = default;
};

// A double that is a whole number in the range of int64 is equal to that one.
Key key_of_real(double real) {
  constexpr double kTwoTo63 = 9223372036854775808.0;
  if (real >= -kTwoTo63 && real < kTwoTo63 && std::trunc(real) == real) {
    return {.rank = Key::kInt, .number = static_cast<int64_t>(real)};
  }
  return {.rank = Key::kReal, .number = std::bit_cast<int64_t>(real)};
}

Status key_of(const Table& table, TorchNode node, Key& key) {
  const TorchNodeData& data = table.nodes[node];
  switch (data.kind) {
    case TorchKind::kNone:
      key = {};
      return {};
    case TorchKind::kBool:
    case TorchKind::kInt:
      key = {.rank = Key::kInt, .number = data.bits};
      return {};
    case TorchKind::kFloat:
      key = key_of_real(std::bit_cast<double>(data.bits));
      return {};
    case TorchKind::kString:
      key = {.rank = Key::kText, .text = table.string_at(node)};
      return {};
    default:
      return {ErrorCode::kPickleKey, concat("a ", torch_kind_name(data.kind),
                                            " as a key; strings, numbers and None are allowed")};
  }
}

std::string shown(const Key& key) {
  if (key.rank == Key::kText) return concat("\"", escape_name(key.text), "\"");
  if (key.rank == Key::kInt) return std::to_string(key.number);
  return key.rank == Key::kNone ? "None" : std::to_string(std::bit_cast<double>(key.number));
}

}  // namespace

Status check_keys(const Table& table, TorchNode node) {
  const TorchNodeData& data = table.nodes[node];
  const size_t step = data.kind == TorchKind::kDict ? 2 : 1;
  std::vector<Key> keys;
  keys.reserve(data.items.size() / step);
  for (size_t i = 0; i < data.items.size(); i += step) {
    WINNOW_RETURN_IF_ERROR(key_of(table, data.items[i], keys.emplace_back()));
  }
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice == keys.end()) return {};
  return {ErrorCode::kPickleDuplicateKey,
          concat("a ", torch_kind_name(data.kind), " has ", shown(*twice), " twice")};
}

Status walk_tree(const Table& table, std::span<const TorchStorage> storages,
                 std::vector<TorchNode>& order) {
  return Walk(table, storages, order).run(table.root);
}

void compact_tree(Table& table, std::span<const TorchNode> order) {
  Table out;
  std::vector<TorchNode> place(table.nodes.size());
  for (const TorchNode node : order) {
    TorchNodeData& data = table.nodes[node];
    for (TorchNode& item : data.items) item = place[item];
    if (data.attributes != kNoTorchNode) data.attributes = place[data.attributes];
    const auto index = static_cast<size_t>(data.bits);
    const auto move_from = [&data, index](auto& from, auto& to) {
      to.push_back(std::move(from[index]));
      data.bits = static_cast<int64_t>(to.size() - 1);
    };
    if (data.kind == TorchKind::kString) move_from(table.strings, out.strings);
    if (data.kind == TorchKind::kTensor) move_from(table.tensors, out.tensors);
    if (data.kind == TorchKind::kSparseTensor) move_from(table.sparse, out.sparse);
    place[node] = out.add(std::move(data));
  }
  out.root = place[table.root];
  table = std::move(out);
}

}  // namespace winnow::io
