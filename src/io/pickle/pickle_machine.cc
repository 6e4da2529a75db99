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

std::string shown_opcode(uint8_t opcode, size_t at) {
  const std::string_view name = opcode_name(opcode);
  return concat("opcode ", name.empty() ? std::to_string(opcode) : name, " at byte ", at);
}

}  // namespace

PickleMachine::PickleMachine(std::span<const std::byte> pickle)
    : pickle_(pickle), table_(TorchTreeAccess::table(tree_)) {}

Status PickleMachine::run() {
  // torch.save's default. Later protocols have opcodes that are not on the list.
  if (pickle_.size() < 2 || pickle_[0] != std::byte{0x80} || pickle_[1] != std::byte{2}) {
    return {PickleError::kPickleProtocol, "the pickle does not start as protocol 2 does"};
  }
  at_ = 2;
  while (!stopped_) {
    if (at_ == pickle_.size()) {
      return {PickleError::kPickleTruncated,
              concat("the pickle ends at byte ", at_, " without STOP")};
    }
    const size_t opcode_at = at_;
    const auto opcode = std::to_integer<uint8_t>(pickle_[at_++]);
    const Status done = step(static_cast<Opcode>(opcode));
    if (!done.ok()) return done.with_context(shown_opcode(opcode, opcode_at));
  }
  if (at_ == pickle_.size()) return {};
  // No reader looks at what is behind STOP, so it could be anything.
  return {PickleError::kPickleTrailing,
          concat("there are ", pickle_.size() - at_, " bytes behind STOP at byte ", at_ - 1)};
}

Result<PickleContent> PickleMachine::finish() {
  table_.root = stack_.back();
  std::vector<TorchNode> order;
  WINNOW_RETURN_IF_ERROR(walk_tree(table_, storages_, order));
  // The arguments of calls are in the table too: only what the root reaches is kept.
  compact_tree(table_, order);
  PickleContent out;
  number_storages(out);
  out.tree = std::move(tree_);
  return out;
}

// Keeps the storages that the tree uses, in the order of their numbers.
void PickleMachine::number_storages(PickleContent& out) {
  const auto each_storage = [this](const auto& visit) {
    std::ranges::for_each(table_.tensors, visit, &TorchTensor::storage);
    for (TorchSparseTensor& sparse : table_.sparse) {
      visit(sparse.indices.storage);
      visit(sparse.values.storage);
    }
  };
  std::vector<bool> is_used(storages_.size());
  each_storage([&is_used](uint32_t storage) { is_used[storage] = true; });
  std::vector<uint32_t> place(storages_.size());
  for (const auto& [number, storage] : storage_by_number_) {
    // Named by the program, but by no tensor that is left.
    if (!is_used[storage]) continue;
    place[storage] = static_cast<uint32_t>(out.storages.size());
    out.storages.push_back(storages_[storage]);
    out.numbers.push_back(number);
  }
  each_storage([&place](uint32_t& storage) { storage = place[storage]; });
}

Status PickleMachine::take(size_t bytes, std::span<const std::byte>& out) {
  // Before anything is allocated: a length in a file is only a claim.
  const size_t left = pickle_.size() - at_;
  if (bytes > left) {
    return {PickleError::kPickleTruncated,
            concat("an argument of ", bytes, " bytes, and ", left, " are left")};
  }
  out = pickle_.subspan(at_, bytes);
  at_ += bytes;
  return {};
}

// The lowest byte first.
Status PickleMachine::take_number(size_t bytes, uint64_t& out) {
  std::span<const std::byte> taken;
  WINNOW_RETURN_IF_ERROR(take(bytes, taken));
  out = 0;
  for (size_t i = bytes; i-- > 0;) out = out << 8 | std::to_integer<uint64_t>(taken[i]);
  return {};
}

