// Writes trees as torch.save does: the same opcodes and names, protocol 2. Memos are written only
// for what is used again: names, and nodes that stand in several places.
#include <bit>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "io/pickle/pickle.h"
#include "io/pickle/pickle_opcodes.h"
#include "io/torch_tree/torch_names.h"
#include "io/torch_tree/torch_tree.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

using Table = TorchTreeAccess::Table;

// As many items as CPython hands over at once.
constexpr size_t kBatch = 1000;

class PickleWriter {
 public:
  PickleWriter(const Table& table, std::span<const TorchStorage> storages,
               std::span<const TorchNode> order)
      : table_(table), storages_(storages), uses_(table.nodes.size()), memo_(table.nodes.size()) {
    // `order` has each node once, so this counts the places where one stands.
    for (const TorchNode node : order) {
      for (const TorchNode item : table.nodes[node].items) ++uses_[item];
      if (table.nodes[node].attributes != kNoTorchNode) ++uses_[table.nodes[node].attributes];
    }
  }

  std::string run() {
    op(Opcode::kProto).byte(2);
    write(table_.root);
    op(Opcode::kStop);
    return std::move(out_);
  }

 private:
  PickleWriter& op(Opcode opcode) { return byte(static_cast<uint8_t>(opcode)); }

  PickleWriter& byte(uint8_t value) {
    out_.push_back(static_cast<char>(value));
    return *this;
  }

