#include "torch/sparsifier/data_container.h"

#include "torch/parametrize/parametrization_access.h"

namespace winnow::internal {

void DataContainer::add(const std::string& name, const at::Tensor& tensor, bool as_parameter,
                        std::shared_ptr<ParametrizationList> chain) {
  if (chain != nullptr) {
    ParametrizationAccess::attach(*this, name, std::move(chain));
  } else {
    ParametrizationAccess::insert_tensor(*this, name, tensor, as_parameter);
  }
}

}  // namespace winnow::internal
