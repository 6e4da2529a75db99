// The opcodes and their effects on the stack.
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "io/pickle/pickle_machine.h"
#include "io/pickle/pickle_opcodes.h"
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

struct PickleMachine::Step {
  Opcode opcode;
  std::string_view name;  // Python's, for messages
  Status (*run)(Self& m);
};

// Numbers in the calls are the bytes of an argument, or the values of a tuple.
const PickleMachine::Step PickleMachine::kSteps[] = {
    {Opcode::kMark, "MARK", [](Self& m) { return m.mark(); }},
    {Opcode::kEmptyTuple, "EMPTY_TUPLE", [](Self& m) { return m.push_short_tuple(0); }},
    {Opcode::kStop, "STOP", [](Self& m) { return m.stop(); }},
    {Opcode::kBinFloat, "BINFLOAT", [](Self& m) { return m.push_float(); }},
    {Opcode::kBinInt, "BININT", [](Self& m) { return m.push_int(m.take_signed(4)); }},
    {Opcode::kBinInt1, "BININT1", [](Self& m) { return m.push_int(m.take_number(1)); }},
    {Opcode::kBinInt2, "BININT2", [](Self& m) { return m.push_int(m.take_number(2)); }},
    // Node 0 is the None that every tree begins with.
    {Opcode::kNone, "NONE", [](Self& m) { return m.push(PickleValue{0}); }},
    {Opcode::kBinPersId, "BINPERSID", [](Self& m) { return m.load_storage(); }},
    {Opcode::kReduce, "REDUCE", [](Self& m) { return m.reduce(/*is_new_object=*/false); }},
    {Opcode::kShortBinString, "SHORT_BINSTRING", [](Self& m) { return m.push_text(1); }},
    {Opcode::kBinUnicode, "BINUNICODE", [](Self& m) { return m.push_text(4); }},
    {Opcode::kEmptyList, "EMPTY_LIST", [](Self& m) { return m.push_empty(TorchKind::kList); }},
    {Opcode::kAppend, "APPEND", [](Self& m) { return m.extend_by(TorchKind::kList, 1); }},
    {Opcode::kBuild, "BUILD", [](Self& m) { return m.build(); }},
    {Opcode::kGlobal, "GLOBAL", [](Self& m) { return m.push_global(); }},
    {Opcode::kAppends, "APPENDS", [](Self& m) { return m.extend_to_mark(TorchKind::kList); }},
    {Opcode::kBinGet, "BINGET", [](Self& m) { return m.get(1); }},
    {Opcode::kLongBinGet, "LONG_BINGET", [](Self& m) { return m.get(4); }},
    {Opcode::kBinPut, "BINPUT", [](Self& m) { return m.put(1); }},
    {Opcode::kLongBinPut, "LONG_BINPUT", [](Self& m) { return m.put(4); }},
    {Opcode::kSetItem, "SETITEM", [](Self& m) { return m.extend_by(TorchKind::kDict, 2); }},
    {Opcode::kTuple, "TUPLE", [](Self& m) { return m.push_tuple(m.pop_to_mark()); }},
    {Opcode::kSetItems, "SETITEMS", [](Self& m) { return m.extend_to_mark(TorchKind::kDict); }},
    {Opcode::kEmptyDict, "EMPTY_DICT", [](Self& m) { return m.push_empty(TorchKind::kDict); }},
    {Opcode::kProto, "PROTO",
     [](Self&) { return Status(PickleError::kPickleProtocol, "a second one"); }},
    {Opcode::kNewObj, "NEWOBJ", [](Self& m) { return m.reduce(/*is_new_object=*/true); }},
    {Opcode::kTuple1, "TUPLE1", [](Self& m) { return m.push_short_tuple(1); }},
    {Opcode::kTuple2, "TUPLE2", [](Self& m) { return m.push_short_tuple(2); }},
    {Opcode::kTuple3, "TUPLE3", [](Self& m) { return m.push_short_tuple(3); }},
    {Opcode::kNewTrue, "NEWTRUE", [](Self& m) { return m.push_bool(true); }},
    {Opcode::kNewFalse, "NEWFALSE", [](Self& m) { return m.push_bool(false); }},
    {Opcode::kLong1, "LONG1", [](Self& m) { return m.push_long(); }},
    {Opcode::kEmptySet, "EMPTY_SET", [](Self& m) { return m.push_empty(TorchKind::kSet); }},
};

