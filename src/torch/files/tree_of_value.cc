#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <c10/util/Exception.h>

#include <unordered_map>

#include "torch/files/value_tree.h"
#include "torch/support/dtype_map.h"
#include "torch/support/tensor_memory.h"
#include "winnow/io/escape_name.h"
#include "winnow/torch/named_values.h"

namespace winnow::internal {
namespace {

std::vector<uint64_t> unsigned_sizes(at::IntArrayRef sizes) { return {sizes.begin(), sizes.end()}; }

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
    const TorchNode node = made_.tree.add_dict();
    for (const auto& item : dict) {
      const c10::IValue& key = item.key();
      if (!key.isString() && !key.isInt()) refuse("has a key of kind " + key.tagKind());
      const TorchNode key_node = add(key);
      key.isString() ? place_.enter(key.toStringView()) : place_.enter_key(key.toInt());
      made_.tree.set_item(node, key_node, add(item.value()));
      place_.leave();
    }
    return node;
  }

  /// Adds one node for a tensor object, however often it occurs.
  TorchNode add_shared(const at::Tensor& tensor) {
    if (!tensor.defined()) refuse("is an undefined tensor");
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

}  // namespace winnow::internal
