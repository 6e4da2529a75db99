// Private: the stack machine that a pickle is a program for, without its powers: names are symbols,
// and "calling" one builds one of a few kinds of data. An opcode is a row of kSteps, a name one of
// kNames.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "io/pickle/pickle.h"
#include "io/torch_tree/torch_tree.h"

namespace winnow::io {

/// A value on the stack: a node of the tree, or a foreign reference (torch_tree.h), which has its
/// kind and a number of 24 bits.
using PickleValue = TorchNode;

// The kinds of foreign references, beside TorchKind's. They are arguments of calls and parts of
// persistent ids.
inline constexpr TorchKind kName{0x80};            // number: its row of kNames
inline constexpr TorchKind kStorageClass{0x81};    // number: its dtype
inline constexpr TorchKind kUntypedStorage{0x82};  // the class
inline constexpr TorchKind kSparseCoo{0x83};       // what _get_layout answers
inline constexpr TorchKind kStorage{0x84};         // number: its place in storages_
inline constexpr TorchKind kUnknownStorage{0x85};  // number: its place in unknown_classes_

constexpr PickleValue foreign(TorchKind kind, uint32_t number = 0) {
  return static_cast<uint32_t>(kind) << 24 | number;
}
constexpr bool is_foreign(PickleValue value) { return (value & kForeignBit) != 0; }
constexpr uint32_t number_of(PickleValue foreign) { return foreign & 0xffffff; }
static_assert(is_foreign(foreign(kName)));

class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> pickle, bool keep_unknown);

  /// Runs to the end of the pickle.
  Status run();

  /// The value that it left. Precondition: `run` succeeded.
  Result<PickleContent> finish();

 private:
  using Self = PickleMachine;
  using Items = std::span<const PickleValue>;
  struct Step;
  struct Name;
  static const Step kSteps[];
  static const Name kNames[];

  static const Step* find_step(std::byte opcode);
  void number_storages(const std::vector<bool>& opaque_uses, PickleContent& out);

  // The program's bytes (pickle_machine.cc).
  Result<std::span<const std::byte>> take(size_t bytes);
  Result<uint64_t> take_number(size_t bytes);
  Result<uint64_t> take_signed(size_t bytes);
  Result<std::string_view> take_line();

  // The stack.
  size_t available() const;
  Status need(size_t values) const;
  Status push(const Result<PickleValue>& value);
  PickleValue pop();
  std::vector<PickleValue> pop_items(size_t count);
  Result<std::vector<PickleValue>> pop_to_mark();

  // Opcodes (pickle_steps.cc).
  Status mark();
  Status stop();
  Status push_empty(TorchKind kind) { return push(add_node({.kind = kind})); }
  Status push_bool(bool value) { return push_once(TorchKind::kBool, value, bools_[value]); }
  Status push_once(TorchKind kind, int64_t bits, TorchNode& node);
  Status push_int(const Result<uint64_t>& bits);
  Status push_long();
  Status push_float();
  Status push_text(size_t length_bytes);
  Status push_tuple(Result<std::vector<PickleValue>> items);
  Status push_short_tuple(size_t size);
  Status extend(TorchKind kind, Items items);
  Status extend_by(TorchKind kind, size_t count);
  Status extend_to_mark(TorchKind kind);
  Status build();
  Status get(size_t index_bytes);
  Status put(size_t index_bytes);

  // Names (pickle_calls.cc).
  Status push_global();
  Status reduce(bool is_new_object);
  Status load_storage();
  Result<PickleValue> resolve(std::string_view module, std::string_view name);
  Result<PickleValue> make_ordered_dict(Items args);
  Result<PickleValue> make_tensor(Items args, bool is_v3);
  Result<PickleValue> make_tensor_v2(Items args) { return make_tensor(args, false); }
  Result<PickleValue> make_tensor_v3(Items args) { return make_tensor(args, true); }
  Result<PickleValue> add_tensor(TorchTensor tensor);
  Result<PickleValue> make_parameter(PickleValue data, bool requires_grad);
  Result<PickleValue> rebuild_parameter(Items args);
  Result<PickleValue> new_parameter(Items args);
  Result<PickleValue> make_sparse(Items args);
  Result<PickleValue> make_layout(Items args);
  Result<PickleValue> make_size(Items args);
  Result<PickleValue> make_set(Items args);
  Result<PickleValue> find_storage(Items id);
  Status check_hooks(PickleValue value) const;
  Result<std::vector<uint64_t>> read_sizes(PickleValue tuple, StatusCode code) const;

  // Opaque values, with keep_unknown_ only (pickle_opaque.cc). The items of one are what it was
  // made of, foreign references included; a name that was not called has none.
  Result<PickleValue> make_opaque(std::string name, std::vector<PickleValue> parts);
  Result<PickleValue> opaque_name(std::string_view module, std::string_view name);
  Result<PickleValue> opaque_call(std::string_view callee, PickleValue args);
  Result<PickleValue> call_opaque(PickleValue callee, PickleValue args);
  Result<PickleValue> find_unknown_storage(Items id, uint64_t number);
  Status build_opaque(PickleValue target, PickleValue state);
  Status settle_opaque();
  Result<TorchNode> opaque_of(PickleValue foreign);
  std::string shown_name(PickleValue foreign) const;
  bool mark_storages(PickleValue from, std::vector<bool>& seen, std::vector<bool>& uses) const;
  std::vector<bool> close_opaque(std::span<const TorchNode> order);

  TorchKind kind_of(PickleValue value) const;
  bool match(Items values, std::initializer_list<TorchKind> kinds) const;
  const TorchNodeData& node(PickleValue value) const { return table_.nodes[value]; }

  // Budgets: a unit is four bytes of items, tensors and storages.
  Result<TorchNode> add_node(TorchNodeData data);
  Status spend(uint64_t units);
  Status spend_tensor(const TorchTensor& tensor);

  std::span<const std::byte> pickle_;
  const bool keep_unknown_;
  size_t at_ = 0;  // the next byte
  bool stopped_ = false;
  TorchTree tree_;
  TorchTreeAccess::Table& table_;
  std::vector<PickleValue> stack_;
  std::vector<size_t> marks_;
  std::vector<PickleValue> memo_;               // kNoTorchNode if none was written
  std::array<TorchNode, 256> small_ints_ = {};  // 0 if there is none yet: node 0 is the None
  std::array<TorchNode, 2> bools_ = {};         // likewise
  uint64_t units_ = 0;
  std::vector<TorchStorage> storages_;
  std::map<uint64_t, uint32_t> storage_by_number_;  // no hash table: a file may choose the numbers
  std::map<uint64_t, uint32_t> unknown_by_number_;  // storages of classes that are not known
  std::vector<PickleValue> unknown_classes_;        // the class of each
  std::map<PickleValue, TorchNode> opaque_of_;      // nodes that stand for foreign references
};

}  // namespace winnow::io
