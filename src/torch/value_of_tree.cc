#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/jit_type.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sparse_coo_tensor.h>

#include <optional>
#include <unordered_map>

#include "torch/check_status.h"
#include "torch/dtype_map.h"
#include "torch/inference_mode.h"
#include "torch/value_tree.h"

namespace winnow {
namespace {

std::vector<int64_t> signed_sizes(std::span<const uint64_t> sizes) {
  return {sizes.begin(), sizes.end()};
}

std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

/// Reads an archive's root with what it refers to.
class ValueMaker {
 public:
  explicit ValueMaker(const TorchArchive& archive) : archive_(archive) {}

  c10::IValue make(TorchValue value, const std::string& place) {
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
      case TorchKind::kSparseTensor:
        return shared_tensor(value);
      case TorchKind::kTuple:
      case TorchKind::kSize:
        return c10::ivalue::Tuple::create(items_of(value, place));
      case TorchKind::kList:
        return list_of(value, place);
      case TorchKind::kDict:
        return dict_of(value, place);
      default:
        refuse(place, "a " + std::string(torch_kind_name(value.kind())));
    }
  }

 private:
  [[noreturn]] static void refuse(const std::string& place, const std::string& what) {
    TORCH_CHECK(false, "the file holds ", what, place.empty() ? "" : " at ", place,
                ", which a c10::IValue cannot hold");
  }

  std::vector<c10::IValue> items_of(TorchValue value, const std::string& place) {
    std::vector<c10::IValue> items;
    for (size_t i = 0; i < value.size(); ++i) {
      items.push_back(make(value[i], place + "[" + std::to_string(i) + "]"));
    }
    return items;
  }

  c10::IValue list_of(TorchValue value, const std::string& place) {
    c10::impl::GenericList list(c10::AnyType::get());
    for (c10::IValue& item : items_of(value, place)) list.push_back(std::move(item));
    return list;
  }

  static c10::IValue key_of(TorchValue key, TorchKind kind, const std::string& place) {
    if (key.kind() != kind) refuse(place, "a dictionary with keys of several kinds");
    if (kind == TorchKind::kString) return std::string(*key.as_string());
    if (kind == TorchKind::kInt) return *key.as_int();
    refuse(place, "a dictionary with keys of kind " + std::string(torch_kind_name(kind)));
  }

  c10::IValue dict_of(TorchValue value, const std::string& place) {
    const TorchKind kind = value.size() == 0 ? TorchKind::kString : value.key(0).kind();
    const c10::TypePtr key_type =
        kind == TorchKind::kInt ? c10::TypePtr(c10::IntType::get()) : c10::StringType::get();
    c10::impl::GenericDict dict(key_type, c10::AnyType::get());
    for (size_t i = 0; i < value.size(); ++i) {
      const c10::IValue key = key_of(value.key(i), kind, place);
      const std::string name =
          key.isString() ? "'" + key.toStringRef() + "'" : std::to_string(key.toInt());
      dict.insert(key, make(value.value(i), place + "[" + name + "]"));
    }
    return dict;
  }

  at::Tensor shared_tensor(TorchValue value) {
    at::Tensor& tensor = tensors_[value.node()];
    if (tensor.defined()) return tensor;
    return tensor = value.as_sparse() != nullptr ? sparse_tensor(*value.as_sparse())
                                                 : view(*value.as_tensor());
  }

  at::Tensor sparse_tensor(const TorchSparseTensor& sparse) const {
    const at::Tensor indices = at::empty(signed_sizes(sparse.indices.shape), at::kLong);
    const at::Tensor values =
        at::empty(signed_sizes(sparse.values.shape), *scalar_type_of(sparse.values.dtype));
    const std::span<int64_t> index_values{indices.data_ptr<int64_t>(),
                                          static_cast<size_t>(indices.numel())};
    check_ok(archive_.read_sparse(sparse, index_values, bytes_of(values)));
    return at::sparse_coo_tensor(indices, values, signed_sizes(sparse.shape)).coalesce();
  }

  at::Tensor view(const TorchTensor& tensor) {
    const at::Tensor view = at::empty({0}, *scalar_type_of(tensor.dtype));
    view.set_(storage(tensor.storage), static_cast<int64_t>(tensor.offset),
              signed_sizes(tensor.shape), signed_sizes(tensor.strides));
    return view;
  }

  at::Storage storage(uint32_t index) {
    const auto known = storages_.find(index);
    if (known != storages_.end()) return known->second;
    const TorchStorage& stored = archive_.storages()[index];
    const at::Tensor bytes = at::empty({static_cast<int64_t>(stored.bytes())}, at::kByte);
    check_ok(archive_.read_storage(index, bytes_of(bytes)));
    // A byte of a bool that is neither 0 nor 1 has no meaning in C++.
    if (stored.dtype == DType::kBool) bytes.copy_(bytes.ne(0));
    return storages_.emplace(index, bytes.storage()).first->second;
  }

  const TorchArchive& archive_;
  std::unordered_map<TorchNode, at::Tensor> tensors_;
  std::unordered_map<uint32_t, at::Storage> storages_;
};

}  // namespace

c10::IValue value_of_tree(const TorchArchive& archive) {
  const OutOfInferenceMode normal;
  const at::NoGradGuard no_grad;
  return ValueMaker(archive).make(archive.root(), "");
}

}  // namespace winnow
