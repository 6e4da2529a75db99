#include "torch/data_container.h"

#include "torch/parametrization_access.h"

namespace winnow {

void DataContainer::add(const std::string& name, const at::Tensor& tensor, bool as_parameter,
                        std::shared_ptr<Parametrization> link) {
  ParametrizationAccess::insert_tensor(*this, name, tensor, as_parameter);
  if (link != nullptr) ParametrizationAccess::append(*this, name, std::move(link));
}

void DataContainer::remove(const std::string& name) {
  if (parametrizations(name) != nullptr) {
    ParametrizationAccess::discard(*this, name);
  } else {
    ParametrizationAccess::erase_tensor(*this, name);
  }
}

void DataContainer::unmask(const std::string& name) { ParametrizationAccess::restore(*this, name); }

bool DataContainer::is_parameter(const std::string& name) const {
  const auto chain = parametrizations(name);
  return chain != nullptr ? chain->original_is_parameter() : parameters_.contains(name);
}

torch::OrderedDict<std::string, at::Tensor> DataContainer::state() const {
  torch::OrderedDict<std::string, at::Tensor> state;
  for (const auto& item : parameters_) state.insert(item.key(), item.value().detach());
  for (const auto& item : named_buffers(/*recurse=*/false)) {
    state.insert(item.key(), item.value().detach());
  }
  for (const std::string& name : parametrized_names()) {
    const auto chain = parametrizations(name);
    state.insert(original_key(name), chain->original().detach());
    for (const auto& link : *chain) {
      if (!link->is_serializable()) continue;
      for (const auto& dict : {link->named_parameters(), link->named_buffers()}) {
        for (const auto& item : dict) {
          state.insert(link_prefix(name) + item.key(), item.value().detach());
        }
      }
    }
  }
  return state;
}

}  // namespace winnow