Status PickleMachine::take_line(std::string_view& out) {
  const std::string_view rest(reinterpret_cast<const char*>(pickle_.data()) + at_,
                              pickle_.size() - at_);
  const size_t end = rest.find('\n');
  if (end == rest.npos) return {PickleError::kPickleTruncated, "a name without an end"};
  out = rest.substr(0, end);
  at_ += end + 1;
  return {};
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

Status PickleMachine::push(PickleValue value) {
  if (stack_.size() >= kMaxStack) return too_large("values on the stack", kMaxStack);
  stack_.push_back(value);
  return {};
}

// Precondition: need(1) held.
PickleValue PickleMachine::pop() {
  const PickleValue value = stack_.back();
  stack_.pop_back();
  return value;
}

Status PickleMachine::pop_to_mark(std::vector<PickleValue>& items) {
  if (marks_.empty()) return {PickleError::kPickleStack, "there is no mark on the stack"};
  items.assign(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
  stack_.resize(marks_.back());
  marks_.pop_back();
  return {};
}

Status PickleMachine::push_node(Result<TorchNode> node) {
  return node.ok() ? push(*node) : node.status();
}

// Shapes and strides repeat a few small numbers: one node serves all equal ones.
Status PickleMachine::push_once(const TorchNodeData& data, TorchNode& node) {
  if (node == 0) {
    WINNOW_ASSIGN_OR_RETURN(node, add_node(data));
  }
  return push(node);
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

// The opcodes are spread over four functions; the last one refuses what none of them knows.
Status PickleMachine::step(Opcode opcode) {
  switch (opcode) {
    case Opcode::kProto:
      return {PickleError::kPickleProtocol, "a second one"};
    case Opcode::kMark:
      if (marks_.size() >= kMaxStack) return too_large("marks", kMaxStack);
      marks_.push_back(stack_.size());
      return {};
    case Opcode::kStop:
      return stop();
    case Opcode::kBinUnicode:
      return push_text(4);
    case Opcode::kShortBinString:
      return push_text(1);
    case Opcode::kGlobal:
      return push_global();
    case Opcode::kReduce:
      return reduce(/*is_new_object=*/false);
    case Opcode::kNewObj:
      return reduce(/*is_new_object=*/true);
    case Opcode::kBuild:
      return build();
    case Opcode::kBinPersId:
      return load_storage();
    case Opcode::kBinPut:
    case Opcode::kLongBinPut:
    case Opcode::kBinGet:
    case Opcode::kLongBinGet:
      return step_memo(opcode);
    default:
      return step_number(opcode);
  }
}

Status PickleMachine::step_number(Opcode opcode) {
  uint64_t number = 0;
  switch (opcode) {
    case Opcode::kNone:
      return push(0);  // the None that every tree begins with
    case Opcode::kNewTrue:
    case Opcode::kNewFalse: {
      const bool value = opcode == Opcode::kNewTrue;
      return push_once({.kind = TorchKind::kBool, .bits = value}, bools_[value]);
    }
    case Opcode::kBinInt1:
      WINNOW_RETURN_IF_ERROR(take_number(1, number));
      return push_int(static_cast<int64_t>(number));
    case Opcode::kBinInt2:
      WINNOW_RETURN_IF_ERROR(take_number(2, number));
      return push_int(static_cast<int64_t>(number));
    case Opcode::kBinInt:
      WINNOW_RETURN_IF_ERROR(take_number(4, number));
      return push_int(static_cast<int32_t>(number));  // signed, unlike the shorter ones
    case Opcode::kLong1:
      return push_long();
    case Opcode::kBinFloat:
      return push_float();
    default:
      return step_container(opcode);
  }
}

Status PickleMachine::step_container(Opcode opcode) {
  std::vector<PickleValue> items;
  switch (opcode) {
    case Opcode::kEmptyDict:
      return push_node(add_node({.kind = TorchKind::kDict}));
    case Opcode::kEmptyList:
      return push_node(add_node({.kind = TorchKind::kList}));
    case Opcode::kEmptySet:
      return push_node(add_node({.kind = TorchKind::kSet}));
    case Opcode::kEmptyTuple:
      return push_short_tuple(0);
    case Opcode::kTuple1:
      return push_short_tuple(1);
    case Opcode::kTuple2:
      return push_short_tuple(2);
    case Opcode::kTuple3:
      return push_short_tuple(3);
    case Opcode::kTuple:
      WINNOW_RETURN_IF_ERROR(pop_to_mark(items));
      return push_tuple(items);
    case Opcode::kAppend:
    case Opcode::kSetItem: {
      const size_t count = opcode == Opcode::kAppend ? 1 : 2;
      WINNOW_RETURN_IF_ERROR(need(count + 1));
      items.assign(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
      stack_.resize(stack_.size() - count);
      return opcode == Opcode::kAppend ? append(items) : set_items(items);
    }
    case Opcode::kAppends:
    case Opcode::kSetItems:
      WINNOW_RETURN_IF_ERROR(pop_to_mark(items));
      WINNOW_RETURN_IF_ERROR(need(1));  // the container, below the mark
      return opcode == Opcode::kAppends ? append(items) : set_items(items);
    default:
      return {PickleError::kPickleOpcode, "plain data do not need it"};
  }
}

Status PickleMachine::step_memo(Opcode opcode) {
  const bool is_long = opcode == Opcode::kLongBinPut || opcode == Opcode::kLongBinGet;
  uint64_t index = 0;
  WINNOW_RETURN_IF_ERROR(take_number(is_long ? 4 : 1, index));
  const bool is_put = opcode == Opcode::kBinPut || opcode == Opcode::kLongBinPut;
  return is_put ? put(index) : get(index);
}

Result<PickleContent> read_pickle(std::span<const std::byte> pickle) {
  PickleMachine machine(pickle);
  WINNOW_RETURN_IF_ERROR(machine.run());
  return machine.finish();
}

}  // namespace winnow::io
