#include "torch/files/value_tree.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sparse_coo_tensor.h>
#include <c10/util/Exception.h>

#include <functional>
#include <unordered_map>

#include "torch/masks/mask_targets.h"
#include "torch/support/dtype_map.h"
#include "torch/support/errors.h"
#include "torch/support/inference_mode.h"
#include "torch/support/plain_values.h"
#include "torch/support/tensor_memory.h"
#include "winnow/io/escape_name.h"

namespace winnow::internal {
namespace {

// Sizes and strides have a sign in LibTorch and none in files.
std::vector<uint64_t> unsigned_sizes(at::IntArrayRef sizes) { return {sizes.begin(), sizes.end()}; }

std::vector<int64_t> signed_sizes(std::span<const uint64_t> sizes) {
  return {sizes.begin(), sizes.end()};
}

/// Adds a value to a tree, recursively. Refuses what is nested too deep, also for its own stack.
class TreeMaker {
 public:
  TorchNode add(const c10::IValue& value) {
    if (place_.depth() >= kMaxTorchDepth) refuse("is nested too deep");
    TorchTree& tree = made_.tree;
    if (value.isNone()) return tree.add_none();
    if (value.isBool()) return tree.add_bool(value.toBool());
    if (value.isInt()) return tree.add_int(value.toInt());
    if (value.isDouble()) return tree.add_float(value.toDouble());
    if (value.isString()) return tree.add_string(value.toStringRef());
    if (value.isTensor()) return add_shared(value.toTensor());
    if (value.isTuple()) return tree.add_tuple(items_of(value.toTupleRef().elements()));
    if (value.isList()) return tree.add_list(items_of(value.toListRef()));
    if (value.isGenericDict()) return add_dict(value.toGenericDict());
    refuse("is a " + value.tagKind());
  }

  ValueTree finish(TorchNode root) {
    made_.tree.set_root(root);
    return std::move(made_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    TORCH_CHECK_VALUE(false, "cannot write the value", place_.text(), ": it ", why);
  }

  std::vector<TorchNode> items_of(c10::ArrayRef<c10::IValue> values) {
    std::vector<TorchNode> items;
    for (size_t i = 0; i < values.size(); ++i) {
      place_.enter(i);
      items.push_back(add(values[i]));
      place_.leave();
    }
    return items;
  }

  TorchNode add_dict(const c10::impl::GenericDict& dict) {
    // Made before its items, because it is filled one by one.
    const TorchNode node = made_.tree.add_dict();
    for (const auto& item : dict) {
      const c10::IValue& key = item.key();
      if (!key.isString() && !key.isInt()) refuse("has a key of kind " + key.tagKind());
      const TorchNode key_node = add(key);
      // The view is safe: the dictionary outlives the step.
      key.isString() ? place_.enter(key.toStringView()) : place_.enter_key(key.toInt());
      made_.tree.set_item(node, key_node, add(item.value()));
      place_.leave();
    }
    return node;
  }

  /// Adds one node for a tensor object, however often it occurs.
  TorchNode add_shared(const at::Tensor& tensor) {
    // Python has no undefined tensor that a file could become.
    if (!tensor.defined()) refuse("is an undefined tensor");
    // By the object, and not by its memory: views stay apart, as they are written.
    const auto [known, added] = nodes_.emplace(tensor.unsafeGetTensorImpl(), 0);
    if (added) known->second = add_tensor(tensor);
    return known->second;
  }

  TorchNode add_tensor(const at::Tensor& tensor) {
    if (tensor.is_quantized() || tensor.is_nested() || tensor.is_meta()) {
      refuse("is a tensor without plain values: " + tensor.toString());
    }
    if (tensor.layout() == at::kStrided) return made_.tree.add_tensor(add_storage(tensor));
    if (tensor.layout() != at::kSparse)
      refuse("is a tensor of another layout: " + tensor.toString());
    // Coalesced, so that equal tensors give equal bytes.
    const at::Tensor coalesced = tensor.detach().coalesce();
    TorchTensor indices = add_storage(coalesced.indices());
    return made_.tree.add_sparse({.indices = std::move(indices),
                                  .values = add_storage(coalesced.values()),
                                  .shape = unsigned_sizes(coalesced.sizes()),
                                  .is_coalesced = true});
  }

  /// Adds a storage for this tensor alone and returns the view of all of it. Views of a shared
  /// storage are not kept: a small slice would write a whole table.
  TorchTensor add_storage(const at::Tensor& tensor) {
    const auto dtype = dtype_of(tensor.scalar_type());
    if (!dtype || *dtype == DType::kF4) {  // torch.save has no storage type for F4
      refuse(std::string("has the dtype ") + c10::toString(tensor.scalar_type()));
    }
    // Detached: a file has no gradients, and a copy must not record one.
    const at::Tensor dense = dense_on_cpu(tensor.detach());
    TorchTensor view{.storage = static_cast<uint32_t>(made_.storages.size()),
                     .dtype = *dtype,
                     .shape = unsigned_sizes(dense.sizes()),
                     .strides = unsigned_sizes(dense.strides())};
    made_.storages.push_back(TorchStorage::for_dtype(*dtype, static_cast<uint64_t>(dense.numel())));
    made_.payloads.push_back(dense);
    return view;
  }

  ValueTree made_;
  Place place_;
  std::unordered_map<const at::TensorImpl*, TorchNode> nodes_;  // the value keeps them alive
};

/// In C++, a bool whose byte is neither 0 nor 1 is undefined behaviour.
at::Tensor normal_bools(const at::Tensor& bytes) { return bytes.ne(0); }

/// Makes the value of a node and of everything below it. A node that is used in several places is
/// made once and shared, as in Python: a file of a few bytes must not become gigabytes.
class ValueMaker {
 public:
  ValueMaker(const TorchArchive& archive, const std::string& path)
      : archive_(archive), path_(path) {}

