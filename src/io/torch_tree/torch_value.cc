#include "winnow/io/torch_value.h"

#include <bit>
#include <cassert>
#include <functional>
#include <numeric>
#include <utility>

#include "io/torch_tree/torch_names.h"
#include "io/torch_tree/torch_tree.h"

namespace winnow {
namespace {

// The number in a node, if the node is of that kind.
template <typename T>
std::optional<T> bits_as(const io::TorchNodeData& node, TorchKind kind) {
  return node.kind == kind ? std::optional(static_cast<T>(node.bits)) : std::nullopt;
}

// No index of the keys: most dicts are small, and callers ask for a few names.
template <typename IsWanted>
std::optional<TorchValue> find_value(TorchValue dict, const IsWanted& is_wanted) {
  if (dict.kind() != TorchKind::kDict) return std::nullopt;
  for (size_t i = 0; i < dict.size(); ++i) {
    if (is_wanted(dict.key(i))) return dict.value(i);
  }
  return std::nullopt;
}

}  // namespace

TorchStorage TorchStorage::for_dtype(DType dtype, uint64_t numel) {
  // Newer types have no storage class: torch saves their bytes.
  if (!io::storage_class_name(dtype).empty()) return {dtype, numel, false};
  return {DType::kU8, numel * (dtype_bits(dtype) / 8), true};
}

uint64_t TorchTensor::numel() const noexcept {
  return std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies());
}

std::string_view torch_kind_name(TorchKind kind) noexcept {
  // In the order of TorchKind.
  constexpr std::string_view kNames[] = {
      "None", "bool",  "int",  "float", "str",        "Tensor",      "sparse Tensor",
      "list", "tuple", "dict", "set",   "torch.Size", "torch.dtype", "opaque value"};
  return kNames[static_cast<size_t>(kind)];
}

TorchKind TorchValue::kind() const noexcept { return tree_->table_->nodes[node_].kind; }

std::optional<bool> TorchValue::as_bool() const noexcept {
  return bits_as<bool>(tree_->table_->nodes[node_], TorchKind::kBool);
}

std::optional<int64_t> TorchValue::as_int() const noexcept {
  return bits_as<int64_t>(tree_->table_->nodes[node_], TorchKind::kInt);
}

std::optional<double> TorchValue::as_float() const noexcept {
  const auto bits = bits_as<int64_t>(tree_->table_->nodes[node_], TorchKind::kFloat);
  return bits ? std::optional(std::bit_cast<double>(*bits)) : std::nullopt;
}

std::optional<std::string_view> TorchValue::as_string() const noexcept {
  if (kind() != TorchKind::kString) return std::nullopt;
  return tree_->table_->string_at(node_);
}

std::optional<DType> TorchValue::as_dtype() const noexcept {
  return bits_as<DType>(tree_->table_->nodes[node_], TorchKind::kDtype);
}

std::optional<std::string_view> TorchValue::as_opaque() const noexcept {
  if (kind() != TorchKind::kOpaque) return std::nullopt;
  return tree_->table_->string_at(node_);
}

bool TorchValue::refers_to_storages() const noexcept {
  const io::TorchNodeData& data = tree_->table_->nodes[node_];
  return data.kind == TorchKind::kOpaque && data.has_storages;
}

const TorchTensor* TorchValue::as_tensor() const noexcept {
  return kind() == TorchKind::kTensor ? &tree_->table_->tensor_at(node_) : nullptr;
}

const TorchSparseTensor* TorchValue::as_sparse() const noexcept {
  return kind() == TorchKind::kSparseTensor ? &tree_->table_->sparse_at(node_) : nullptr;
}

size_t TorchValue::size() const noexcept {
  const size_t items = tree_->table_->nodes[node_].items.size();
  return kind() == TorchKind::kDict ? items / 2 : items;
}

TorchValue TorchValue::operator[](size_t i) const noexcept {
  assert(kind() != TorchKind::kDict && i < size());  // whatever has no items has size 0
  return {*tree_, tree_->table_->nodes[node_].items[i]};
}

TorchValue TorchValue::key(size_t i) const noexcept {
  assert(kind() == TorchKind::kDict && i < size());
  return {*tree_, tree_->table_->nodes[node_].items[2 * i]};
}

TorchValue TorchValue::value(size_t i) const noexcept {
  assert(kind() == TorchKind::kDict && i < size());
  return {*tree_, tree_->table_->nodes[node_].items[2 * i + 1]};
}

