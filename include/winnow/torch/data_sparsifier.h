// Named data and their masks: the base of all data sparsifiers.
//
//   class BelowThreshold : public winnow::BaseDataSparsifier {
//    public:
//     explicit BelowThreshold(double threshold) : BaseDataSparsifier({{"threshold", threshold}}) {}
//     void update_mask(const std::string& name, const at::Tensor& data,
//                      const winnow::NamedValues& config) override {
//       get_mask(name).copy_(data.abs() >= config.get<double>("threshold"));
//     }
//   };
//
//   BelowThreshold sparsifier(0.2);
//   sparsifier.add_data("table", model->embedding);
//   sparsifier.add_data("other", tensor, {.config = {{"threshold", 0.5}}});
//   sparsifier.step();          // computes the masks
//   sparsifier.squash_mask();   // applies them: the model's weight is now sparse
//
// Source: torch.ao.pruning BaseDataSparsifier; docs/differences.md lists where this differs.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>  // before the next, which uses it
#include <torch/ordered_dict.h>

#include <concepts>
#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "winnow/torch/named_values.h"

namespace torch::nn {
class Module;
}
namespace torch::serialize {
class InputArchive;
class OutputArchive;
}  // namespace torch::serialize

namespace winnow {

/// What can be sparsified: a tensor, or the `weight` of an Embedding or EmbeddingBag (of torch::nn
/// or winnow::nn, or derived from one). Module holders and shared pointers convert to it.
class Data {
 public:
  Data(at::Tensor tensor) : tensor_(std::move(tensor)) {}  // NOLINT: implicit
  template <std::convertible_to<std::shared_ptr<torch::nn::Module>> Pointer>
  Data(const Pointer& module) : module_(module) {}  // NOLINT: implicit
  template <typename Holder>
  requires requires(const Holder& holder) {
    { holder.ptr() } -> std::convertible_to<std::shared_ptr<torch::nn::Module>>;
  }
  Data(const Holder& holder)  // NOLINT: implicit
      : module_(holder.is_empty() ? nullptr : holder.ptr()) {}

  /// Returns the tensor; undefined if a module was given.
  const at::Tensor& tensor() const noexcept { return tensor_; }
  /// Returns the module; null if a tensor was given.
  const std::shared_ptr<torch::nn::Module>& module() const noexcept { return module_; }

