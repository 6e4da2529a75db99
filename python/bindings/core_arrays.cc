#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <vector>

#include "core_bindings.h"
#include "python_status.h"
#include "strided_tensor.h"
#include "tbb_parallel_for.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace winnow::python {
namespace {

using Values = nb::ndarray<nb::ro, nb::device::cpu>;
using WritableValues = nb::ndarray<nb::device::cpu>;
using Mask = nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu>;

/// The shape and strides that a StridedTensor points at.
struct Layout {
  template <typename Array>
  explicit Layout(const Array& array) {
    for (size_t d = 0; d < array.ndim(); ++d) {
      sizes.push_back(static_cast<int64_t>(array.shape(d)));
      strides.push_back(array.stride(d));
    }
  }

  std::vector<int64_t> sizes, strides;
};

/// `dtype` is the name that the values have in safetensors: arrays come as unsigned integers of the
/// same size, since bfloat16 has no name in NumPy's protocols.
StridedTensor tensor_of(const void* data, const Layout& layout, const std::string& dtype) {
  const std::optional<DType> type = dtype_from_name(dtype);
  if (!type || !is_prunable(*type)) throw nb::value_error("dtype: expected F32, F64, F16 or BF16");
  return {const_cast<void*>(data), *type, layout.sizes, layout.strides};
}

std::span<uint8_t> bytes_of(const Mask& mask) { return {mask.data(), mask.size()}; }

/// Writes the mask of `values`; both are arrays of the same shape that share no memory.
void write_array_mask(const Values& values, const std::string& dtype, const Mask& mask,
                      double level, std::pair<uint64_t, uint64_t> block,
                      std::optional<uint64_t> zeros, const std::string& norm, size_t threads) {
  const Layout layout(values);
  const StridedTensor tensor = tensor_of(values.data(), layout, dtype);
  if (values.size() != mask.size()) throw nb::value_error("mask: expected the shape of the values");
  const DataNormConfig config{.sparsity_level = level,
                              .sparse_block_shape = {block.first, block.second},
                              .zeros_per_block = zeros,
                              .norm = norm == "L2" ? Norm::kL2 : Norm::kL1};
  Status status;
  {
    const nb::gil_scoped_release no_gil;
    cli::TbbParallelFor parallel(threads);
    status = write_mask(tensor, config, bytes_of(mask), parallel);
  }
  raise_if_error(status);
}

void drop_array_values(const WritableValues& values, const std::string& dtype, const Mask& mask) {
  const Layout layout(values);
  const StridedTensor tensor = tensor_of(values.data(), layout, dtype);
  if (values.size() != mask.size()) throw nb::value_error("mask: expected the shape of the values");
  if (is_expanded(tensor)) {
    throw nb::value_error("expected each value in a place of its own, found a broadcast array");
  }
  const nb::gil_scoped_release no_gil;
  drop_values(tensor, bytes_of(mask));
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