std::optional<TorchValue> TorchValue::find(std::string_view wanted) const noexcept {
  return find_value(*this, [wanted](TorchValue key) { return key.as_string() == wanted; });
}

std::optional<TorchValue> TorchValue::find(int64_t wanted) const noexcept {
  return find_value(*this, [wanted](TorchValue key) { return key.as_int() == wanted; });
}

bool TorchValue::is_ordered() const noexcept { return tree_->table_->nodes[node_].ordered; }

std::optional<TorchValue> TorchValue::attributes() const noexcept {
  const TorchNode node = tree_->table_->nodes[node_].attributes;
  if (node == io::kNoTorchNode) return std::nullopt;
  return TorchValue(*tree_, node);
}

// There is always a root, and node 0 is the None, which PickleMachine relies on.
TorchTree::TorchTree() : table_(std::make_unique<Table>()) { table_->root = add_none(); }
// Nodes refer to each other by number, so that a copy of the table is a copy of the tree.
TorchTree::TorchTree(const TorchTree& other) : table_(std::make_unique<Table>(*other.table_)) {}
TorchTree::TorchTree(TorchTree&& other) noexcept = default;
TorchTree& TorchTree::operator=(TorchTree&& other) noexcept = default;
TorchTree::~TorchTree() = default;

TorchTree& TorchTree::operator=(const TorchTree& other) {
  if (this != &other) table_ = std::make_unique<Table>(*other.table_);
  return *this;
}

TorchNode TorchTree::add_none() { return table_->add({.kind = TorchKind::kNone}); }

TorchNode TorchTree::add_bool(bool value) {
  return table_->add({.kind = TorchKind::kBool, .bits = value});
}

TorchNode TorchTree::add_int(int64_t value) {
  return table_->add({.kind = TorchKind::kInt, .bits = value});
}

TorchNode TorchTree::add_float(double value) {
  return table_->add({.kind = TorchKind::kFloat, .bits = std::bit_cast<int64_t>(value)});
}

TorchNode TorchTree::add_string(std::string value) {
  const int64_t place = io::add_value(table_->strings, std::move(value));
  return table_->add({.kind = TorchKind::kString, .bits = place});
}

TorchNode TorchTree::add_tensor(TorchTensor value) {
  const int64_t place = io::add_value(table_->tensors, std::move(value));
  return table_->add({.kind = TorchKind::kTensor, .bits = place});
}

TorchNode TorchTree::add_sparse(TorchSparseTensor value) {
  const int64_t place = io::add_value(table_->sparse, std::move(value));
  return table_->add({.kind = TorchKind::kSparseTensor, .bits = place});
}

TorchNode TorchTree::add_tuple(std::span<const TorchNode> items) {
  return table_->add({.kind = TorchKind::kTuple, .items = {items.begin(), items.end()}});
}

TorchNode TorchTree::add_list(std::span<const TorchNode> items) {
  return table_->add({.kind = TorchKind::kList, .items = {items.begin(), items.end()}});
}

TorchNode TorchTree::add_dict(TorchDictOptions options) {
  return table_->add({.kind = TorchKind::kDict, .ordered = options.ordered});
}

void TorchTree::append(TorchNode list, TorchNode item) {
  assert(table_->nodes[list].kind == TorchKind::kList);
  table_->nodes[list].items.push_back(item);
}

void TorchTree::set_item(TorchNode dict, TorchNode key, TorchNode value) {
  assert(table_->nodes[dict].kind == TorchKind::kDict);
  // Keys and values side by side: one vector, whose order is that of insertion.
  std::vector<TorchNode>& items = table_->nodes[dict].items;
  // `check` finds keys that are there twice; a search for each would take quadratic time.
  items.push_back(key);
  items.push_back(value);
}

void TorchTree::set_attributes(TorchNode dict, TorchNode attributes) {
  // A plain dict has no attributes in Python, so no pickle could say this.
  assert(table_->nodes[dict].ordered);
  assert(table_->nodes[attributes].kind == TorchKind::kDict);
  table_->nodes[dict].attributes = attributes;
}

void TorchTree::set_root(TorchNode node) { table_->root = node; }

TorchValue TorchTree::root() const noexcept { return {*this, table_->root}; }

size_t TorchTree::size() const noexcept { return table_->nodes.size(); }

Status TorchTree::check(std::span<const TorchStorage> storages) const {
  // What `order` is for, compacting, only a reader of files needs.
  std::vector<TorchNode> order;
  return io::walk_tree(*table_, storages, order);
}

}  // namespace winnow
