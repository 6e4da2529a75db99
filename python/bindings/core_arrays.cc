#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <vector>

#include "core_bindings.h"
#include "python_status.h"
#include "threads/tbb_parallel_for.h"
#include "winnow/core/mask.h"
#include "winnow/core/values.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace winnow::python {
namespace {

using Values = nb::ndarray<nb::ro, nb::device::cpu>;
using WritableValues = nb::ndarray<nb::device::cpu>;
using Mask = nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu>;

/// An array's shape and strides, in the types of a layout.
class ArrayLayout {
 public:
  template <typename Array>
  explicit ArrayLayout(const Array& array) {
    for (size_t d = 0; d < array.ndim(); ++d) {
      sizes_.push_back(static_cast<int64_t>(array.shape(d)));
      strides_.push_back(array.stride(d));
    }
  }

  operator StridedLayout() const { return {sizes_, strides_}; }

 private:
  std::vector<int64_t> sizes_, strides_;
};

/// The type of that name in safetensors: arrays come as unsigned integers of the same size, since
/// bfloat16 has no name in NumPy's protocols.
DType dtype_of(const std::string& name) {
  const std::optional<DType> dtype = dtype_from_name(name);
  if (!dtype) throw nb::value_error("dtype: expected F32, F64, F16 or BF16");
  raise_if_error(check_prunable(*dtype, "tensor"));
  return *dtype;
}

std::span<uint8_t> bytes_of(const Mask& mask) { return {mask.data(), mask.size()}; }

/// Writes the mask of `values`; the arrays share no memory.
void write_array_mask(const Values& values, const std::string& dtype, const Mask& mask,
                      double level, std::pair<uint64_t, uint64_t> block,
                      std::optional<uint64_t> zeros, const std::string& norm, size_t threads) {
  const ArrayLayout layout(values);
  const StridedView view{values.data(), dtype_of(dtype), layout};
  const DataNormConfig config{.sparsity_level = level,
                              .sparse_block_shape = {block.first, block.second},
                              .zeros_per_block = zeros,
                              .norm = norm == "L2" ? Norm::kL2 : Norm::kL1};
  Status status;
  {
    const nb::gil_scoped_release no_gil;
    TbbParallelFor parallel(threads);
    status = compute_mask(view, config, bytes_of(mask), parallel).status();
  }
  raise_if_error(status);
}

void drop_array_values(const WritableValues& values, const std::string& dtype, const Mask& mask) {
  const ArrayLayout layout(values);
  const DType type = dtype_of(dtype);
  raise_if_error(check_mask_size(mask.size(), values.size()));
  raise_if_error(check_distinct_places(layout));
  const nb::gil_scoped_release no_gil;
  apply_mask(values.data(), type, layout, bytes_of(mask));
}

}  // namespace

void bind_arrays(nb::module_& m) {
  m.def("write_mask", &write_array_mask, "values"_a, "dtype"_a, "mask"_a, "sparsity_level"_a,
        "sparse_block_shape"_a, "zeros_per_block"_a.none(), "norm"_a, "threads"_a,
        "Writes the mask of an array into another.");
  m.def("drop_values", &drop_array_values, "values"_a, "dtype"_a, "mask"_a,
        "Sets values of an array to +0 wherever the mask is 0.");
}

}  // namespace winnow::python