 private:
  at::Tensor tensor_;
  std::shared_ptr<torch::nn::Module> module_;
};

/// Names with their data, in the order in which they are added.
using DataList = std::vector<std::pair<std::string, Data>>;

/// Options of BaseDataSparsifier::add_data.
struct AddDataOptions {
  /// Overrides of the defaults for this data. Besides the declared fields: `mask` (a tensor of the
  /// data's shape) is the initial mask; `parametrization` (the name of a type registered by
  /// register_parametrization_type) is used instead of FakeSparsity; any other name is kept and
  /// passed to update_mask.
  NamedValues config = {};
  /// If the name exists: whether to keep its mask (the shapes must agree) or start with ones.
  bool reuse_mask = true;
  /// Says that replacing an existing name is intended, so there is no warning.
  bool replace = false;
  /// Whether the container lists the tensor among its parameters or its buffers. If unset, the
  /// weight of a module and a leaf that requires grad are parameters.
  std::optional<bool> as_parameter = std::nullopt;
};

/// How state_dict stores masks. Both formats, and dense masks, can be loaded.
enum class MaskFormat : uint8_t {
  /// One bit for each value: `mask_bits` (uint8), `mask_shape`, `mask_dtype`. A mask with values
  /// other than 0 and 1 stays dense, as `mask`.
  kPacked,
  /// `mask` as sparse COO, coalesced, row-major: the format of torch.ao; 17 bytes for each kept
  /// value.
  kTorchAo,
};

/// Options of state_dict and getstate.
struct StateDictOptions {
  /// How masks are stored.
  MaskFormat mask_format = MaskFormat::kPacked;
  /// Whether tensors and lists are copied, so that the result is a snapshot. If false, the
  /// originals share their memory with the sparsifier, which suits large tables that are saved at
  /// once.
  bool clone = true;
};

/// What state_dict returns, in upstream's three parts.
struct DataSparsifierState {
  /// By name: the mask, in its MaskFormat, and what update_mask keeps in state().
  torch::OrderedDict<std::string, NamedValues> state;
  /// By name: the configuration.
  torch::OrderedDict<std::string, NamedValues> data_groups;
  /// The data: `parametrizations.NAME.original` while masked, `NAME` once squashed.
  torch::OrderedDict<std::string, at::Tensor> container;
};

/// What getstate returns: everything. In setstate, an unset enable_mask_update means true and
/// missing fields mean the subclass's initial values, so upstream's four parts can be loaded.
struct DataSparsifierSnapshot : DataSparsifierState {
  /// What defaults() returns.
  NamedValues defaults;
  /// What enable_mask_update() returns.
  std::optional<bool> enable_mask_update;
  /// The fields of the subclass, for example {"norm", "L1"}.
  NamedValues fields;
};

/// Holds named data, computes their masks in `step` and applies them in `squash_mask`.
///
/// A tensor that was added is shared with the caller: the container holds the same tensor object,
/// in-place changes are seen on both sides, and squash_mask writes the result into its memory.
/// While it is masked, get_data(name, false) returns mask * original, computed anew each time, with
/// gradient.
///
/// Memory: add_data allocates nothing of a tensor's size. The first step (or get_mask) creates a
/// mask of one byte for each value. Data and mask together, also at the peak of a step, take 1.25
/// times the bytes of F32 data, 1.125 times those of F64, and 1.5 times those of F16 and BF16.
/// squash_mask takes a few MB more, load_masks nothing besides the state itself.
///
/// All collections iterate in the order of insertion; a replaced name moves to the end. A call that
/// throws has changed nothing, except `step` if update_mask of a subclass throws halfway.
/// Thread-safety: none, except that const members may be called concurrently.
class BaseDataSparsifier {
 public:
  virtual ~BaseDataSparsifier();
  /// Not copyable: a copy would not own the caller's tensors. Not movable: schedulers hold a
  /// pointer to it.
  BaseDataSparsifier(const BaseDataSparsifier&) = delete;
  BaseDataSparsifier& operator=(const BaseDataSparsifier&) = delete;

  /// Puts `data` into the container under `name`, masked with ones (or the mask of the config). An
  /// existing name is replaced, with a warning: its configuration, and with reuse_mask its mask,
  /// carry over; the tensor that it held is left as it is. Allocates no mask of the data's size:
  /// the ones share a single value until the mask is needed. The cost does not depend on the number
  /// of names.
  ///
  /// Throws KeyError if `name` is empty, contains a '.' or is "parametrizations". Throws
  /// AssertionError "specified data type ... not supported" for undefined, sparse or quantized
  /// tensors, other modules and parametrized modules, and AssertionError for a mask, given or kept,
  /// whose shape differs from that of the data. Throws c10::ValueError for a mask that would change
  /// the data's dtype, and for a value of a declared field that is out of range or does not fit the
  /// other fields; c10::TypeError if such a value has the wrong type.
  ///
  /// Differs from torch.ao: returns nothing, because a masked read takes the memory of a second
  /// table (get_data(name, false) makes one); the initial mask is int8; any other name without a
  /// '.' is valid; subclasses of the modules are accepted; a squashed name can be replaced; a
  /// failing call changes nothing.
  void add_data(const std::string& name, const Data& data, const AddDataOptions& options = {});

  /// Removes `name` with its mask, configuration and state. The tensor, masked or squashed, is left
  /// as it is. Schedules skip the name from then on, but one that was given a level for this name
  /// fails at its next step. Throws c10::ValueError "data with specified name does not exist". Not
  /// in torch.ao.
  void remove_data(const std::string& name);

  /// Computes the masks of all data by update_mask, in order, without gradient. Does nothing while
  /// enable_mask_update is false; step_count increases in both cases.
  ///
  /// Throws c10::ValueError, with no mask changed, if an entry was squashed ("mask squashed", with
  /// its name) or an entry's module has another weight now. Throws c10::Error if called from within
  /// step.
  void step();

