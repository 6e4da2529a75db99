// Private: the nodes of a TorchTree, and the one walk over them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/torch_value.h"

namespace winnow {
namespace io {

/// No node: a Dict without attributes, a tree without a root.
inline constexpr TorchNode kNoTorchNode = UINT32_MAX;

/// While a pickle is read, tuples may hold what is not a node: storages and names. Such references
/// have this bit. The walk refuses those that are reachable.
inline constexpr TorchNode kForeignBit = uint32_t{1} << 31;

/// One node. What `bits` holds depends on the kind: the number, the bits of the double, the dtype,
/// or an index into the strings (of an Opaque as well), tensors or sparse tensors.
struct TorchNodeData {
  TorchKind kind = TorchKind::kNone;
  bool ordered = false;
  bool has_storages = false;  // of an Opaque
  TorchNode attributes = kNoTorchNode;
  int64_t bits = 0;
  std::vector<TorchNode> items = {};  // of a Dict: key, value, key, value...
};

/// Appends a value, and returns its index as the `bits` of its node.
template <typename T>
int64_t add_value(std::vector<T>& values, T value) {
  values.push_back(std::move(value));
  return static_cast<int64_t>(values.size() - 1);
}

}  // namespace io

struct TorchTree::Table {
  std::vector<io::TorchNodeData> nodes;
  std::vector<std::string> strings;
  std::vector<TorchTensor> tensors;
  std::vector<TorchSparseTensor> sparse;
  TorchNode root = io::kNoTorchNode;

  TorchNode add(io::TorchNodeData data) {
    nodes.push_back(std::move(data));
    return static_cast<TorchNode>(nodes.size() - 1);
  }
  const std::string& string_at(TorchNode node) const { return strings[nodes[node].bits]; }
  const TorchTensor& tensor_at(TorchNode node) const { return tensors[nodes[node].bits]; }
  const TorchSparseTensor& sparse_at(TorchNode node) const { return sparse[nodes[node].bits]; }
};

namespace io {

/// The part of a tree that only the layer's own sources see.
class TorchTreeAccess {
 public:
  using Table = TorchTree::Table;
  static Table& table(TorchTree& tree) { return *tree.table_; }
  static const Table& table(const TorchTree& tree) { return *tree.table_; }
};

/// Checks all that is reachable from the root as TorchTree::check says, and kPickleValue for what
/// is not a node. `order`, empty before, gets the reachable nodes, children before parents, each
/// once.
Status walk_tree(const TorchTreeAccess::Table& table, std::span<const TorchStorage> storages,
                 std::vector<TorchNode>& order);

/// Drops what is not reachable. `order` is what walk_tree found. Precondition: opaque values have
/// no items and attributes.
void compact_tree(TorchTreeAccess::Table& table, std::span<const TorchNode> order);

}  // namespace io
}  // namespace winnow
