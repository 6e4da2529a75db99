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

using enum TorchKind;
// For an argument whose faults have a code or message of their own.
constexpr TorchKind kAnyKind{0xff};

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

// Whether a call is of a kind that is not read, rather than malformed.
bool is_unknown_use(StatusCode code) {
  constexpr StatusCode kUnknown[] = {PickleError::kPickleCall, TorchArchiveError::kTensorHooks,
                                     TorchArchiveError::kSparseLayout,
                                     TorchArchiveError::kStorageDtype};
  return std::ranges::find(kUnknown, code) != std::end(kUnknown);
}

}  // namespace

struct PickleMachine::Name {
  std::string_view module;
  std::string_view name;
  Result<PickleValue> (Self::*call)(Items args);
  bool is_class = false;  // so that NEWOBJ makes one too
};

// All that torch.save calls for plain data, besides the types. Whatever else is named is refused.
const PickleMachine::Name PickleMachine::kNames[] = {
    {"collections", "OrderedDict", &Self::make_ordered_dict, /*is_class=*/true},
    {"torch._utils", "_rebuild_tensor_v2", &Self::make_tensor_v2},
    {"torch._utils", "_rebuild_tensor_v3", &Self::make_tensor_v3},
    {"torch._utils", "_rebuild_parameter", &Self::rebuild_parameter},
    {"torch._utils", "_rebuild_sparse_tensor", &Self::make_sparse},
    {"torch.serialization", "_get_layout", &Self::make_layout},
    {"torch.nn.parameter", "Parameter", &Self::new_parameter, /*is_class=*/true},
    {"torch", "Size", &Self::make_size, /*is_class=*/true},
    // No class here: set.__new__ ignores its argument, so NEWOBJ means another thing.
    {"__builtin__", "set", &Self::make_set},
};

TorchKind PickleMachine::kind_of(PickleValue value) const {
  return is_foreign(value) ? static_cast<TorchKind>(value >> 24) : node(value).kind;
}

// Whether there are as many values, each of its kind.
bool PickleMachine::match(Items values, std::initializer_list<TorchKind> kinds) const {
  return std::ranges::equal(values, kinds, [this](PickleValue value, TorchKind kind) {
    return kind == kAnyKind || kind == kind_of(value);
  });
}

Status PickleMachine::push_global() {
  WINNOW_ASSIGN_OR_RETURN(const std::string_view module, take_line());
  WINNOW_ASSIGN_OR_RETURN(const std::string_view name, take_line());
  // Python would import the module here. To us a name is a symbol or an error.
  return push(resolve(module, name));
}

Result<PickleValue> PickleMachine::resolve(std::string_view module, std::string_view name) {
  const auto* known = std::ranges::find_if(
      kNames, [&](const Name& n) { return n.module == module && n.name == name; });
  if (known != std::end(kNames)) {
    return foreign(kName, static_cast<uint32_t>(known - std::begin(kNames)));
  }
  if (module == "torch.storage" && name == "UntypedStorage") return foreign(kUntypedStorage);
  // The types are in a table of their own (torch_names.h).
  if (module == "torch") {
    if (const auto dtype = dtype_from_storage_class(name)) {
      return foreign(kStorageClass, static_cast<uint32_t>(*dtype));
    }
    if (const auto dtype = dtype_from_torch_name(name)) {
      return add_node({.kind = kDtype, .bits = static_cast<int64_t>(*dtype)});
    }
    // Else the message would call a type of torch's an unknown name.
    if (is_unsupported_type(name) && !keep_unknown_) {
      return Status(TorchArchiveError::kStorageDtype,
                    concat("torch.", escape_name(name), " is not supported"));
    }
  }
  if (keep_unknown_) return opaque_name(module, name);
  return Status(
      PickleError::kPickleGlobal,
      concat("the name ", escape_name(module), ".", escape_name(name),
             " is not one that plain data need; save a state_dict of tensors and plain values"));
}

