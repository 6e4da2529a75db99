// The effects of the opcodes on the stack.
#include <algorithm>
#include <bit>
#include <utility>

#include "base/status_macros.h"
#include "io/pickle/pickle_machine.h"
#include "winnow/base/concat.h"
#include "winnow/base/utf8.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

// Memos are places in a vector, so a limit on their numbers is one on memory.
constexpr size_t kMaxMemo = size_t{1} << 22;
constexpr size_t kMaxIntBytes = 8;

}  // namespace

Status PickleMachine::get(uint64_t index) {
  if (index < memo_.size() && memo_[index] != kNoTorchNode) return push(memo_[index]);
  return {PickleError::kPickleMemo, concat("nothing was put into memo ", index)};
}

// Picklers number memos from 0 on, one for each value.
Status PickleMachine::put(uint64_t index) {
  WINNOW_RETURN_IF_ERROR(need(1));
  // Each memo costs an opcode at least, so that a number over the pickle's length is made up.
  if (index >= std::min(kMaxMemo, pickle_.size())) {
    return {PickleError::kPickleMemo, concat("memo ", index, " is out of range")};
  }
  if (index >= memo_.size()) memo_.resize(index + 1, kNoTorchNode);
  // No pickler does this; if allowed, one number would stand for two values.
  if (memo_[index] != kNoTorchNode) {
    return {PickleError::kPickleMemo, concat("memo ", index, " is written twice")};
  }
  memo_[index] = stack_.back();
  return {};
}

Status PickleMachine::push_int(int64_t value) {
  if (value < 0 || value >= static_cast<int64_t>(small_ints_.size())) {
    return push_node(add_node({.kind = TorchKind::kInt, .bits = value}));
  }
  return push_once({.kind = TorchKind::kInt, .bits = value},
                   small_ints_[static_cast<size_t>(value)]);
}

// Two's complement in as many bytes as its first one says.
Status PickleMachine::push_long() {
  uint64_t bytes = 0, value = 0;
  WINNOW_RETURN_IF_ERROR(take_number(1, bytes));
  if (bytes > kMaxIntBytes) {
    return {PickleError::kPickleInt, concat("an integer of ", bytes, " bytes")};
  }
  WINNOW_RETURN_IF_ERROR(take_number(bytes, value));
  const unsigned unused = 64 - 8 * static_cast<unsigned>(bytes);
  // The shifts below fill the missing bytes with the sign. By 64 bits they would be undefined.
  if (bytes == 0) return push_int(0);
  return push_int(static_cast<int64_t>(value << unused) >> unused);
}

// The highest byte first.
Status PickleMachine::push_float() {
  std::span<const std::byte> taken;
  WINNOW_RETURN_IF_ERROR(take(8, taken));
  uint64_t bits = 0;
  for (const std::byte byte : taken) bits = bits << 8 | std::to_integer<uint64_t>(byte);
  return push_node(add_node({.kind = TorchKind::kFloat, .bits = std::bit_cast<int64_t>(bits)}));
}

Status PickleMachine::push_text(size_t length_bytes) {
  uint64_t length = 0;
  std::span<const std::byte> taken;
  WINNOW_RETURN_IF_ERROR(take_number(length_bytes, length));
  WINNOW_RETURN_IF_ERROR(take(length, taken));
  const std::string_view text(reinterpret_cast<const char*>(taken.data()), taken.size());
  if (find_invalid_utf8(text) != text.size()) {
    return {PickleError::kPickleText,
            concat("the string \"", escape_name(text), "\" is not UTF-8")};
  }
  WINNOW_ASSIGN_OR_RETURN(const TorchNode node, add_node({.kind = TorchKind::kString}));
  table_.nodes[node].bits = static_cast<int64_t>(table_.strings.size());
  table_.strings.emplace_back(text);
  return push(node);
}

Status PickleMachine::push_tuple(Items items) {
  return push_node(add_node({.kind = TorchKind::kTuple, .items = {items.begin(), items.end()}}));
}

Status PickleMachine::push_short_tuple(size_t size) {
  WINNOW_RETURN_IF_ERROR(need(size));
  const std::vector<PickleValue> items(stack_.end() - static_cast<ptrdiff_t>(size), stack_.end());
  stack_.resize(stack_.size() - size);
  return push_tuple(items);
}