  /// Returns the live mask of `name`, also after it was squashed; change it in place. Before the
  /// first step, this call allocates the mask. Throws c10::ValueError "data with specified name
  /// does not exist".
  at::Tensor get_mask(const std::string& name) const;

  /// Returns the original of `name`, which is the tensor object that was added, or its masked read
  /// if `return_original` is false. After squash_mask, only the latter works and returns the stored
  /// tensor. Throws c10::ValueError for an unknown name, or "mask squashed" if the original is
  /// gone.
  at::Tensor get_data(const std::string& name, bool return_original = true) const;

  /// Ends the masking of `names`, or of all names. If `leave_parametrized` is true, the masked
  /// values are written into the memory of the tensor that was added, so views, slices, NumPy
  /// arrays and everything else that shares it see them; otherwise it keeps its values. Masks and
  /// configurations are kept. A negative value that is dropped becomes -0; apply_mask_
  /// (torch/tensor_mask.h) writes +0.
  ///
  /// Throws c10::ValueError "does not have a parametrization on NAME" for a name that is unknown or
  /// already squashed; c10::ValueError for a name given twice, for expanded and overlapping views,
  /// in which several values share one place, and for data whose module has another weight now. All
  /// names are checked before any is changed. Differs from torch.ao, where the tensor gets another
  /// storage.
  void squash_mask() { squash_mask(names()); }
  void squash_mask(const std::vector<std::string>& names, bool leave_parametrized = true);

  /// Returns masks, configurations and data, without defaults and subclass fields.
  DataSparsifierState state_dict(const StateDictOptions& options = {}) const;

  /// Loads a state. If `strict` is true, it replaces everything. Otherwise existing entries stay as
  /// they are, and new names are added in front of them. Loaded data are new tensors, not shared
  /// with any caller. A mask whose dtype would change that of its data is converted if that is
  /// lossless.
  ///
  /// Throws c10::Error "Error loading NAME" if the three parts do not fit together, and
  /// AssertionError if a mask does not fit its data or add_data would refuse the data. Nothing is
  /// changed then.
  void load_state_dict(const DataSparsifierState& state, bool strict = true);

  /// Loads masks, configurations and what update_mask keeps, but leaves the data: they stay the
  /// same tensor objects. For a model that was loaded separately and attached again. The names must
  /// be the same on both sides; the container of `state` is ignored. Packed int8 masks are unpacked
  /// into the existing masks, so there is never a second set.
  ///
  /// Throws c10::Error "Error loading NAME" if the names differ; otherwise as load_state_dict.
  void load_masks(const DataSparsifierState& state);

  /// Returns everything, for copies and files.
  DataSparsifierSnapshot getstate(const StateDictOptions& options = {
                                      .mask_format = MaskFormat::kTorchAo}) const;
  /// Replaces everything by `snapshot`. Throws as load_state_dict does, and c10::Error if the
  /// defaults or a configuration lack a declared field.
  void setstate(const DataSparsifierSnapshot& snapshot);

  /// These are called by torch::save(sparsifier, "file.pt") and torch::load(sparsifier, "file.pt").
  /// `load` throws c10::Error if the file was not written by `save`, or by another class. LibTorch
  /// reads the archive without a checksum, so a damaged file may load wrong values. For long-term
  /// storage, use save_torch_file (torch/torch_file.h), which both languages read.
  void save(torch::serialize::OutputArchive& archive) const;
  void load(torch::serialize::InputArchive& archive);

  /// Returns the names, in order.
  std::vector<std::string> names() const;
  /// Returns true if there is data of that name, masked or squashed.
  bool contains(const std::string& name) const;
  /// Returns true if `name` is masked, false once it is squashed. Throws c10::ValueError for an
  /// unknown name.
  bool is_parametrized(const std::string& name) const;

  /// Returns the configuration of `name`: the defaults with the overrides of add_data. Valid until
  /// the name is replaced or removed, or a state or masks are loaded. Throws c10::ValueError for an
  /// unknown name.
  const NamedValues& data_group(const std::string& name) const;

  /// Sets one value of the configuration of `name`, with the checks of add_data. Throws
  /// c10::ValueError also for `mask` and `parametrization`, which only add_data accepts.
  void set_config(const std::string& name, const std::string& key, c10::IValue value);
  /// Does the same for a tuple of integers, such as a block shape {rows, columns}.
  void set_config(const std::string& name, const std::string& key,
                  std::initializer_list<int64_t> integers);

