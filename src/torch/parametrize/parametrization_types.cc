#include "torch/parametrize/parametrization_types.h"

#include <ATen/ops/result_type.h>
#include <c10/util/Synchronized.h>

#include <map>

#include "torch/parametrize/parametrization_access.h"
#include "torch/support/errors.h"
#include "winnow/torch/fake_sparsity.h"

namespace winnow {
using namespace internal;

namespace {

using Maker = std::function<std::shared_ptr<Parametrization>(const at::Tensor& mask)>;

using Makers = std::map<std::string, Maker>;

/// The makers of all registered types.
c10::Synchronized<Makers>& registry() {
  // In a function, so that other static objects may register types.
  static c10::Synchronized<Makers> instance;
  return instance;
}

Maker maker_of(const std::string& name) {
  return registry().withLock([&](const Makers& makers) {
    const auto found = makers.find(name);
    TORCH_CHECK_VALUE(found != makers.end(), "no parametrization type '", name,
                      "' is registered: call register_parametrization_type first");
    return found->second;
  });
}

}  // namespace

void register_parametrization_type(const std::string& name, Maker make) {
  TORCH_CHECK_VALUE(!name.empty() && make != nullptr,
                    "register_parametrization_type needs a name and a function");
  registry().withLock([&](Makers& makers) { makers[name] = std::move(make); });
}

std::shared_ptr<Parametrization> internal::make_link(const NamedValues& group,
                                                     const at::Tensor& mask) {
  // Not in the registry: nobody can replace the mask that all rely on.
  if (!group.contains("parametrization")) return std::make_shared<FakeSparsity>(mask);
  const auto name = group.get<std::string>("parametrization");
  auto link = maker_of(name)(mask);
  TORCH_CHECK_VALUE(link != nullptr, "parametrization type '", name, "' made nothing");
  return link;
}

void internal::check_mask(const at::Tensor& mask, const at::Tensor& weight) {
  WINNOW_CHECK_ASSERTION(mask.defined(), "mask shape must match x shape: the mask is undefined");
  TORCH_CHECK_VALUE(mask.layout() == at::kStrided && !mask.is_quantized() && !mask.is_nested(),
                    "mask: expected a dense tensor, found ", mask.toString());
  // A read would then build a graph up to the mask in every step.
  TORCH_CHECK_VALUE(!mask.requires_grad(), "a mask must not require grad: pass mask.detach()");
  TORCH_CHECK_VALUE(mask.device() == weight.device(), "the mask is on ", mask.device(),
                    " and the data on ", weight.device(), ": move one of them");
}

void internal::check_link(const at::Tensor& tensor, Parametrization& link) {
  if (auto* fake = dynamic_cast<FakeSparsity*>(&link)) {
    fake->check_shape(tensor);
    const at::ScalarType product = at::result_type(fake->mask, tensor);
    TORCH_CHECK_VALUE(
        product == tensor.scalar_type(), "a parametrization may not change the dtype: a mask of ",
        fake->mask.scalar_type(), " would make ", product, " of ", tensor.scalar_type());
    return;
  }
  check_evaluation(tensor, link);
}

}  // namespace winnow
