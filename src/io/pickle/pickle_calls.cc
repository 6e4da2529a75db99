// The names that a pickle may use, and the data that "calling" each of them builds.
#include <algorithm>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "io/pickle/pickle_machine.h"
#include "io/torch_tree/torch_names.h"
#include "io/torch_tree/torch_tensor_checks.h"
#include "winnow/base/concat.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

struct KnownName {
  std::string_view module;
  std::string_view name;
  PickleSymbol symbol;
};

// All that torch.save calls for plain data, besides the types. Whatever else is named is refused.
constexpr KnownName kKnownNames[] = {
    {"collections", "OrderedDict", PickleSymbol::kOrderedDict},
    {"torch._utils", "_rebuild_tensor_v2", PickleSymbol::kRebuildTensorV2},
    {"torch._utils", "_rebuild_tensor_v3", PickleSymbol::kRebuildTensorV3},
    {"torch._utils", "_rebuild_parameter", PickleSymbol::kRebuildParameter},
    {"torch._utils", "_rebuild_sparse_tensor", PickleSymbol::kRebuildSparse},
    {"torch.serialization", "_get_layout", PickleSymbol::kGetLayout},
    {"torch.nn.parameter", "Parameter", PickleSymbol::kParameter},
    {"torch", "Size", PickleSymbol::kSize},
    {"torch.storage", "UntypedStorage", PickleSymbol::kUntypedStorage},
    {"__builtin__", "set", PickleSymbol::kSet},
};

// The charges, in units of four bytes (docs/torch_archive.md): of a dimension 8 bytes of shape
// and 8 of strides; of all else the object, and 16 bytes of the heap's own for each of its vectors.
// A storage has a place in a vector and one in a map.
constexpr uint64_t kDimensionUnits = 4;
constexpr uint64_t kTensorUnits = 26;
constexpr uint64_t kSparseUnits = 12;  // besides its two tensors
constexpr uint64_t kStorageUnits = 26;
static_assert(sizeof(TorchTensor) + 2 * 16 <= 4 * kTensorUnits);
static_assert(sizeof(TorchSparseTensor) + 5 * 16 <= 4 * (2 * kTensorUnits + kSparseUnits));

Status call_error(std::string_view name, std::string_view expected) {
  return {PickleError::kPickleCall,
          concat(name, " is called with other arguments than ", expected)};
}

// Where a tensor was when it was saved: "cpu", "cuda:0". It tells nothing about the payload.
bool is_location(std::string_view text) {
  constexpr std::string_view kDevices[] = {"cpu", "cuda", "xpu", "hpu", "mps", "xla", "mtia"};
  const size_t colon = text.find(':');
  if (std::ranges::find(kDevices, text.substr(0, colon)) == std::end(kDevices)) return false;
  return colon == text.npos || parse_storage_number(text.substr(colon + 1)).has_value();
}

}  // namespace

const TorchNodeData* PickleMachine::data_of(PickleValue value, TorchKind kind) const {
  if (is_foreign(value)) return nullptr;
  const TorchNodeData& data = table_.nodes[value];
  return data.kind == kind ? &data : nullptr;
}

std::optional<int64_t> PickleMachine::int_of(PickleValue value) const {
  const TorchNodeData* data = data_of(value, TorchKind::kInt);
  return data == nullptr ? std::nullopt : std::optional(data->bits);
}

std::optional<bool> PickleMachine::bool_of(PickleValue value) const {
  const TorchNodeData* data = data_of(value, TorchKind::kBool);
  return data == nullptr ? std::nullopt : std::optional(data->bits != 0);
}

std::optional<std::string_view> PickleMachine::text_of(PickleValue value) const {
  if (data_of(value, TorchKind::kString) == nullptr) return std::nullopt;
  return table_.string_at(value);
}

Status PickleMachine::resolve(std::string_view module, std::string_view name, PickleValue& out) {
  for (const KnownName& known : kKnownNames) {
    if (known.module != module || known.name != name) continue;
    out = symbol_value(known.symbol);
    return {};
  }
  // The types are in a table of their own (torch_names.h).
  if (module == "torch") {
    if (const auto dtype = dtype_from_storage_class(name)) {
      out = symbol_value(PickleSymbol::kStorageClass, *dtype);
      return {};
    }
    if (const auto dtype = dtype_from_torch_name(name)) {
      WINNOW_ASSIGN_OR_RETURN(
          out, add_node({.kind = TorchKind::kDtype, .bits = static_cast<int64_t>(*dtype)}));
      return {};
    }
    // Else the message would call a type of torch's an unknown name.
    if (is_unsupported_type(name)) {
      return {TorchArchiveError::kStorageDtype,
              concat("torch.", escape_name(name), " is not supported")};
    }
  }
  return {
      PickleError::kPickleGlobal,
      concat("the name ", escape_name(module), ".", escape_name(name),
             " is not one that plain data need; save a state_dict of tensors and plain values")};
}