Status PickleMachine::push_global() {
  std::string_view module, name;
  WINNOW_RETURN_IF_ERROR(take_line(module));
  WINNOW_RETURN_IF_ERROR(take_line(name));
  PickleValue value = 0;
  // Python would import the module here. To us a name is a symbol or an error.
  WINNOW_RETURN_IF_ERROR(resolve(module, name, value));
  return push(value);
}

Status PickleMachine::append(Items items) {
  if (data_of(stack_.back(), TorchKind::kList) == nullptr) {
    return {PickleError::kPickleTarget, "an item for what is no list"};
  }
  // Storages and names are for the arguments of calls, which are tuples.
  if (std::ranges::any_of(items, is_foreign)) {
    return {PickleError::kPickleValue, "a storage or a name in a list"};
  }
  // The list's node was counted when it had no items.
  WINNOW_RETURN_IF_ERROR(spend(items.size()));
  std::vector<TorchNode>& list = table_.nodes[stack_.back()].items;
  list.insert(list.end(), items.begin(), items.end());
  return {};
}

Status PickleMachine::set_items(Items items) {
  if (data_of(stack_.back(), TorchKind::kDict) == nullptr) {
    return {PickleError::kPickleTarget, "an entry for what is no dict"};
  }
  // walk_tree looks at the keys, once for each dict of the result.
  if (items.size() % 2 != 0) return {PickleError::kPickleStack, "a key without a value"};
  if (std::ranges::any_of(items, is_foreign)) {
    return {PickleError::kPickleValue, "a storage or a name in a dict"};
  }
  WINNOW_RETURN_IF_ERROR(spend(items.size()));
  std::vector<TorchNode>& dict = table_.nodes[stack_.back()].items;
  dict.insert(dict.end(), items.begin(), items.end());
  return {};
}

// Only an OrderedDict takes a state: its attributes.
Status PickleMachine::build() {
  WINNOW_RETURN_IF_ERROR(need(2));
  const PickleValue state = pop(), target = stack_.back();
  const TorchNodeData* dict = data_of(target, TorchKind::kDict);
  const TorchNodeData* attributes = data_of(state, TorchKind::kDict);
  // Python would merge a second state into the first. torch.save writes one.
  if (dict == nullptr || !dict->ordered || dict->attributes != kNoTorchNode) {
    return {PickleError::kPickleTarget, "a state for what takes none"};
  }
  if (attributes == nullptr || attributes->ordered) {
    return {PickleError::kPickleTarget, "the state of an OrderedDict that is no dict"};
  }
  table_.nodes[target].attributes = state;
  return {};
}

Status PickleMachine::reduce(bool is_new_object) {
  WINNOW_RETURN_IF_ERROR(need(2));
  const TorchNodeData* args = data_of(pop(), TorchKind::kTuple);
  const PickleValue callee = pop();
  if (args == nullptr) return {PickleError::kPickleCall, "the arguments are no tuple"};
  if (!is_symbol(callee)) return {PickleError::kPickleCall, "what is called is no name"};
  const PickleSymbol symbol = symbol_of(callee);
  // A copy: the call adds nodes, which moves those that are there.
  const std::vector<PickleValue> items = args->items;
  PickleValue result = 0;
  WINNOW_RETURN_IF_ERROR(is_new_object ? call_new(symbol, items, result)
                                       : call(symbol, items, result));
  return push(result);
}

Status PickleMachine::load_storage() {
  WINNOW_RETURN_IF_ERROR(need(1));
  const TorchNodeData* id = data_of(pop(), TorchKind::kTuple);
  if (id == nullptr) return {PickleError::kStorageId, "the persistent id is no tuple"};
  PickleValue result = 0;
  // No copy of the items here: storages are not nodes, so nothing moves.
  WINNOW_RETURN_IF_ERROR(find_storage(id->items, result));
  return push(result);
}

Status PickleMachine::stop() {
  if (!marks_.empty() || stack_.size() != 1) {
    return {PickleError::kPickleStack, concat("the stack has ", stack_.size(), " values and ",
                                              marks_.size(), " marks, and has to have 1 and 0")};
  }
  stopped_ = true;
  return {};
}

}  // namespace winnow::io