std::string PickleMachine::shown_name(PickleValue foreign) const {
  // No switch: these kinds stand beyond TorchKind's own.
  const TorchKind kind = kind_of(foreign);
  const uint32_t number = number_of(foreign);
  if (kind == kName) return concat(kNames[number].module, ".", kNames[number].name);
  if (kind == kStorageClass) {
    return concat("torch.", storage_class_name(static_cast<DType>(number)));
  }
  if (kind == kUnknownStorage) return table_.string_at(unknown_classes_[number]);
  const bool is_untyped =
      kind == kUntypedStorage || (kind == kStorage && storages_[number].untyped);
  if (is_untyped) return "torch.storage.UntypedStorage";
  return kind == kStorage ? "torch.storage.TypedStorage" : "torch.layout";
}

Status PickleMachine::reduce(bool is_new_object) {
  WINNOW_RETURN_IF_ERROR(need(2));
  const PickleValue tuple = pop(), callee = pop();
  if (kind_of(tuple) != kTuple) return {PickleError::kPickleCall, "the arguments are no tuple"};
  if (kind_of(callee) == kOpaque) return push(call_opaque(callee, tuple));
  if (!is_foreign(callee) || kind_of(callee) == kStorage) {
    return {PickleError::kPickleCall, "what is called is no name"};
  }
  const Name* name = kind_of(callee) == kName ? &kNames[number_of(callee)] : nullptr;
  if (is_new_object && (name == nullptr || !name->is_class)) {
    return {PickleError::kPickleCall, "a new object of what is no plain class"};
  }
  if (name == nullptr) return {PickleError::kPickleCall, "a storage class or a layout is called"};
  // A copy: the call adds nodes, which moves those that are there.
  const std::vector<PickleValue> args = node(tuple).items;
  const Result<PickleValue> made = (this->*name->call)(args);
  if (made.ok() || !keep_unknown_ || !is_unknown_use(made.status().code())) return push(made);
  return push(opaque_call(concat(name->module, ".", name->name), tuple));
}

Result<PickleValue> PickleMachine::make_ordered_dict(Items args) {
  if (!args.empty()) return call_error("OrderedDict", "()");
  return add_node({.kind = kDict, .ordered = true});
}

// torch.save writes an empty OrderedDict here; hooks are code, and other state means nothing to us.
Status PickleMachine::check_hooks(PickleValue value) const {
  if (kind_of(value) == kDict && node(value).ordered && node(value).items.empty() &&
      node(value).attributes == kNoTorchNode) {
    return {};
  }
  return {TorchArchiveError::kTensorHooks, "the tensor's hooks are not an empty OrderedDict"};
}

Result<std::vector<uint64_t>> PickleMachine::read_sizes(PickleValue tuple, StatusCode code) const {
  std::vector<uint64_t> out;
  // A tuple may hold names and storages as well.
  for (const PickleValue item : node(tuple).items) {
    if (kind_of(item) != kInt) {
      return Status(PickleError::kPickleCall, "a shape or its strides hold what is no int");
    }
    const int64_t size = node(item).bits;
    if (size < 0) return Status(code, concat("a size or a stride of ", size));
    out.push_back(static_cast<uint64_t>(size));
  }
  return out;
}

Status PickleMachine::spend_tensor(const TorchTensor& tensor) {
  return spend(kTensorUnits + kDimensionUnits * tensor.shape.size());
}

Result<PickleValue> PickleMachine::add_tensor(TorchTensor tensor) {
  WINNOW_RETURN_IF_ERROR(spend_tensor(tensor));
  return add_node({.kind = kTensor, .bits = add_value(table_.tensors, std::move(tensor))});
}

