// Private: the stack machine that a pickle is a program for, without its powers: names are symbols,
// and "calling" one builds one of a few kinds of data.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/pickle/pickle.h"
#include "io/pickle/pickle_opcodes.h"
#include "io/torch_tree/torch_tree.h"

namespace winnow::io {

/// The names that a pickle may use.
enum class PickleSymbol : uint8_t {
  kOrderedDict,
  kRebuildTensorV2,
  kRebuildTensorV3,
  kRebuildParameter,
  kRebuildSparse,
  kGetLayout,
  kSparseCoo,  // what _get_layout answers
  kParameter,
  kSet,
  kSize,
  kStorageClass,
  kUntypedStorage,
};

/// A value on the stack: a node of the tree, or a foreign reference (torch_tree.h), which is a
/// symbol or a storage.
using PickleValue = TorchNode;

constexpr uint32_t kStorageBit = uint32_t{1} << 30;

constexpr PickleValue symbol_value(PickleSymbol symbol, DType dtype = DType::kU8) {
  return kForeignBit | static_cast<uint32_t>(symbol) << 8 | static_cast<uint32_t>(dtype);
}
constexpr PickleValue storage_value(uint32_t index) { return kForeignBit | kStorageBit | index; }
constexpr bool is_foreign(PickleValue value) { return (value & kForeignBit) != 0; }
constexpr bool is_storage(PickleValue value) {
  return (value & (kForeignBit | kStorageBit)) == (kForeignBit | kStorageBit);
}
constexpr bool is_symbol(PickleValue value) { return is_foreign(value) && !is_storage(value); }
constexpr PickleSymbol symbol_of(PickleValue value) {
  return static_cast<PickleSymbol>(value >> 8 & 0xff);
}
constexpr DType dtype_of(PickleValue value) { return static_cast<DType>(value & 0xff); }
constexpr uint32_t storage_of(PickleValue value) { return value & (kStorageBit - 1); }

class PickleMachine {
 public:
  explicit PickleMachine(std::span<const std::byte> pickle);

  /// Runs to the end of the pickle.
  Status run();

  /// The value that it left. Precondition: `run` succeeded.
  Result<PickleContent> finish();

 private:
  using Items = std::span<const PickleValue>;

  void number_storages(PickleContent& out);

  // The program's bytes (pickle_machine.cc).
  Status take(size_t bytes, std::span<const std::byte>& out);
  Status take_number(size_t bytes, uint64_t& out);
  Status take_line(std::string_view& out);
  Status step(Opcode opcode);
  Status step_number(Opcode opcode);
  Status step_container(Opcode opcode);
  Status step_memo(Opcode opcode);

  // The stack.
  size_t available() const;
  Status need(size_t values) const;
  Status push(PickleValue value);
  PickleValue pop();
  Status pop_to_mark(std::vector<PickleValue>& items);
  Status push_node(Result<TorchNode> node);
  Status push_once(const TorchNodeData& data, TorchNode& node);  // 0 if there is none yet

  // Opcodes.
  Status push_int(int64_t value);
  Status push_long();
  Status push_float();
  Status push_text(size_t length_bytes);
  Status push_tuple(Items items);
  Status push_short_tuple(size_t size);
  Status push_global();
  Status append(Items items);
  Status set_items(Items items);
  Status build();
  Status reduce(bool is_new_object);
  Status stop();
  Status get(uint64_t index);
  Status put(uint64_t index);
  Status load_storage();

  // Names (pickle_calls.cc).
  Status resolve(std::string_view module, std::string_view name, PickleValue& out);
  Status call(PickleSymbol symbol, Items args, PickleValue& out);
  Status call_new(PickleSymbol symbol, Items args, PickleValue& out);
  Status make_ordered_dict(Items args, PickleValue& out);
  Status make_tensor(Items args, bool is_v3, PickleValue& out);
  Status make_parameter(PickleValue data, bool requires_grad, PickleValue& out);
  Status rebuild_parameter(Items args, PickleValue& out);
  Status new_parameter(Items args, PickleValue& out);
  Status make_sparse(Items args, PickleValue& out);
  Status make_layout(Items args, PickleValue& out) const;
  Status make_size(Items args, PickleValue& out);
  Status make_set(Items args, PickleValue& out);
  Status find_storage(Items id, PickleValue& out);
  Status check_hooks(PickleValue value) const;
  Status read_sizes(Items items, StatusCode code, std::vector<uint64_t>& out) const;

  // Looks at a value; null or nothing if it is of another kind.
  const TorchNodeData* data_of(PickleValue value, TorchKind kind) const;
  std::optional<int64_t> int_of(PickleValue value) const;
  std::optional<bool> bool_of(PickleValue value) const;
  std::optional<std::string_view> text_of(PickleValue value) const;

  // Budgets: a unit is four bytes of items, tensors and storages.
  Result<TorchNode> add_node(TorchNodeData data);
  Status spend(uint64_t units);
  Status spend_tensor(const TorchTensor& tensor);

  std::span<const std::byte> pickle_;
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
};

}  // namespace winnow::io
