// The program's bytes, the stack, the budgets, and what is left at the end.
#include "io/pickle/pickle_machine.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/io/error_codes.h"

namespace winnow::io {
namespace {

// The limits of a pickle while it is read (docs/torch_archive.md).
constexpr size_t kMaxNodes = size_t{1} << 21;
constexpr size_t kMaxStack = size_t{1} << 21;
constexpr uint64_t kMaxUnits = kMaxTorchNodes;

Status too_large(std::string_view what, uint64_t limit) {
  return {PickleError::kPickleTooLarge, concat("more than ", limit, " ", what)};
}

}  // namespace

PickleMachine::PickleMachine(std::span<const std::byte> pickle, bool keep_unknown)
    : pickle_(pickle), keep_unknown_(keep_unknown), table_(TorchTreeAccess::table(tree_)) {}

Result<PickleContent> PickleMachine::finish() {
  if (keep_unknown_) WINNOW_RETURN_IF_ERROR(settle_opaque());
  table_.root = stack_.back();
  std::vector<TorchNode> order;
  WINNOW_RETURN_IF_ERROR(walk_tree(table_, storages_, order));
  const std::vector<bool> opaque_uses = close_opaque(order);
  // The arguments of calls are in the table too: only what the root reaches is kept.
  compact_tree(table_, order);
  PickleContent out;
  number_storages(opaque_uses, out);
  out.tree = std::move(tree_);
  return out;
}

// Keeps the storages that the tree or an opaque value uses, in the order of their numbers.
void PickleMachine::number_storages(const std::vector<bool>& opaque_uses, PickleContent& out) {
  const auto each_storage = [this](const auto& visit) {
    std::ranges::for_each(table_.tensors, visit, &TorchTensor::storage);
    for (TorchSparseTensor& sparse : table_.sparse) {
      visit(sparse.indices.storage);
      visit(sparse.values.storage);
    }
  };
  std::vector<bool> is_used = opaque_uses;
  each_storage([&is_used](uint32_t storage) { is_used[storage] = true; });
  std::vector<uint32_t> place(storages_.size());
  for (const auto& [number, storage] : storage_by_number_) {
    // Named by the program, but by no tensor that is left.
    if (!is_used[storage]) continue;
    place[storage] = static_cast<uint32_t>(out.storages.size());
    out.storages.push_back(storages_[storage]);
    out.numbers.push_back(number);
    out.opaque_uses.push_back(opaque_uses[storage]);
  }
  for (const auto& [number, place] : unknown_by_number_) out.unknown_numbers.push_back(number);
  each_storage([&place](uint32_t& storage) { storage = place[storage]; });
}

Result<std::span<const std::byte>> PickleMachine::take(size_t bytes) {
  // Before anything is allocated: a length in a file is only a claim.
  const size_t left = pickle_.size() - at_;
  if (bytes > left) {
    return Status(PickleError::kPickleTruncated,
                  concat("an argument of ", bytes, " bytes, and ", left, " are left"));
  }
  at_ += bytes;
  return pickle_.subspan(at_ - bytes, bytes);
}

// The lowest byte first.
Result<uint64_t> PickleMachine::take_number(size_t bytes) {
  WINNOW_ASSIGN_OR_RETURN(const auto taken, take(bytes));
  uint64_t number = 0;
  for (size_t i = bytes; i-- > 0;) number = number << 8 | std::to_integer<uint64_t>(taken[i]);
  return number;
}

// The same in two's complement, as the bits of an int64.
Result<uint64_t> PickleMachine::take_signed(size_t bytes) {
  WINNOW_ASSIGN_OR_RETURN(const uint64_t number, take_number(bytes));
  // The shifts below fill the missing bytes with the sign. By 64 bits they would be undefined.
  if (bytes == 0) return number;
  const size_t missing_bits = 64 - 8 * bytes;
  return static_cast<uint64_t>(static_cast<int64_t>(number << missing_bits) >> missing_bits);
}

Result<std::string_view> PickleMachine::take_line() {
  const std::string_view rest(reinterpret_cast<const char*>(pickle_.data()) + at_,
                              pickle_.size() - at_);
  // Names end with a newline; strings begin with their length.
  const size_t end = rest.find('\n');
  if (end == rest.npos) return Status(PickleError::kPickleTruncated, "a name without an end");
  at_ += end + 1;
  return rest.substr(0, end);
}

// Values below the last mark are not for opcodes above it.
size_t PickleMachine::available() const {
  return stack_.size() - (marks_.empty() ? 0 : marks_.back());
}

Status PickleMachine::need(size_t values) const {
  if (available() >= values) return {};
  return {PickleError::kPickleStack,
          concat("it takes ", values, " values, and the stack has ", available())};
}

Status PickleMachine::mark() {
  if (marks_.size() >= kMaxStack) return too_large("marks", kMaxStack);
  marks_.push_back(stack_.size());
  return {};
}

Status PickleMachine::push(const Result<PickleValue>& value) {
  if (!value.ok()) return value.status();
  if (stack_.size() >= kMaxStack) return too_large("values on the stack", kMaxStack);
  stack_.push_back(*value);
  return {};
}

// Precondition of this and the next: need(count) held.
PickleValue PickleMachine::pop() {
  const PickleValue value = stack_.back();
  stack_.pop_back();
  return value;
}

std::vector<PickleValue> PickleMachine::pop_items(size_t count) {
  const auto begin = stack_.end() - static_cast<ptrdiff_t>(count);
  std::vector<PickleValue> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  return items;
}

Result<std::vector<PickleValue>> PickleMachine::pop_to_mark() {
  if (marks_.empty()) return Status(PickleError::kPickleStack, "there is no mark on the stack");
  const size_t count = available();
  marks_.pop_back();
  return pop_items(count);
}

Result<TorchNode> PickleMachine::add_node(TorchNodeData data) {
  if (table_.nodes.size() >= kMaxNodes) return too_large("values", kMaxNodes);
  WINNOW_RETURN_IF_ERROR(spend(data.items.size()));
  return table_.add(std::move(data));
}

Status PickleMachine::spend(uint64_t units) {
  units_ += units;  // a small multiple of a stack's length, so it does not wrap
  return units_ <= kMaxUnits ? Status() : too_large("units of four bytes", kMaxUnits);
}

Result<PickleContent> read_pickle(std::span<const std::byte> pickle, bool keep_unknown) {
  PickleMachine machine(pickle, keep_unknown);
  WINNOW_RETURN_IF_ERROR(machine.run());
  return machine.finish();
}

}  // namespace winnow::io