// (storage, offset, shape, strides, requires_grad, hooks[, dtype])
Result<PickleValue> PickleMachine::make_tensor(Items args, bool is_v3) {
  const std::string_view name = is_v3 ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2";
  if (is_v3 ? !match(args, {kStorage, kInt, kTuple, kTuple, kBool, kAnyKind, kDtype})
            : !match(args, {kStorage, kInt, kTuple, kTuple, kBool, kAnyKind})) {
    return call_error(name, "(storage, int, tuple, tuple, bool, OrderedDict[, dtype])");
  }
  WINNOW_RETURN_IF_ERROR(check_hooks(args[5]));
  const uint32_t place = number_of(args[0]);
  const TorchStorage& storage = storages_[place];
  // v2 has the type of its storage's class; v3 brings its own, for a storage of plain bytes.
  if (storage.untyped != is_v3) {
    return Status(TorchArchiveError::kStorageDtype,
                  concat(name, " on a storage of the other kind"));
  }
  const int64_t offset = node(args[1]).bits;
  if (offset < 0) {
    return Status(TorchArchiveError::kTensorStride, concat("an offset of ", offset));
  }
  // Before the sizes are copied: the tuple may have millions.
  const size_t rank = node(args[2]).items.size();
  if (rank > kMaxTorchRank) {
    return Status(TorchArchiveError::kTensorRank, concat(rank, " dimensions"));
  }
  TorchTensor tensor;
  tensor.storage = place;
  tensor.dtype = is_v3 ? static_cast<DType>(node(args[6]).bits) : storage.dtype;
  tensor.offset = static_cast<uint64_t>(offset);
  tensor.requires_grad = node(args[4]).bits != 0;
  WINNOW_ASSIGN_OR_RETURN(tensor.shape, read_sizes(args[2], TorchArchiveError::kTensorShape));
  WINNOW_ASSIGN_OR_RETURN(tensor.strides, read_sizes(args[3], TorchArchiveError::kTensorStride));
  WINNOW_RETURN_IF_ERROR(check_tensor(tensor, storages_));
  return add_tensor(std::move(tensor));
}

Result<PickleValue> PickleMachine::make_parameter(PickleValue data, bool requires_grad) {
  if (kind_of(data) != kTensor || table_.tensor_at(data).is_parameter) {
    return Status(PickleError::kPickleCall, "a Parameter of what is no Tensor");
  }
  // The flags of the tensor itself stay: it may stand elsewhere in the tree.
  // A Parameter is another object than its tensor, in Python too.
  TorchTensor tensor = table_.tensor_at(data);
  tensor.is_parameter = true;
  tensor.requires_grad = requires_grad;
  return add_tensor(std::move(tensor));
}

// (data, requires_grad, hooks)
Result<PickleValue> PickleMachine::rebuild_parameter(Items args) {
  if (!match(args, {kAnyKind, kBool, kAnyKind})) {
    return call_error("_rebuild_parameter", "(Tensor, bool, OrderedDict)");
  }
  WINNOW_RETURN_IF_ERROR(check_hooks(args[2]));
  return make_parameter(args[0], node(args[1]).bits != 0);
}

// (data[, requires_grad])
Result<PickleValue> PickleMachine::new_parameter(Items args) {
  // Python makes one require gradients unless it is told otherwise.
  const bool has_flag = match(args, {kAnyKind, kBool});
  if (!has_flag && args.size() != 1) return call_error("Parameter", "(Tensor[, bool])");
  return make_parameter(args[0], !has_flag || node(args[1]).bits != 0);
}

// (layout, (indices, values, shape[, is_coalesced]))
Result<PickleValue> PickleMachine::make_sparse(Items args) {
  const Items parts = match(args, {kSparseCoo, kTuple}) ? node(args[1]).items : Items();
  const bool has_mark = match(parts, {kTensor, kTensor, kSize, kBool});
  // Older torch wrote no mark.
  if (!has_mark && !match(parts, {kTensor, kTensor, kSize})) {
    return call_error("_rebuild_sparse_tensor", "(layout, (Tensor, Tensor, torch.Size[, bool]))");
  }
  TorchSparseTensor tensor;
  tensor.indices = table_.tensor_at(parts[0]);
  tensor.values = table_.tensor_at(parts[1]);
  // As torch does: unmarked entries may be in any order, unless there are fewer than two.
  tensor.is_coalesced = has_mark ? node(parts[3]).bits != 0 : tensor.nnz() < 2;
  WINNOW_RETURN_IF_ERROR(spend_tensor(tensor.indices));
  WINNOW_RETURN_IF_ERROR(spend_tensor(tensor.values));
  WINNOW_RETURN_IF_ERROR(spend(kSparseUnits + kDimensionUnits * node(parts[2]).items.size()));
  WINNOW_ASSIGN_OR_RETURN(tensor.shape, read_sizes(parts[2], TorchArchiveError::kTensorShape));
  WINNOW_RETURN_IF_ERROR(check_sparse(tensor, storages_));
  return add_node({.kind = kSparseTensor, .bits = add_value(table_.sparse, std::move(tensor))});
}