  PickleWriter& number(uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) byte(static_cast<uint8_t>(value >> (8 * i)));
    return *this;
  }

  void memo_op(Opcode short_op, Opcode long_op, uint32_t index) {
    const bool is_short = index <= UINT8_MAX;
    op(is_short ? short_op : long_op).number(index, is_short ? 1 : 4);
  }

  uint32_t put() {
    memo_op(Opcode::kBinPut, Opcode::kLongBinPut, memos_);
    return memos_++;
  }

  void get(uint32_t index) { memo_op(Opcode::kBinGet, Opcode::kLongBinGet, index); }

  // Names and the strings around storages: written once, then taken from the memo.
  template <typename Write>
  void once(const std::string& key, const Write& write_it) {
    const auto found = known_.find(key);
    if (found != known_.end()) return get(found->second);
    write_it();
    known_.emplace(key, put());
  }

  void global(std::string_view module, std::string_view name) {
    const std::string text = concat(module, "\n", name, "\n");
    once(text, [&] { op(Opcode::kGlobal).out_.append(text); });
  }

  void text(std::string_view value) {
    // A text whose length has more than 32 bits makes a pickle that is refused as too large.
    op(Opcode::kBinUnicode).number(value.size(), 4).out_ += value;
  }

  void shared_text(std::string_view value) {
    once(std::string(value), [&] { text(value); });
  }

  void boolean(bool value) { op(value ? Opcode::kNewTrue : Opcode::kNewFalse); }

  void integer(int64_t value) {
    const auto bits = static_cast<uint64_t>(value);
    if (bits <= UINT8_MAX) {
      op(Opcode::kBinInt1).number(bits, 1);
    } else if (bits <= UINT16_MAX) {
      op(Opcode::kBinInt2).number(bits, 2);
    } else if (value >= INT32_MIN && value <= INT32_MAX) {
      op(Opcode::kBinInt).number(bits, 4);
    } else {
      // As many bytes as two's complement needs, which are more than the four above.
      uint8_t bytes = 5;
      while (bytes < 8 && value >> (8 * bytes - 1) != value >> 63) ++bytes;
      op(Opcode::kLong1).byte(bytes).number(bits, bytes);
    }
  }

  void real(int64_t bits) {
    op(Opcode::kBinFloat);
    // The highest byte first: only floats are written so.
    for (int shift = 56; shift >= 0; shift -= 8) byte(static_cast<uint8_t>(bits >> shift));
  }

  // A tuple, of which more than three values stand behind a mark.
  template <typename T, typename WriteItem>
  void tuple(const std::vector<T>& items, const WriteItem& write_item) {
    constexpr Opcode kShort[] = {Opcode::kEmptyTuple, Opcode::kTuple1, Opcode::kTuple2,
                                 Opcode::kTuple3};
    if (items.size() > 3) op(Opcode::kMark);
    for (const T item : items) write_item(item);
    op(items.size() > 3 ? Opcode::kTuple : kShort[items.size()]);
  }

  void numbers(const std::vector<uint64_t>& values) {
    tuple(values, [this](uint64_t value) { integer(static_cast<int64_t>(value)); });
  }

  // Calls what stands below, with the one value on the stack.
  void call_with_one() { op(Opcode::kTuple1).op(Opcode::kReduce); }

  void empty_ordered_dict() {
    global("collections", "OrderedDict");
    op(Opcode::kEmptyTuple).op(Opcode::kReduce);
  }

  void storage(uint32_t index) {
    const TorchStorage& storage = storages_[index];
    op(Opcode::kMark);
    shared_text("storage");
    global(storage.untyped ? "torch.storage" : "torch",
           storage.untyped ? "UntypedStorage" : storage_class_name(storage.dtype));
    // The N of the record data/N.
    text(std::to_string(index));
    // Where torch.load puts the storage unless map_location says otherwise.
    shared_text("cpu");
    integer(static_cast<int64_t>(storage.numel));
    op(Opcode::kTuple).op(Opcode::kBinPersId);
  }

  // Of a Parameter, its data: `parameter.data` requires no gradients in Python either.
  void plain_tensor(const TorchTensor& tensor) {
    const bool untyped = storages_[tensor.storage].untyped;
    global("torch._utils", untyped ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2");
    op(Opcode::kMark);
    storage(tensor.storage);
    integer(static_cast<int64_t>(tensor.offset));
    numbers(tensor.shape);
    numbers(tensor.strides);
    boolean(tensor.requires_grad && !tensor.is_parameter);
    empty_ordered_dict();  // hooks: none
    if (untyped) global("torch", torch_dtype_name(tensor.dtype));
    op(Opcode::kTuple).op(Opcode::kReduce);
  }

  void tensor(const TorchTensor& tensor) {
    if (!tensor.is_parameter) return plain_tensor(tensor);
    global("torch._utils", "_rebuild_parameter");
    plain_tensor(tensor);
    boolean(tensor.requires_grad);
    empty_ordered_dict();  // hooks: none
    op(Opcode::kTuple3).op(Opcode::kReduce);
  }

  void sparse(const TorchSparseTensor& tensor) {
    global("torch._utils", "_rebuild_sparse_tensor");
    // The layout is made by a call, but there is only one of it: kept like a name.
    once("layout", [&] {
      global("torch.serialization", "_get_layout");
      text("torch.sparse_coo");
      call_with_one();
    });
    op(Opcode::kMark);
    plain_tensor(tensor.indices);
    plain_tensor(tensor.values);
    global("torch", "Size");
    numbers(tensor.shape);
    call_with_one();
    boolean(tensor.is_coalesced);
    op(Opcode::kTuple).op(Opcode::kTuple2).op(Opcode::kReduce);
  }

  // Batches of items, or of keys and values, for the container on the stack.
  void items(const TorchNodeData& data, Opcode close) {
    const size_t batch = close == Opcode::kSetItems ? 2 * kBatch : kBatch;
    for (size_t i = 0; i < data.items.size(); ++i) {
      if (i % batch == 0) op(Opcode::kMark);
      write(data.items[i]);
      if ((i + 1) % batch == 0 || i + 1 == data.items.size()) op(close);
    }
  }

  void list(const TorchNodeData& data) {
    op(Opcode::kEmptyList);
    items(data, Opcode::kAppends);
  }

  void dict(const TorchNodeData& data) {
    if (data.ordered) {
      empty_ordered_dict();
    } else {
      op(Opcode::kEmptyDict);
    }
    items(data, Opcode::kSetItems);
    if (data.attributes == kNoTorchNode) return;
    // `_metadata`, in a module's state_dict.
    write(data.attributes);
    op(Opcode::kBuild);
  }

  void value(TorchNode node, const TorchNodeData& data) {
    const auto write_item = [this](TorchNode item) { write(item); };
    switch (data.kind) {
      case TorchKind::kNone:
        op(Opcode::kNone);
        break;
      case TorchKind::kBool:
        return boolean(data.bits != 0);
      case TorchKind::kInt:
        return integer(data.bits);
      case TorchKind::kFloat:
        return real(data.bits);
      case TorchKind::kDtype:
        return global("torch", torch_dtype_name(static_cast<DType>(data.bits)));
      case TorchKind::kString:
        return text(table_.string_at(node));
      case TorchKind::kTensor:
        return tensor(table_.tensor_at(node));
      case TorchKind::kSparseTensor:
        return sparse(table_.sparse_at(node));
      case TorchKind::kList:
        return list(data);
      case TorchKind::kDict:
        return dict(data);
      case TorchKind::kTuple:
        return tuple(data.items, write_item);
      case TorchKind::kSize:
        global("torch", "Size");
        tuple(data.items, write_item);
        return call_with_one();
      case TorchKind::kSet:
        global("__builtin__", "set");
        list(data);
        return call_with_one();
      case TorchKind::kOpaque:
        break;  // write_pickle refuses those
    }
  }

  // Recursive, no deeper than a checked tree is.
  void write(TorchNode node) {
    const TorchNodeData& data = table_.nodes[node];
    if (memo_[node] != 0) return get(memo_[node] - 1);
    value(node, data);
    // Behind the value: nothing inside can refer to it, since a checked tree has no cycles.
    // Values whose identity nobody sees cost less than a memo.
    const bool is_atom = data.kind <= TorchKind::kFloat || data.kind == TorchKind::kDtype;
    if (uses_[node] > 1 && !is_atom) memo_[node] = put() + 1;
  }

  const Table& table_;
  std::span<const TorchStorage> storages_;
  std::vector<uint32_t> uses_;
  std::vector<uint32_t> memo_;             // 1 + the memo of a node; 0 if it has none
  std::map<std::string, uint32_t> known_;  // memos; the key of a name holds newlines, no other does
  uint32_t memos_ = 0;
  std::string out_;
};

}  // namespace

Result<std::string> write_pickle(const TorchTree& tree, std::span<const TorchStorage> storages) {
  const Table& table = TorchTreeAccess::table(tree);
  std::vector<TorchNode> order;
  WINNOW_RETURN_IF_ERROR(walk_tree(table, storages, order));
  for (const TorchNode node : order) {
    if (table.nodes[node].kind != TorchKind::kOpaque) continue;
    return Status(ErrorCode::kInvalidArgument,
                  concat("an opaque value, \"", escape_name(table.string_at(node)),
                         "\", cannot be written: its content is not known"));
  }
  // Checked, so the writer can neither recurse too deep nor meet a cycle.
  return PickleWriter(table, storages, order).run();
}

}  // namespace winnow::io