  /// Returns what a subclass keeps for `name` besides its mask, for example counters. It is saved
  /// with the mask, and discarded when the name is replaced. Valid as long as data_group. Throws
  /// c10::ValueError for an unknown name.
  NamedValues& state(const std::string& name);

  /// Returns the default configuration that was given to the constructor.
  const NamedValues& defaults() const noexcept;

  /// Returns the fields of the class, for example {"norm", "L1"}: the `fields` of getstate.
  NamedValues class_fields() const { return fields(); }

  /// Returns true if step computes masks.
  bool enable_mask_update() const noexcept;
  /// Sets whether step computes masks. A scheduler's step turns it on again, as upstream's does.
  void set_enable_mask_update(bool enable) noexcept;

  /// Returns how often step was called.
  int64_t step_count() const noexcept;

  /// Returns a module whose parameters and buffers are the data: the same tensor objects. After
  /// names were added, removed, squashed or loaded, the next call returns a new module. Do not
  /// change its structure.
  std::shared_ptr<const torch::nn::Module> container() const;

  /// Returns the class name and all configurations, one value a line, sorted, as upstream prints.
  std::string text() const;

 protected:
  /// A declared field of the configuration. `check` throws c10::TypeError or c10::ValueError, with
  /// a message that names the field, for a value that is not valid. `check_with`, which may be
  /// null, throws if the field does not fit the rest of the configuration of data `name`; it is
  /// called when data are added or loaded, and when this field is set.
  struct ConfigField {
    std::string name;
    std::function<void(const c10::IValue&)> check;
    std::function<void(const std::string& name, const NamedValues& config)> check_with = nullptr;
  };

  /// @param defaults the default configuration. Its names are the declared fields; an undeclared
  ///                 name that looks like a misspelling of a declared one causes a warning.
  /// @param fields   the checks of declared fields; fields without an entry are not checked.
  explicit BaseDataSparsifier(NamedValues defaults = {}, std::vector<ConfigField> fields = {});

  /// Selects the constructor below.
  struct DeepCopyOf {
    const BaseDataSparsifier& sparsifier;
  };
  /// Makes a deep copy, whose data are tensors of its own. For subclasses that offer clone().
  explicit BaseDataSparsifier(DeepCopyOf other);

  /// Updates the mask of `name`: change get_mask(name) in place. Called by step.
  /// @param data   the original
  /// @param config its configuration, including undeclared names
  virtual void update_mask(const std::string& name, const at::Tensor& data,
                           const NamedValues& config) = 0;

  /// Updates all masks by calling update_mask for each name, in order. Override it in sparsifiers
  /// that look at all data at once.
  virtual void update_masks();

  /// Returns the stored mask of `name`, for sparsifiers that replace it. Do not change it in place:
  /// the elements of an initial mask may share a single value.
  at::Tensor raw_mask(const std::string& name) const;

  /// Throws if this sparsifier cannot work on `weight`. add_data calls it before it changes
  /// anything.
  virtual void check_data(const std::string& name, const at::Tensor& weight) const;

  /// Returns the fields of a subclass for getstate.
  virtual NamedValues fields() const { return {}; }
  /// Sets the fields from a snapshot. setstate calls it before it changes anything: throw for
  /// invalid values.
  virtual void set_fields(const NamedValues& fields) { (void)fields; }

 private:
  friend class BaseDataScheduler;
  friend class HeldMasks;
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared, so that a scheduler sees that its sparsifier is gone
};

/// Prints sparsifier.text().
std::ostream& operator<<(std::ostream& stream, const BaseDataSparsifier& sparsifier);
/// These call sparsifier.save and sparsifier.load, for torch::save and torch::load.
torch::serialize::OutputArchive& operator<<(torch::serialize::OutputArchive& archive,
                                            const BaseDataSparsifier& sparsifier);
torch::serialize::InputArchive& operator>>(torch::serialize::InputArchive& archive,
                                           BaseDataSparsifier& sparsifier);

}  // namespace winnow