Result<PickleValue> PickleMachine::make_layout(Items args) {
  if (!match(args, {kString})) return call_error("_get_layout", "(str)");
  const std::string_view name = table_.string_at(args[0]);
  // The compressed layouts have other arguments and checks.
  if (name == "torch.sparse_coo") return foreign(kSparseCoo);
  return Status(TorchArchiveError::kSparseLayout, concat("the layout \"", escape_name(name),
                                                         "\"; only torch.sparse_coo is supported"));
}

Result<PickleValue> PickleMachine::make_size(Items args) {
  const auto is_int = [this](PickleValue item) { return kind_of(item) == kInt; };
  if (!match(args, {kTuple}) || !std::ranges::all_of(node(args[0]).items, is_int)) {
    return call_error("torch.Size", "(tuple of int)");
  }
  return add_node({.kind = kSize, .items = node(args[0]).items});
}

Result<PickleValue> PickleMachine::make_set(Items args) {
  if (!match(args, {kList})) return call_error("set", "(list)");
  // Lists hold nothing foreign (see extend), so neither does the set.
  return add_node({.kind = kSet, .items = node(args[0]).items});
}

Status PickleMachine::load_storage() {
  WINNOW_RETURN_IF_ERROR(need(1));
  const PickleValue id = pop();
  if (kind_of(id) != kTuple) return {PickleError::kStorageId, "the persistent id is no tuple"};
  // No copy of the items here: storages are not nodes, so nothing moves.
  return push(find_storage(node(id).items));
}

// ("storage", class, number, location, numel)
Result<PickleValue> PickleMachine::find_storage(Items id) {
  const bool untyped = match(id, {kString, kUntypedStorage, kAnyKind, kString, kAnyKind});
  // Of a class that is not known, with keep_unknown_.
  const bool unknown = match(id, {kString, kOpaque, kAnyKind, kString, kAnyKind});
  const bool known = match(id, {kString, kStorageClass, kAnyKind, kString, kAnyKind});
  if (!(untyped || unknown || known) || table_.string_at(id[0]) != "storage" ||
      !(keep_unknown_ || is_location(table_.string_at(id[3])))) {
    return Status(PickleError::kStorageId,
                  "the persistent id is not (\"storage\", class, number, location, numel)");
  }
  const auto number =
      kind_of(id[2]) == kString ? parse_storage_number(table_.string_at(id[2])) : std::nullopt;
  if (!number || kind_of(id[4]) != kInt || node(id[4]).bits < 0) {
    return Status(PickleError::kStorageId, "the storage's number or its elements are no number");
  }
  if (unknown) return find_unknown_storage(id, *number);
  const TorchStorage storage = {
      .dtype = untyped ? DType::kU8 : static_cast<DType>(number_of(id[1])),
      .numel = static_cast<uint64_t>(node(id[4]).bits),  // of an untyped storage, bytes
      .untyped = untyped};
  WINNOW_RETURN_IF_ERROR(check_storage(storage));
  const auto [place, is_new] =
      storage_by_number_.try_emplace(*number, static_cast<uint32_t>(storages_.size()));
  if (is_new) {
    WINNOW_RETURN_IF_ERROR(spend(kStorageUnits));
    storages_.push_back(storage);
  }
  if (storages_[place->second] != storage || unknown_by_number_.contains(*number)) {
    return Status(PickleError::kStorageMismatch,
                  concat("storage ", *number, " is named with another type or size than before"));
  }
  return foreign(kStorage, place->second);
}

}  // namespace winnow::io
