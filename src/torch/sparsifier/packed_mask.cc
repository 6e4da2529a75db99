#include "torch/sparsifier/packed_mask.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include "torch/masks/mask_targets.h"
#include "torch/support/dtype_map.h"
#include "torch/support/plain_values.h"
#include "torch/support/tensor_memory.h"
#include "winnow/base/dtype.h"
#include "winnow/core/packed_mask.h"

namespace winnow::internal {
namespace {

constexpr const char* kBits = "mask_bits";
constexpr const char* kShape = "mask_shape";
constexpr const char* kDtype = "mask_dtype";

/// Returns one byte a value, 1 = kept; an undefined tensor if a value is neither 0 nor 1.
at::Tensor byte_mask(const at::Tensor& mask) {
  // Packing reads bytes in order.
  const at::Tensor dense = mask.to(at::kCPU).contiguous();
  if (dense.element_size() == 1) return dense;  // pack_mask itself refuses bytes other than 0 and 1
  const at::Tensor kept = dense.ne(0);
  return dense.eq(1).equal(kept) ? kept : at::Tensor();
}

std::vector<int64_t> shape_in(const std::string& name, const NamedValues& values) {
  const c10::IValue& shape = values.at(kShape);
  TORCH_CHECK(shape.isTuple(), "Error loading ", name, ": ", kShape, ": expected a tuple, found ",
              to_text(shape));
  std::vector<int64_t> sizes;
  for (const c10::IValue& size : shape.toTupleRef().elements()) {
    TORCH_CHECK(size.isInt(), "Error loading ", name, ": ", kShape, ": expected integers, found ",
                to_text(shape));
    sizes.push_back(size.toInt());
  }
  return sizes;
}

/// What a packed mask says of itself.
struct PackedForm {
  std::vector<int64_t> sizes;
  c10::ScalarType type;
};

c10::ScalarType dtype_in(const std::string& name, const NamedValues& values) {
  const auto text = values.get<std::string>(kDtype);
  // By safetensors' names, since files outlive numbers of enumerations.
  const std::optional<DType> dtype = dtype_from_name(text);
  const auto type = dtype ? scalar_type_of(*dtype) : std::nullopt;
  TORCH_CHECK(type.has_value(), "Error loading ", name, ": ", kDtype, ": expected a dtype, found '",
              text, "'");
  return *type;
}

PackedForm checked_form(const std::string& name, const NamedValues& values, int64_t most) {
  const auto bits = values.get<at::Tensor>(kBits);
  PackedForm form{shape_in(name, values), dtype_in(name, values)};
  TORCH_CHECK(bits.defined() && bits.scalar_type() == at::kByte && bits.dim() == 1,
              "Error loading ", name, ": ", kBits, ": expected one dimension of bytes");
  // Before any allocation: a small file may claim any shape.
  const auto numel = packed_mask_numel(form.sizes, static_cast<uint64_t>(bits.numel()));
  TORCH_CHECK(numel.ok(), "Error loading ", name, ": ", numel.status().message());
  TORCH_CHECK(*numel <= static_cast<uint64_t>(most), "Error loading ", name, ": ", kShape,
              ": expected at most the ", most, " values of its data, found ",
              to_text(values.at(kShape)));
  return form;
}

}  // namespace

NamedValues packed_mask_values(const at::Tensor& mask) {
  const auto dtype = dtype_of(mask.scalar_type());
  const at::Tensor kept = dtype && mask.layout() == at::kStrided ? byte_mask(mask) : at::Tensor();
  if (kept.defined()) {
    const auto size = static_cast<int64_t>(packed_mask_bytes(static_cast<size_t>(kept.numel())));
    const at::Tensor bits = at::empty({size}, at::kByte);
    if (pack_mask(tensor_bytes<uint8_t>(kept), mutable_tensor_bytes<uint8_t>(bits))) {
      return {{kBits, bits},
              {kShape, tuple_of(mask.sizes())},
              {kDtype, std::string(dtype_name(*dtype))}};
    }
  }
  // A mask of other values is legal, so it is stored as it is.
  return {{"mask", mask.clone()}};
}

at::Tensor unpacked_mask(const std::string& name, const NamedValues& values, int64_t most) {
  if (!values.contains(kBits)) return {};
  const PackedForm form = checked_form(name, values, most);
  const at::Tensor mask = at::empty(form.sizes, at::kChar);
  unpack_into(values, mask);
  // The mask had this type, and a product with another may promote the data.
  return mask.to(form.type);
}

bool can_unpack_into(const std::string& name, const NamedValues& values, const at::Tensor& mask) {
  if (!values.contains(kBits)) return false;
  TORCH_CHECK(!values.contains("mask"), "Error loading ", name,
              ": it has both a packed mask and a 'mask'");
  const PackedForm form = checked_form(name, values, mask.numel());
  const auto bits = values.get<at::Tensor>(kBits);
  // unpack_into writes the bytes 0 and 1, so they have to be the values as they stand in memory.
  return is_plain_memory(bits) && has_mask_bytes(mask) && is_plain_memory(mask) &&
         mask.scalar_type() == form.type && mask.sizes() == at::IntArrayRef(form.sizes);
}

void unpack_into(const NamedValues& values, const at::Tensor& mask) {
  const at::Tensor packed = values.get<at::Tensor>(kBits).to(at::kCPU).contiguous();
  unpack_mask(tensor_bytes<uint8_t>(packed), mutable_tensor_bytes<uint8_t>(mask));
}

void check_no_mask_names(const std::string& name, const NamedValues& state) {
  for (const char* key : {"mask", kBits, kShape, kDtype}) {
    TORCH_CHECK_VALUE(!state.contains(key), "the state of '", name, "' has a value named '", key,
                      "', a name that states keep for the mask; call it otherwise");
  }
}

void erase_mask(NamedValues& values) {
  for (const char* key : {"mask", kBits, kShape, kDtype}) values.erase(key);
}

}  // namespace winnow::internal