const PickleMachine::Step* PickleMachine::find_step(std::byte opcode) {
  // By opcode: a search would cost more than most steps do.
  static const auto table = [] {
    std::array<const Step*, 256> out = {};
    for (const Step& step : kSteps) out[static_cast<uint8_t>(step.opcode)] = &step;
    return out;
  }();
  return table[std::to_integer<uint8_t>(opcode)];
}

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
    const size_t opcode_at = at_++;
    const std::byte opcode = pickle_[opcode_at];
    const Step* step = find_step(opcode);
    const Status done = step != nullptr
                            ? step->run(*this)
                            : Status(PickleError::kPickleOpcode, "plain data do not need it");
    if (done.ok()) continue;
    const std::string name =
        step != nullptr ? std::string(step->name) : std::to_string(std::to_integer<int>(opcode));
    return done.with_context(concat("opcode ", name, " at byte ", opcode_at));
  }
  if (at_ == pickle_.size()) return {};
  // No reader looks at what is behind STOP, so it could be anything.
  return {PickleError::kPickleTrailing,
          concat("there are ", pickle_.size() - at_, " bytes behind STOP at byte ", at_ - 1)};
}

Status PickleMachine::stop() {
  if (!marks_.empty() || stack_.size() != 1) {
    return {PickleError::kPickleStack, concat("the stack has ", stack_.size(), " values and ",
                                              marks_.size(), " marks, and has to have 1 and 0")};
  }
  stopped_ = true;
  return {};
}

Status PickleMachine::get(size_t index_bytes) {
  WINNOW_ASSIGN_OR_RETURN(const uint64_t index, take_number(index_bytes));
  if (index < memo_.size() && memo_[index] != kNoTorchNode) return push(memo_[index]);
  return {PickleError::kPickleMemo, concat("nothing was put into memo ", index)};
}