Status PickleMachine::call(PickleSymbol symbol, Items args, PickleValue& out) {
  switch (symbol) {
    case PickleSymbol::kOrderedDict:
      return make_ordered_dict(args, out);
    case PickleSymbol::kRebuildTensorV2:
      return make_tensor(args, /*is_v3=*/false, out);
    case PickleSymbol::kRebuildTensorV3:
      return make_tensor(args, /*is_v3=*/true, out);
    case PickleSymbol::kRebuildParameter:
      return rebuild_parameter(args, out);
    case PickleSymbol::kParameter:
      return new_parameter(args, out);
    case PickleSymbol::kRebuildSparse:
      return make_sparse(args, out);
    case PickleSymbol::kGetLayout:
      return make_layout(args, out);
    case PickleSymbol::kSize:
      return make_size(args, out);
    case PickleSymbol::kSet:
      return make_set(args, out);
    default:
      return {PickleError::kPickleCall, "a storage class or a layout is called"};
  }
}

// set.__new__ ignores its argument, so NEWOBJ means another thing there.
Status PickleMachine::call_new(PickleSymbol symbol, Items args, PickleValue& out) {
  if (symbol == PickleSymbol::kOrderedDict || symbol == PickleSymbol::kSize ||
      symbol == PickleSymbol::kParameter) {
    return call(symbol, args, out);
  }
  return {PickleError::kPickleCall, "a new object of what is no plain class"};
}

Status PickleMachine::make_ordered_dict(Items args, PickleValue& out) {
  if (!args.empty()) return call_error("OrderedDict", "()");
  WINNOW_ASSIGN_OR_RETURN(out, add_node({.kind = TorchKind::kDict, .ordered = true}));
  return {};
}

// torch.save writes an empty OrderedDict here; hooks are code, and other state means nothing to us.
Status PickleMachine::check_hooks(PickleValue value) const {
  const TorchNodeData* hooks = data_of(value, TorchKind::kDict);
  if (hooks != nullptr && hooks->ordered && hooks->items.empty() &&
      hooks->attributes == kNoTorchNode) {
    return {};
  }
  return {TorchArchiveError::kTensorHooks, "the tensor's hooks are not an empty OrderedDict"};
}

Status PickleMachine::read_sizes(Items items, StatusCode code, std::vector<uint64_t>& out) const {
  for (const PickleValue item : items) {
    const auto size = int_of(item);
    if (!size) return {PickleError::kPickleCall, "a shape or its strides hold what is no int"};
    if (*size < 0) return {code, concat("a size or a stride of ", *size)};
    out.push_back(static_cast<uint64_t>(*size));
  }
  return {};
}

Status PickleMachine::spend_tensor(const TorchTensor& tensor) {
  return spend(kTensorUnits + kDimensionUnits * tensor.shape.size());
}

