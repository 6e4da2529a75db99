#include "io/torch_tree/torch_tree.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "io/torch_tree/torch_tensor_checks.h"
#include "winnow/base/checked.h"
#include "winnow/base/concat.h"
#include "winnow/base/utf8.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

using Table = TorchTreeAccess::Table;

// The state of a node in the walk: unknown, on the path from the root, or done.
struct Visit {
  enum State : uint8_t { kNew, kOnPath, kDone } state = kNew;
  bool has_names = false;  // of a Dict that was found to have strings as keys
  uint16_t height = 0;     // nodes on the longest path down
  uint32_t expanded = 0;   // nodes below, shared ones counted at each use
};

// Where the walk stands in a node, in place of a frame on the call stack.
struct Step {
  TorchNode node;
  size_t next_child = 0;
};

// Depth first, children before parents, on a stack of its own: how deep a file goes is only known
// when it is walked.
// The order serves compact_tree as well, which needs the places of children first.
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
        continue;
      }
      // All children are done, so their numbers are known.
      WINNOW_RETURN_IF_ERROR(measure(step.node, data));
      WINNOW_RETURN_IF_ERROR(check_node(step.node, data));
      visits_[step.node].state = Visit::kDone;
      order_.push_back(step.node);
      path_.pop_back();
    }
    return {};
  }

 private:
  static size_t children(const TorchNodeData& data) {
    // What an opaque value holds is nobody's to see, and may be a cycle.
    if (data.kind == TorchKind::kOpaque) return 0;
    return data.items.size() + (data.attributes == kNoTorchNode ? 0 : 1);
  }

  static TorchNode child(const TorchNodeData& data, size_t i) {
    return i < data.items.size() ? data.items[i] : data.attributes;
  }

  Status enter(TorchNode node) {
    if ((node & kForeignBit) != 0) {
      return {PickleError::kPickleValue, "a storage or a name stands where data should"};
    }
    Visit& visit = visits_[node];
    if (visit.state == Visit::kOnPath) {
      return {PickleError::kPickleCycle,
              concat("a ", torch_kind_name(table_.nodes[node].kind), " contains itself")};
    }
    if (visit.state == Visit::kDone) return {};  // a shared node is checked once
    visit.state = Visit::kOnPath;
    path_.push_back({node});
    return {};
  }

  // Neither number overflows: each child's is within its limit, and so is the sum so far.
  Status measure(TorchNode node, const TorchNodeData& data) {
    Visit& visit = visits_[node];
    // A file can share a list in a list in a list, so that a few bytes expand without bound, and
    // whoever walks the tree as Python would pays for each use.
    visit.expanded = 1;
    for (size_t i = 0; i < children(data); ++i) {
      const Visit& below = visits_[child(data, i)];
      visit.height = std::max(visit.height, below.height);
      visit.expanded += below.expanded;
      if (visit.expanded > kMaxTorchNodes) {
        return {PickleError::kPickleTooLarge,
                concat("more than ", kMaxTorchNodes, " values, shared ones counted at each use")};
      }
    }
    // Callers may recurse over a checked tree: the limit is that of their stack.
    if (++visit.height > kMaxTorchDepth) {
      return {PickleError::kPickleTooDeep,
              concat("values are nested deeper than ", kMaxTorchDepth)};
    }
    return {};
  }

  // All but keys, which are checked when the walk is over.
  Status check_node(TorchNode node, const TorchNodeData& data) {
    switch (data.kind) {
      case TorchKind::kString:
        return check_text(table_.string_at(node));
      // Tensors from a pickle were checked when they were made, those of TorchTree only here.
      case TorchKind::kTensor:
        return check_tensor(table_.tensor_at(node), storages_);
      case TorchKind::kSparseTensor:
        return check_sparse(table_.sparse_at(node), storages_);
      case TorchKind::kDict:
        return check_attributes(data);
      default:
        return {};
    }
  }

  // Attributes have names. Many may share one Dict, which is looked at once.
  Status check_attributes(const TorchNodeData& data) {
    if (data.attributes == kNoTorchNode || visits_[data.attributes].has_names) return {};
    visits_[data.attributes].has_names = true;
    const std::vector<TorchNode>& items = table_.nodes[data.attributes].items;
    for (size_t i = 0; i < items.size(); i += 2) {
      const TorchKind kind = table_.nodes[items[i]].kind;
      if (kind == TorchKind::kString) continue;
      return {PickleError::kPickleKey,
              concat("a ", torch_kind_name(kind), " as an attribute's name")};
    }
    return {};
  }

  static Status check_text(std::string_view text) {
    const size_t invalid = find_invalid_utf8(text);
    if (invalid == text.size()) return {};
    return {PickleError::kPickleText,
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
  enum Rank : uint8_t { kNone, kInt, kReal, kText };
  std::pair<Rank, int64_t> value;  // of kReal, the bits; of kText, that of number_texts
  TorchNode node = kNoTorchNode;
};

// Numbers for the strings, the same for equal ones. Keys may be long and stand in many dicts, so
// texts are compared here and nowhere else.
std::vector<uint32_t> number_texts(const Table& table, std::span<const TorchNode> nodes) {
  std::vector<uint32_t> texts, numbers(table.strings.size());
  for (const TorchNode node : nodes) {
    const TorchNodeData& data = table.nodes[node];
    if (data.kind == TorchKind::kString) texts.push_back(static_cast<uint32_t>(data.bits));
  }
  // Any order will do that has equal ones side by side, and the sizes are at hand.
  std::ranges::sort(texts, {}, [&table](uint32_t text) {
    return std::pair(table.strings[text].size(), std::string_view(table.strings[text]));
  });
  for (uint32_t i = 0; i < texts.size(); ++i) {
    // The place of the first of several equal ones is their number.
    const bool is_new = i == 0 || table.strings[texts[i]] != table.strings[texts[i - 1]];
    numbers[texts[i]] = is_new ? i : numbers[texts[i - 1]];
  }
  return numbers;
}

// A double that is a whole number in the range of int64 is equal to that one.
std::pair<Key::Rank, int64_t> real_key(double real) {
  constexpr double kTwoTo63 = 9223372036854775808.0;  // the first that is above every int64
  // The range first: the cast of a double outside of it would be undefined.
  if (real >= -kTwoTo63 && real < kTwoTo63 && std::trunc(real) == real) {
    return {Key::kInt, static_cast<int64_t>(real)};
  }
  return {Key::kReal, std::bit_cast<int64_t>(real)};
}

// Whether each Dict and each Set has keys of a plain kind, none twice.
class KeyCheck {
 public:
  KeyCheck(const Table& table, std::span<const TorchNode> nodes)
      : table_(table), nodes_(nodes), text_numbers_(number_texts(table, nodes)) {}

  Status run() {
    for (const TorchNode node : nodes_) {
      const TorchNodeData& data = table_.nodes[node];
      // A set has only keys; in a dict every other item is one.
      if (data.kind == TorchKind::kDict) WINNOW_RETURN_IF_ERROR(check(data, 2));
      if (data.kind == TorchKind::kSet) WINNOW_RETURN_IF_ERROR(check(data, 1));
    }
    return {};
  }

 private:
  // Every `step`-th item is a key.
  Status check(const TorchNodeData& data, size_t step) {
    // Of more keys than there are nodes, one stands twice among the first of them.
    const size_t count = std::min(data.items.size() / step, table_.nodes.size() + 1);
    keys_.resize(count);
    for (size_t i = 0; i < count; ++i) {
      WINNOW_RETURN_IF_ERROR(set_key(data.items[step * i], keys_[i]));
    }
    // Sorted, not hashed: a file chooses its keys and could make them collide.
    std::ranges::sort(keys_, {}, &Key::value);
    const auto twice = std::ranges::adjacent_find(keys_, {}, &Key::value);
    if (twice == keys_.end()) return {};
    return {PickleError::kPickleDuplicateKey,
            concat("a ", torch_kind_name(data.kind), " has ", shown(*twice), " twice")};
  }

  Status set_key(TorchNode node, Key& key) const {
    const TorchNodeData& data = table_.nodes[node];
    key = {{Key::kNone, 0}, node};
    switch (data.kind) {
      case TorchKind::kNone:
        return {};
      case TorchKind::kBool:
      case TorchKind::kInt:
        key.value = {Key::kInt, data.bits};
        return {};
      case TorchKind::kFloat:
        key.value = real_key(std::bit_cast<double>(data.bits));
        return {};
      case TorchKind::kString:
        key.value = {Key::kText, text_numbers_[data.bits]};
        return {};
      default:
        return {PickleError::kPickleKey,
                concat("a ", torch_kind_name(data.kind),
                       " as a key; strings, numbers and None are allowed")};
    }
  }

  std::string shown(const Key& key) const {
    const auto [rank, number] = key.value;
    if (rank == Key::kText) return concat("\"", escape_name(table_.string_at(key.node)), "\"");
    if (rank == Key::kInt) return std::to_string(number);
    return rank == Key::kNone ? "None" : std::to_string(std::bit_cast<double>(number));
  }

  const Table& table_;
  std::span<const TorchNode> nodes_;
  std::vector<uint32_t> text_numbers_;  // for each string of the table
  std::vector<Key> keys_;               // of one Dict or Set
};

// Room for those nodes, and no more: beside the old table, half of a vector that grew is much.
void reserve_for(const Table& table, std::span<const TorchNode> order, Table& out) {
  const auto count = [&](TorchKind kind) {
    return static_cast<size_t>(std::ranges::count(
        order, kind, [&table](TorchNode node) { return table.nodes[node].kind; }));
  };
  out.nodes.reserve(order.size());
  out.strings.reserve(count(TorchKind::kString) + count(TorchKind::kOpaque));
  out.tensors.reserve(count(TorchKind::kTensor));
  out.sparse.reserve(count(TorchKind::kSparseTensor));
}

}  // namespace