// Picklers number memos from 0 on, one for each value.
Status PickleMachine::put(size_t index_bytes) {
  WINNOW_ASSIGN_OR_RETURN(const uint64_t index, take_number(index_bytes));
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

// Shapes and strides repeat a few small numbers: one node serves all equal ones.
Status PickleMachine::push_once(TorchKind kind, int64_t bits, TorchNode& node) {
  if (node == 0) {
    WINNOW_ASSIGN_OR_RETURN(node, add_node({.kind = kind, .bits = bits}));
  }
  return push(node);
}

Status PickleMachine::push_int(const Result<uint64_t>& bits) {
  if (!bits.ok()) return bits.status();
  const auto value = static_cast<int64_t>(*bits);
  if (*bits < small_ints_.size()) return push_once(TorchKind::kInt, value, small_ints_[*bits]);
  return push(add_node({.kind = TorchKind::kInt, .bits = value}));
}

// Two's complement in as many bytes as its first one says.
Status PickleMachine::push_long() {
  WINNOW_ASSIGN_OR_RETURN(const uint64_t bytes, take_number(1));
  if (bytes <= kMaxIntBytes) return push_int(take_signed(bytes));
  if (!keep_unknown_) return {PickleError::kPickleInt, concat("an integer of ", bytes, " bytes")};
  WINNOW_RETURN_IF_ERROR(take(bytes).status());
  return push(make_opaque("int", {}));
}

// The highest byte first.
Status PickleMachine::push_float() {
  WINNOW_ASSIGN_OR_RETURN(const auto taken, take(8));
  uint64_t bits = 0;
  for (const std::byte byte : taken) bits = bits << 8 | std::to_integer<uint64_t>(byte);
  return push(add_node({.kind = TorchKind::kFloat, .bits = static_cast<int64_t>(bits)}));
}

Status PickleMachine::push_text(size_t length_bytes) {
  WINNOW_ASSIGN_OR_RETURN(const uint64_t length, take_number(length_bytes));
  WINNOW_ASSIGN_OR_RETURN(const auto taken, take(length));
  const std::string_view text(reinterpret_cast<const char*>(taken.data()), taken.size());
  if (find_invalid_utf8(text) != text.size()) {
    return {PickleError::kPickleText,
            concat("the string \"", escape_name(text), "\" is not UTF-8")};
  }
  const int64_t place = add_value(table_.strings, std::string(text));
  return push(add_node({.kind = TorchKind::kString, .bits = place}));
}

Status PickleMachine::push_tuple(Result<std::vector<PickleValue>> items) {
  if (!items.ok()) return items.status();
  return push(add_node({.kind = TorchKind::kTuple, .items = std::move(items).value()}));
}

Status PickleMachine::push_short_tuple(size_t size) {
  WINNOW_RETURN_IF_ERROR(need(size));
  return push_tuple(pop_items(size));
}

// Appends items to the list on the stack, or keys and values to the dict there.
Status PickleMachine::extend(TorchKind kind, Items items) {
  const bool is_dict = kind == TorchKind::kDict;
  const TorchKind target_kind = kind_of(stack_.back());
  // A subclass of list or dict, or one that acts as such. Only with keep_unknown_ there is any.
  if (target_kind != kind && target_kind != TorchKind::kOpaque) {
    return {PickleError::kPickleTarget,
            is_dict ? "an entry for what is no dict" : "an item for what is no list"};
  }
  // walk_tree looks at the keys, once for each dict of the result.
  if (is_dict && items.size() % 2 != 0) {
    return {PickleError::kPickleStack, "a key without a value"};
  }
  // Storages and names are for the arguments of calls, which are tuples.
  // Opaque values come into their places when the pickle has ended: see settle_opaque.
  if (!keep_unknown_ && std::ranges::any_of(items, is_foreign)) {
    return {PickleError::kPickleValue, concat("a storage or a name in a ", torch_kind_name(kind))};
  }
  // The node was counted when it had no items.
  WINNOW_RETURN_IF_ERROR(spend(items.size()));
  std::vector<TorchNode>& target = table_.nodes[stack_.back()].items;
  target.insert(target.end(), items.begin(), items.end());
  return {};
}

Status PickleMachine::extend_by(TorchKind kind, size_t count) {
  WINNOW_RETURN_IF_ERROR(need(count + 1));
  return extend(kind, pop_items(count));
}

Status PickleMachine::extend_to_mark(TorchKind kind) {
  WINNOW_ASSIGN_OR_RETURN(const std::vector<PickleValue> items, pop_to_mark());
  WINNOW_RETURN_IF_ERROR(need(1));  // the container, below the mark
  return extend(kind, items);
}

// Only an OrderedDict takes a state: its attributes.
Status PickleMachine::build() {
  WINNOW_RETURN_IF_ERROR(need(2));
  const PickleValue state = pop(), target = stack_.back();
  if (kind_of(target) == TorchKind::kOpaque) return build_opaque(target, state);
  // Python would merge a second state into the first. torch.save writes one.
  if (kind_of(target) != TorchKind::kDict || !node(target).ordered ||
      node(target).attributes != kNoTorchNode) {
    return {PickleError::kPickleTarget, "a state for what takes none"};
  }
  if (kind_of(state) != TorchKind::kDict || node(state).ordered) {
    return {PickleError::kPickleTarget, "the state of an OrderedDict that is no dict"};
  }
  table_.nodes[target].attributes = state;
  return {};
}

}  // namespace winnow::io
