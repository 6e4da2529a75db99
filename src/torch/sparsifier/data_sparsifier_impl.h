// PRIVATE. The members of a data sparsifier.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "torch/support/named_list.h"
#include "winnow/torch/data_sparsifier.h"
#include "winnow/torch/parametrization.h"

namespace winnow {
namespace internal {

/// The tensor that a piece of data stands for.
struct DataWeight {
  at::Tensor tensor;  ///< the object itself
  bool is_parameter = false;
  std::weak_ptr<torch::nn::Module> owner = {};  ///< the module that it is the weight of
};

/// Throws AssertionError "specified data type ... not supported" for data that cannot be
/// sparsified.
DataWeight weight_of(const Data& data);

/// Returns the member `weight` of an Embedding or EmbeddingBag; null for other modules.
const at::Tensor* weight_of_module(torch::nn::Module& module);

/// Throws the same for a tensor that is undefined, sparse, quantized or nested. `owner` is put in
/// front of the tensor in the message.
void check_is_dense(const at::Tensor& tensor, const std::string& owner);

struct DataEntry {
  at::Tensor tensor;  // the object that was added, or a loaded one: the original, or squashed
  at::Tensor mask;
  NamedValues group;
  NamedValues state;
  int64_t place = 0;                           // in the container, whose order differs
  bool as_parameter = false;                   // how the container lists the tensor
  std::shared_ptr<ParametrizationList> chain;  // null once squashed
  std::weak_ptr<torch::nn::Module> owner;      // the module whose weight was added, while it lives

  bool is_masked() const noexcept { return chain != nullptr; }
  at::Tensor read() const { return is_masked() ? chain->read() : tensor; }
};

using NewEntries = std::vector<std::pair<std::string, DataEntry>>;
using TensorDict = torch::OrderedDict<std::string, at::Tensor>;

}  // namespace internal

using namespace internal;

struct BaseDataSparsifier::Impl {
  NamedList<DataEntry> entries;
  NamedValues defaults;
  std::vector<ConfigField> fields;
  bool enable_mask_update = true;
  int64_t step_count = 0;
  int64_t next_place = 0;
  bool stepping = false;               // for a step that calls itself
  std::set<std::string> warned_names;  // that look misspelt
  std::set<std::string> scheduled;  // names of values set by a scheduler, to warn if a second does

  Impl() = default;
  /// A deep copy.
  Impl(const Impl& other);
  Impl& operator=(const Impl&) = delete;

  // Guards the memory of masks: get_mask, which is const, may give it to an initial one.
  mutable std::shared_mutex mask_mutex;

  /// Returns the entry of that name. Throws c10::ValueError if there is none.
  DataEntry& entry(const std::string& name);

  /// Throws if the declared field `key` does not accept `value`.
  void check_value(const std::string& key, const c10::IValue& value) const;
  /// Checks all values of `config`, and warns of names that look misspelt.
  void check_config(const NamedValues& config);
  /// Throws if a declared field does not fit the rest of a complete configuration.
  void check_together(const std::string& name, const NamedValues& group) const;
  /// Does the same for one field that is about to be set in `group`.
  void check_set(const std::string& name, const std::string& key, const c10::IValue& value,
                 const NamedValues& group) const;

  /// Returns the checked entry that add_data inserts for `weight`, replacing `old` unless that is
  /// null.
  DataEntry new_entry(const std::string& name, const DataWeight& weight, const DataEntry* old,
                      const AddDataOptions& options) const;

  /// Puts a new name at the end.
  void insert(const std::string& name, DataEntry entry);
  /// The order of upstream's container: squashed entries and those of a loaded state come last.
  std::vector<const NamedList<DataEntry>::Item*> in_container_order() const;

  /// Throws c10::ValueError if data other than `name` use the same mask object.
  void check_mask_is_free(const std::string& name, const at::Tensor& mask) const;

  /// Throws if the module of `entry` is alive but has another weight now.
  void check_owner(const std::string& name, const DataEntry& entry) const;

  /// If `mask_format` is unset, masks are dense.
  DataSparsifierState state_dict(bool clone, std::optional<MaskFormat> mask_format) const;
  /// Keys and tensors in the order of upstream's container: plain parameters, plain buffers, then
  /// originals with the tensors of their links. Not copied, but detached.
  TensorDict container_state() const;
  /// Returns the checked entries of `state`, in its order.
  NewEntries entries_of(const DataSparsifierState& state, bool strict) const;
  /// Throws unless `state` has exactly the names of this sparsifier, each with a complete
  /// configuration.
  void check_same_names(const DataSparsifierState& state) const;
  /// Returns `entry` with the configuration and the mask of `state`, checked. If the result still
  /// has the mask tensor of `entry`, the state's packed mask fits into it but has not been written
  /// yet.
  /// @param tensors container_state()
  DataEntry with_mask_of(const std::string& name, const DataEntry& entry,
                         const DataSparsifierState& state, const TensorDict& tensors) const;
  /// Replaces all entries by `loaded` if `strict`, otherwise inserts those in front.
  void adopt(NewEntries loaded, bool strict);
  /// Throws unless `group` has every declared field with a valid value.
  void check_group(const std::string& name, const NamedValues& group) const;
  /// Throws c10::Error, naming `what`, if a declared field is missing in `config`.
  void check_complete(const std::string& what, const NamedValues& config) const;

  // The module that container() returns. It is made on demand, because updating it at each change
  // would take time that grows with the number of names.
  std::mutex container_mutex;
  std::shared_ptr<const torch::nn::Module> made_container;
  /// Must be called after every change of names, and of what is masked.
  void structure_changed();
};

namespace internal {

/// Whether `mask` is one value of memory that is shown at every place, as the first masks are.
bool is_one_value(const at::Tensor& mask);

/// Throws KeyError unless `name` is a valid name of data.
void check_data_name(const std::string& name);

/// Returns a chain with `link`, which masks `tensor`.
std::shared_ptr<ParametrizationList> chain_of(const at::Tensor& tensor, bool as_parameter,
                                              std::shared_ptr<Parametrization> link);

}  // namespace internal
}  // namespace winnow