Status walk_tree(const Table& table, std::span<const TorchStorage> storages,
                 std::vector<TorchNode>& order) {
  WINNOW_RETURN_IF_ERROR(Walk(table, storages, order).run(table.root));
  // Behind the walk: only now is it known that every node is data, and none a name.
  return KeyCheck(table, order).run();
}

void compact_tree(Table& table, std::span<const TorchNode> order) {
  // Not in place: children move to the front, over nodes that are still to be read.
  Table out;
  reserve_for(table, order, out);
  std::vector<TorchNode> place(table.nodes.size());
  for (const TorchNode node : order) {
    TorchNodeData& data = table.nodes[node];
    // Children come first in `order`, so they have their places already.
    for (TorchNode& item : data.items) item = place[item];
    if (data.attributes != kNoTorchNode) data.attributes = place[data.attributes];
    const auto move_from = [&data](auto& from, auto& to) {
      data.bits = add_value(to, std::move(from[data.bits]));
    };
    // Strings, tensors and sparse tensors of nodes that are dropped stay behind in the old table.
    if (data.kind == TorchKind::kString || data.kind == TorchKind::kOpaque) {
      move_from(table.strings, out.strings);
    }
    if (data.kind == TorchKind::kTensor) move_from(table.tensors, out.tensors);
    if (data.kind == TorchKind::kSparseTensor) move_from(table.sparse, out.sparse);
    place[node] = out.add(std::move(data));
  }
  out.root = place[table.root];
  table = std::move(out);
}

}  // namespace winnow::io
