// The default selection, for torchwinnow/selection.py.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <vector>

#include "core_bindings.h"
#include "winnow/core/default_selection.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace winnow::python {
namespace {

using Reasons = std::vector<std::optional<std::string>>;

// For each tensor why it is left alone while a model trains, in words, or None. ValueError: a dtype
// that safetensors has not, or lists of different lengths.
Reasons default_reasons(const std::vector<std::string>& names,
                        const std::vector<std::string>& dtypes,
                        const std::vector<std::vector<uint64_t>>& shapes) {
  if (dtypes.size() != names.size() || shapes.size() != names.size()) {
    throw nb::value_error("expected as many dtypes and shapes as names");
  }
  std::vector<TensorFacts> facts;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::optional<DType> dtype = dtype_from_name(dtypes[i]);
    if (!dtype) {
      throw nb::value_error(("dtypes: expected a name of safetensors, found " + dtypes[i]).c_str());
    }
    facts.push_back({names[i], *dtype, shapes[i]});
  }
  Reasons reasons;
  for (const DefaultChoice& choice : default_selection(facts)) {
    reasons.push_back(choice.in_training
                          ? std::optional(std::string(left_alone_text(*choice.in_training)))
                          : std::nullopt);
  }
  return reasons;
}

}  // namespace

void bind_selection(nb::module_& m) {
  m.def("default_selection", &default_reasons, "names"_a, "dtypes"_a, "shapes"_a,
        "Why the default selection leaves each tensor alone while a model trains, or None.");
}

}  // namespace winnow::python
