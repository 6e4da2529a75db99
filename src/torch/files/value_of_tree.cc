#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/jit_type.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sparse_coo_tensor.h>

#include <unordered_map>

#include "torch/files/value_tree.h"
#include "torch/masks/mask_targets.h"
#include "torch/support/dtype_map.h"
#include "torch/support/errors.h"
#include "torch/support/inference_mode.h"
#include "torch/support/tensor_memory.h"
#include "winnow/io/escape_name.h"

namespace winnow::internal {
namespace {

std::vector<int64_t> signed_sizes(std::span<const uint64_t> sizes) {
  return {sizes.begin(), sizes.end()};
}

/// In C++, a bool whose byte is neither 0 nor 1 is undefined behaviour.
at::Tensor normal_bools(const at::Tensor& bytes) { return bytes.ne(0); }

/// Makes the value of a node and of everything below it. A node that is used in several places is
/// made once and shared, as in Python: a file of a few bytes must not become gigabytes.
class ValueMaker {
 public:
  ValueMaker(const TorchArchive& archive, const std::string& path)
      : archive_(archive), path_(path) {}

  c10::IValue make(TorchValue value) {
    switch (value.kind()) {
      case TorchKind::kNone:
        return {};
      case TorchKind::kBool:
        return *value.as_bool();
      case TorchKind::kInt:
        return *value.as_int();
      case TorchKind::kFloat:
        return *value.as_float();
      default:
        break;
    }
    // Scalars above are cheaper to make again than to look up.
    const auto known = made_.find(value.node());
    if (known != made_.end()) return known->second;
    return made_.emplace(value.node(), make_object(value)).first->second;
  }

 private:
  c10::IValue make_object(TorchValue value) {
    switch (value.kind()) {
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
        return list_of(value);
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

  c10::IValue list_of(TorchValue value) {
    c10::impl::GenericList list(c10::AnyType::get());
    for (c10::IValue& item : items_of(value)) list.push_back(std::move(item));
    return list;
  }

  // A c10 dictionary has keys of one type, which the first key decides here.
  c10::IValue dict_of(TorchValue value) {
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

c10::IValue value_of_node(const TorchArchive& archive, const std::string& path, TorchValue value) {
  const InMode normal(/*inference=*/false);
  const at::NoGradGuard no_grad;
  return ValueMaker(archive, path).make(value);
}

c10::IValue value_of_tree(const TorchArchive& archive, const std::string& path) {
  return value_of_node(archive, path, archive.root());
}

bool can_read_into(const TorchTensor& from, const at::Tensor& to) {
  return to.layout() == at::kStrided && scalar_type_of(from.dtype) == to.scalar_type() &&
         at::IntArrayRef(signed_sizes(from.shape)) == to.sizes() &&
         layout_of(to).has_distinct_places();
}

void read_into(const TorchArchive& archive, const TorchTensor& from, const at::Tensor& to) {
  // Bytes of bools have to be normalised first, and a lazy negation or conjugation is not in
  // memory.
  const bool direct = to.is_cpu() && to.is_contiguous() && !to.is_neg() && !to.is_conj() &&
                      to.scalar_type() != at::kBool;
  if (direct) {
    check_ok(archive.read_tensor(from, mutable_tensor_bytes(to)));
    bump_version(to);  // autograd does not see writes through pointers
    return;
  }
  const InMode mode(to);
  const at::NoGradGuard no_grad;
  const bool bools = to.scalar_type() == at::kBool;
  const at::Tensor values =
      at::empty(to.sizes(), at::TensorOptions(bools ? at::kByte : to.scalar_type()));
  check_ok(archive.read_tensor(from, mutable_tensor_bytes(values)));
  to.copy_(bools ? normal_bools(values) : values);
}

}  // namespace winnow::internal