  c10::IValue make(TorchValue value) {
    // Scalars are cheaper to make again than to look up.
    if (value.kind() <= TorchKind::kFloat) return make_new(value);
    const auto known = made_.find(value.node());
    if (known != made_.end()) return known->second;
    return made_.emplace(value.node(), make_new(value)).first->second;
  }

 private:
  c10::IValue make_new(TorchValue value) {
    switch (value.kind()) {
      case TorchKind::kNone:
        return {};
      case TorchKind::kBool:
        return *value.as_bool();
      case TorchKind::kInt:
        return *value.as_int();
      case TorchKind::kFloat:
        return *value.as_float();
      case TorchKind::kString:
        return std::string(*value.as_string());
      case TorchKind::kTensor:
        return view(*value.as_tensor());
      case TorchKind::kSparseTensor:
        return sparse_tensor(*value.as_sparse());
      case TorchKind::kTuple:
      case TorchKind::kSize:
        return c10::ivalue::Tuple::create(items_of(value));
      case TorchKind::kList:
        return list_of(items_of(value), std::identity());
      case TorchKind::kDict:
        return dict_of(value);
      default:
        refuse("a " + std::string(torch_kind_name(value.kind())));
    }
  }

  [[noreturn]] void refuse(const std::string& what) const {
    TORCH_CHECK(false, escape_path(path_), ": it holds ", what, place_.text(),
                ", which a c10::IValue cannot hold");
  }

  std::vector<c10::IValue> items_of(TorchValue value) {
    std::vector<c10::IValue> items;
    for (size_t i = 0; i < value.size(); ++i) {
      place_.enter(i);
      items.push_back(make(value[i]));
      place_.leave();
    }
    return items;
  }

  // A c10 dictionary has keys of one type, which the first key decides here.
  c10::IValue dict_of(TorchValue value) {
    // An empty dictionary tells nothing; strings are what states have.
    const TorchKind kind = value.size() == 0 ? TorchKind::kString : value.key(0).kind();
    if (kind != TorchKind::kString && kind != TorchKind::kInt) {
      refuse("a dictionary with keys of kind " + std::string(torch_kind_name(kind)));
    }
    const c10::TypePtr key_type =
        kind == TorchKind::kInt ? c10::TypePtr(c10::IntType::get()) : c10::StringType::get();
    c10::impl::GenericDict dict(key_type, c10::AnyType::get());
    for (size_t i = 0; i < value.size(); ++i) {
      const TorchValue key = value.key(i);
      if (key.kind() != kind) refuse("a dictionary with keys of several kinds");
      kind == TorchKind::kInt ? place_.enter_key(*key.as_int()) : place_.enter(*key.as_string());
      dict.insert(make(key), make(value.value(i)));
      place_.leave();
    }
    return dict;
  }

