#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <c10/core/InferenceMode.h>

#include <unordered_map>

#include "torch/dtype_map.h"
#include "torch/value_tree.h"
#include "winnow/torch/named_values.h"

namespace winnow {
namespace {

std::vector<uint64_t> unsigned_sizes(at::IntArrayRef sizes) { return {sizes.begin(), sizes.end()}; }

/// Walks a value and adds it to the tree.
class TreeMaker {
 public:
  TorchNode add(const c10::IValue& value, const std::string& place) {
    if (++depth_ > kMaxTorchDepth) refuse(place, "is nested too deep");
    const TorchNode node = add_any(value, place);
    --depth_;
    return node;
  }

  ValueTree finish(TorchNode root) {
    made_.tree.set_root(root);
    return std::move(made_);
  }

 private:
  [[noreturn]] static void refuse(const std::string& place, const std::string& why) {
    TORCH_CHECK_VALUE(false, "cannot write the value", place.empty() ? "" : " at ", place, ": it ",
                      why);
  }

  TorchNode add_any(const c10::IValue& value, const std::string& place) {
    TorchTree& tree = made_.tree;
    if (value.isNone()) return tree.add_none();
    if (value.isBool()) return tree.add_bool(value.toBool());
    if (value.isInt()) return tree.add_int(value.toInt());
    if (value.isDouble()) return tree.add_float(value.toDouble());
    if (value.isString()) return tree.add_string(value.toStringRef());
    if (value.isTensor()) return add_shared(value.toTensor(), place);
    if (value.isTuple()) return tree.add_tuple(items_of(value.toTupleRef().elements(), place));
    if (value.isList()) return tree.add_list(items_of(value.toListRef(), place));
    if (value.isGenericDict()) return add_dict(value.toGenericDict(), place);
    refuse(place, "is a " + value.tagKind());
  }

  std::vector<TorchNode> items_of(c10::ArrayRef<c10::IValue> values, const std::string& place) {
    std::vector<TorchNode> items;
    for (size_t i = 0; i < values.size(); ++i) {
      items.push_back(add(values[i], place + "[" + std::to_string(i) + "]"));
    }
    return items;
  }

  TorchNode add_dict(const c10::impl::GenericDict& dict, const std::string& place) {
    const TorchNode node = made_.tree.add_dict();
    for (const auto& item : dict) {
      const c10::IValue& key = item.key();
      if (!key.isString() && !key.isInt()) refuse(place, "has a key of kind " + key.tagKind());
      const std::string name = key.isString() ? "'" + key.toStringRef() + "'" : to_text(key);
      const TorchNode key_node = add_any(key, place);
      made_.tree.set_item(node, key_node, add(item.value(), place + "[" + name + "]"));
    }
    return node;
  }

  /// The same tensor object is one node.
  TorchNode add_shared(const at::Tensor& tensor, const std::string& place) {
    if (!tensor.defined()) refuse(place, "is an undefined tensor");
    const auto [known, added] = nodes_.emplace(tensor.unsafeGetTensorImpl(), 0);
    if (added) known->second = add_tensor(tensor, place);
    return known->second;
  }

  TorchNode add_tensor(const at::Tensor& tensor, const std::string& place) {
    if (tensor.is_quantized() || tensor.is_nested() || tensor.is_meta()) {
      refuse(place, "is a tensor without plain values: " + tensor.toString());
    }
    if (tensor.layout() == at::kStrided) return made_.tree.add_tensor(add_storage(tensor, place));
    if (tensor.layout() != at::kSparse) refuse(place, "is a tensor of layout " + tensor.toString());
    const at::Tensor coalesced = tensor.detach().coalesce();
    return made_.tree.add_sparse({.indices = add_storage(coalesced.indices(), place),
                                  .values = add_storage(coalesced.values(), place),
                                  .shape = unsigned_sizes(coalesced.sizes()),
                                  .is_coalesced = true});
  }

  /// A storage of the tensor's own, and the view that is all of it.
  TorchTensor add_storage(const at::Tensor& tensor, const std::string& place) {
    const auto dtype = dtype_of(tensor.scalar_type());
    if (!dtype || *dtype == DType::kF4) {
      refuse(place, std::string("has the dtype ") + c10::toString(tensor.scalar_type()));
    }
    const at::Tensor dense = tensor.detach().to(at::kCPU).contiguous().resolve_neg();
    TorchTensor view{.storage = static_cast<uint32_t>(made_.storages.size()),
                     .dtype = *dtype,
                     .shape = unsigned_sizes(dense.sizes()),
                     .strides = unsigned_sizes(dense.strides())};
    made_.storages.push_back(TorchStorage::for_dtype(*dtype, static_cast<uint64_t>(dense.numel())));
    made_.payloads.push_back(dense);
    return view;
  }

  ValueTree made_;
  std::unordered_map<const at::TensorImpl*, TorchNode> nodes_;
  size_t depth_ = 0;
};

}  // namespace

ValueTree tree_of(const c10::IValue& value) {
  TreeMaker maker;
  const TorchNode root = maker.add(value, "");
  return maker.finish(root);
}

}  // namespace winnow