// (storage, offset, shape, strides, requires_grad, hooks[, dtype])
Status PickleMachine::make_tensor(Items args, bool is_v3, PickleValue& out) {
  const std::string_view name = is_v3 ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2";
  const auto error = [name] {
    return call_error(name, "(storage, int, tuple, tuple, bool, OrderedDict[, dtype])");
  };
  if (args.size() != (is_v3 ? 7u : 6u) || !is_storage(args[0])) return error();
  const auto offset = int_of(args[1]);
  const TorchNodeData* shape = data_of(args[2], TorchKind::kTuple);
  const TorchNodeData* strides = data_of(args[3], TorchKind::kTuple);
  const auto requires_grad = bool_of(args[4]);
  const TorchNodeData* dtype = is_v3 ? data_of(args[6], TorchKind::kDtype) : nullptr;
  if (!offset || shape == nullptr || strides == nullptr || !requires_grad) return error();
  if (is_v3 && dtype == nullptr) return error();
  WINNOW_RETURN_IF_ERROR(check_hooks(args[5]));
  TorchTensor tensor;
  tensor.storage = storage_of(args[0]);
  const TorchStorage& storage = storages_[tensor.storage];
  // v2 has the type of its storage's class; v3 brings its own, for a storage of plain bytes.
  if (storage.untyped != is_v3) {
    return {TorchArchiveError::kStorageDtype, concat(name, " on a storage of the other kind")};
  }
  tensor.dtype = is_v3 ? static_cast<DType>(dtype->bits) : storage.dtype;
  tensor.requires_grad = *requires_grad;
  if (*offset < 0) return {TorchArchiveError::kTensorStride, concat("an offset of ", *offset)};
  tensor.offset = static_cast<uint64_t>(*offset);
  // Before the sizes are copied: the tuple may have millions.
  if (shape->items.size() > kMaxTorchRank) {
    return {TorchArchiveError::kTensorRank, concat(shape->items.size(), " dimensions")};
  }
  WINNOW_RETURN_IF_ERROR(read_sizes(shape->items, TorchArchiveError::kTensorShape, tensor.shape));
  WINNOW_RETURN_IF_ERROR(
      read_sizes(strides->items, TorchArchiveError::kTensorStride, tensor.strides));
  WINNOW_RETURN_IF_ERROR(check_tensor(tensor, storages_));
  WINNOW_RETURN_IF_ERROR(spend_tensor(tensor));
  WINNOW_ASSIGN_OR_RETURN(out, add_node({.kind = TorchKind::kTensor}));
  table_.nodes[out].bits = static_cast<int64_t>(table_.tensors.size());
  table_.tensors.push_back(std::move(tensor));
  return {};
}

Status PickleMachine::make_parameter(PickleValue data, bool requires_grad, PickleValue& out) {
  const TorchNodeData* source = data_of(data, TorchKind::kTensor);
  if (source == nullptr || table_.tensor_at(data).is_parameter) {
    return {PickleError::kPickleCall, "a Parameter of what is no Tensor"};
  }
  // A Parameter is another object than its tensor, in Python too. Counted before it is copied.
  WINNOW_RETURN_IF_ERROR(spend_tensor(table_.tensor_at(data)));
  TorchTensor tensor = table_.tensor_at(data);
  tensor.is_parameter = true;
  tensor.requires_grad = requires_grad;
  WINNOW_ASSIGN_OR_RETURN(out, add_node({.kind = TorchKind::kTensor}));
  table_.nodes[out].bits = static_cast<int64_t>(table_.tensors.size());
  table_.tensors.push_back(std::move(tensor));
  return {};
}

// (data, requires_grad, hooks)
Status PickleMachine::rebuild_parameter(Items args, PickleValue& out) {
  const auto requires_grad = args.size() == 3 ? bool_of(args[1]) : std::nullopt;
  if (!requires_grad) return call_error("_rebuild_parameter", "(Tensor, bool, OrderedDict)");
  WINNOW_RETURN_IF_ERROR(check_hooks(args[2]));
  return make_parameter(args[0], *requires_grad, out);
}

// (data[, requires_grad])
Status PickleMachine::new_parameter(Items args, PickleValue& out) {
  const auto requires_grad = args.size() == 2 ? bool_of(args[1]) : std::optional(true);
  if (args.empty() || args.size() > 2 || !requires_grad) {
    return call_error("Parameter", "(Tensor[, bool])");
  }
  return make_parameter(args[0], *requires_grad, out);
}