  at::Tensor sparse_tensor(const TorchSparseTensor& sparse) {
    const at::Tensor indices = view(sparse.indices).contiguous();
    const at::Tensor values = view(sparse.values).contiguous();
    const std::span<const int64_t> index_values{indices.const_data_ptr<int64_t>(),
                                                static_cast<size_t>(indices.numel())};
    // Not every torch checks them: an index out of bounds would become a write out of bounds.
    check_ok(sparse.check_indices(index_values).with_context(escape_path(path_)));
    return at::sparse_coo_tensor(indices, values, signed_sizes(sparse.shape)).coalesce();
  }

  at::Tensor view(const TorchTensor& tensor) {
    const at::ScalarType type = *scalar_type_of(tensor.dtype);
    const at::Tensor view = at::empty({0}, type == at::kBool ? at::kByte : type);
    // The reader has checked that the view stays within its storage.
    view.set_(storage(tensor.storage), static_cast<int64_t>(tensor.offset),
              signed_sizes(tensor.shape), signed_sizes(tensor.strides));
    if (type != at::kBool) return view;
    // A bool view of a storage of bytes gets its own memory: others may read the bytes unchanged.
    if (archive_.storages()[tensor.storage].dtype != DType::kBool) return normal_bools(view);
    const at::Tensor bools = at::empty({0}, at::kBool);  // `storage` has normalised its bytes
    bools.set_(view.storage(), view.storage_offset(), view.sizes(), view.strides());
    return bools;
  }

  // Each storage is read once: tensors that share memory in the file share it here too.
  at::Storage storage(uint32_t index) {
    const auto known = storages_.find(index);
    if (known != storages_.end()) return known->second;
    const TorchStorage& stored = archive_.storages()[index];
    const at::Tensor bytes = at::empty({static_cast<int64_t>(stored.bytes())}, at::kByte);
    check_ok(archive_.read_storage(index, mutable_tensor_bytes(bytes)));
    if (stored.dtype == DType::kBool) bytes.copy_(normal_bools(bytes));
    return storages_.emplace(index, bytes.storage()).first->second;
  }

  const TorchArchive& archive_;
  const std::string& path_;
  Place place_;
  std::unordered_map<TorchNode, c10::IValue> made_;
  std::unordered_map<uint32_t, at::Storage> storages_;
};

}  // namespace

std::string Place::text() const {
  std::string text;  // appended piece by piece, because GCC 12 warns of a sum of temporaries
  for (const auto& step : steps_) {
    text.append(text.empty() ? " at [" : "[");
    if (const auto* key = std::get_if<std::string_view>(&step)) {
      text.append("'").append(escape_name(*key)).append("'");
    } else {
      text.append(std::to_string(std::get<int64_t>(step)));
    }
    text.append("]");
  }
  return text;
}

ValueTree tree_of(const c10::IValue& value) {
  TreeMaker maker;
  const TorchNode root = maker.add(value);
  return maker.finish(root);
}

c10::IValue value_of_node(const TorchArchive& archive, const std::string& path, TorchValue value) {
  const InMode normal(/*inference=*/false);
  const at::NoGradGuard no_grad;
  return ValueMaker(archive, path).make(value);
}

c10::IValue value_of_tree(const TorchArchive& archive, const std::string& path) {
  return value_of_node(archive, path, archive.root());
}

bool can_read_into(const TorchTensor& from, const at::Tensor& to) {
  // Several elements in one place would get whichever value came last.
  return to.layout() == at::kStrided && scalar_type_of(from.dtype) == to.scalar_type() &&
         at::IntArrayRef(signed_sizes(from.shape)) == to.sizes() &&
         layout_of(to).has_distinct_places();
}

void read_into(const TorchArchive& archive, const TorchTensor& from, const at::Tensor& to) {
  const bool bools = to.scalar_type() == at::kBool;
  if (is_plain_memory(to) && !bools) {  // the bytes of bools have to be normalised first
    check_ok(archive.read_tensor(from, mutable_tensor_bytes(to)));
    bump_version(to);  // autograd does not see writes through pointers
    return;
  }
  const InMode mode(to);
  const at::NoGradGuard no_grad;
  const at::Tensor values =
      at::empty(to.sizes(), at::TensorOptions(bools ? at::kByte : to.scalar_type()));
  check_ok(archive.read_tensor(from, mutable_tensor_bytes(values)));
  to.copy_(bools ? normal_bools(values) : values);
}

}  // namespace winnow::internal