// (layout, (indices, values, shape[, is_coalesced]))
Status PickleMachine::make_sparse(Items args, PickleValue& out) {
  const auto error = [] {
    return call_error("_rebuild_sparse_tensor", "(layout, (Tensor, Tensor, torch.Size[, bool]))");
  };
  const TorchNodeData* parts = args.size() == 2 ? data_of(args[1], TorchKind::kTuple) : nullptr;
  if (parts == nullptr || args[0] != symbol_value(PickleSymbol::kSparseCoo)) return error();
  const Items items = parts->items;
  if (items.size() != 3 && items.size() != 4) return error();
  const TorchNodeData* shape = data_of(items[2], TorchKind::kSize);
  const bool has_mark = items.size() == 4;  // older torch wrote none
  const auto mark = has_mark ? bool_of(items[3]) : std::optional(false);
  if (data_of(items[0], TorchKind::kTensor) == nullptr ||
      data_of(items[1], TorchKind::kTensor) == nullptr || shape == nullptr || !mark) {
    return error();
  }
  TorchSparseTensor tensor;
  tensor.indices = table_.tensor_at(items[0]);
  tensor.values = table_.tensor_at(items[1]);
  // As torch does: unmarked entries may be in any order, unless there are fewer than two.
  tensor.is_coalesced = has_mark ? *mark : tensor.nnz() < 2;
  WINNOW_RETURN_IF_ERROR(spend_tensor(tensor.indices));
  WINNOW_RETURN_IF_ERROR(spend_tensor(tensor.values));
  WINNOW_RETURN_IF_ERROR(spend(kSparseUnits + kDimensionUnits * shape->items.size()));
  WINNOW_RETURN_IF_ERROR(read_sizes(shape->items, TorchArchiveError::kTensorShape, tensor.shape));
  WINNOW_RETURN_IF_ERROR(check_sparse(tensor, storages_));
  WINNOW_ASSIGN_OR_RETURN(out, add_node({.kind = TorchKind::kSparseTensor}));
  table_.nodes[out].bits = static_cast<int64_t>(table_.sparse.size());
  table_.sparse.push_back(std::move(tensor));
  return {};
}

Status PickleMachine::make_layout(Items args, PickleValue& out) const {
  const auto name = args.size() == 1 ? text_of(args[0]) : std::nullopt;
  if (!name) return call_error("_get_layout", "(str)");
  if (*name != "torch.sparse_coo") {
    return {TorchArchiveError::kSparseLayout,
            concat("the layout \"", escape_name(*name), "\"; only torch.sparse_coo is supported")};
  }
  out = symbol_value(PickleSymbol::kSparseCoo);
  return {};
}

Status PickleMachine::make_size(Items args, PickleValue& out) {
  const TorchNodeData* items = args.size() == 1 ? data_of(args[0], TorchKind::kTuple) : nullptr;
  const auto is_int = [this](PickleValue item) { return int_of(item).has_value(); };
  if (items == nullptr || !std::ranges::all_of(items->items, is_int)) {
    return call_error("torch.Size", "(tuple of int)");
  }
  WINNOW_ASSIGN_OR_RETURN(out, add_node({.kind = TorchKind::kSize, .items = items->items}));
  return {};
}

Status PickleMachine::make_set(Items args, PickleValue& out) {
  const TorchNodeData* items = args.size() == 1 ? data_of(args[0], TorchKind::kList) : nullptr;
  if (items == nullptr) return call_error("set", "(list)");
  // Lists hold nothing foreign (see append), so neither does the set.
  WINNOW_ASSIGN_OR_RETURN(out, add_node({.kind = TorchKind::kSet, .items = items->items}));
  return {};
}

// ("storage", class, number, location, numel)
Status PickleMachine::find_storage(Items id, PickleValue& out) {
  const bool is_class = id.size() == 5 && is_symbol(id[1]) &&
                        (symbol_of(id[1]) == PickleSymbol::kStorageClass ||
                         symbol_of(id[1]) == PickleSymbol::kUntypedStorage);
  if (!is_class || text_of(id[0]) != "storage" || !is_location(text_of(id[3]).value_or(""))) {
    return {PickleError::kStorageId,
            "the persistent id is not (\"storage\", class, number, location, numel)"};
  }
  const auto number = text_of(id[2]) ? parse_storage_number(*text_of(id[2])) : std::nullopt;
  const auto numel = int_of(id[4]);
  if (!number || !numel || *numel < 0) {
    return {PickleError::kStorageId, "the storage's number or its elements are no number"};
  }
  // Of an untyped storage, numel counts bytes.
  const bool untyped = symbol_of(id[1]) == PickleSymbol::kUntypedStorage;
  const TorchStorage storage = {untyped ? DType::kU8 : dtype_of(id[1]),
                                static_cast<uint64_t>(*numel), untyped};
  WINNOW_RETURN_IF_ERROR(check_storage(storage));
  const auto [place, is_new] =
      storage_by_number_.try_emplace(*number, static_cast<uint32_t>(storages_.size()));
  if (is_new) {
    WINNOW_RETURN_IF_ERROR(spend(kStorageUnits));
    storages_.push_back(storage);
  } else if (storages_[place->second] != storage) {
    return {PickleError::kStorageMismatch,
            concat("storage ", *number, " is named with another type or size than before")};
  }
  out = storage_value(place->second);
  return {};
}

}  // namespace winnow::io
