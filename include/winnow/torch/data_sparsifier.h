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

/// What can be sparsified: a tensor, or an Embedding or EmbeddingBag (of torch::nn or winnow::nn,
/// or derived from one), whose `weight` is meant. Module holders and shared pointers convert.
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

  /// The tensor; undefined where a module was given.
  const at::Tensor& tensor() const noexcept { return tensor_; }
  /// The module; null where a tensor was given.
  const std::shared_ptr<torch::nn::Module>& module() const noexcept { return module_; }

 private:
  at::Tensor tensor_;
  std::shared_ptr<torch::nn::Module> module_;
};

/// Names and data, in the order in which they are added.
using DataList = std::vector<std::pair<std::string, Data>>;

struct AddDataOptions {
  /// Overrides of the defaults for this data. Besides what the sparsifier declares: `mask` (a
  /// tensor of the data's shape) is the first mask, `parametrization` (the name of a type
  /// registered by register_parametrization_type) takes the place of FakeSparsity; any other name
  /// is kept and handed to update_mask.
  NamedValues config = {};
  /// When the name is there already: keep its mask (the shapes must agree) or start with ones.
  bool reuse_mask = true;
  /// Says that a name that is there already is meant: no warning.
  bool replace = false;
  /// Whether the container lists the tensor among its parameters or its buffers. Unset: a weight of
  /// a module and a leaf that requires grad are parameters.
  std::optional<bool> as_parameter = std::nullopt;
};

/// How state_dict holds masks. Both, and dense ones, are loaded alike.
enum class MaskFormat : uint8_t {
  kPacked,  ///< one bit a value: `mask_bits` (uint8), `mask_shape`, `mask_dtype`. A mask that holds
            ///< other values than 0 and 1 stays dense, as `mask`.
  kTorchAo,  ///< `mask`, sparse COO, coalesced, row-major: what torch.ao reads; 17 bytes a kept
             ///< value
};

struct StateDictOptions {
  MaskFormat mask_format = MaskFormat::kPacked;
  /// Copies tensors and lists, so that the result is a snapshot. Without it the originals share
  /// their memory with the sparsifier: for large tables that are saved at once.
  bool clone = true;
};

/// What state_dict returns, in upstream's three parts.
struct DataSparsifierState {
  /// Of each name: its mask, as MaskFormat says, and what update_mask keeps in state().
  torch::OrderedDict<std::string, NamedValues> state;
  /// Of each name: its configuration.
  torch::OrderedDict<std::string, NamedValues> data_groups;
  /// `parametrizations.NAME.original` while masked, `NAME` once squashed.
  torch::OrderedDict<std::string, at::Tensor> container;
};

/// What getstate returns: everything. In setstate an unset enable_mask_update means true, and
/// fields that are missing mean what the subclass starts with: upstream's four parts load alike.
struct DataSparsifierSnapshot : DataSparsifierState {
  NamedValues defaults;
  std::optional<bool> enable_mask_update;
  /// The fields of a subclass, for example {"norm", "L1"}.
  NamedValues fields;
};

/// Holds named data, computes their masks in `step` and applies them in `squash_mask`.
///
/// A tensor that was added stays the caller's: the container holds the same tensor object, sees
/// what is done to it in place, and squash_mask writes the result into its memory. While it is
/// masked, reads by get_data(name, false) are mask * original, fresh each time, with gradient.
///
/// Memory: add_data takes nothing of a tensor's size. From the first step on (or get_mask) there is
/// a mask of one byte a value: data of F32 take 1.25 times their bytes then, and at the peak of a
/// step, F64 1.125, F16 and BF16 1.5 times. squash_mask takes a few MB besides, load_masks what the
/// state takes by itself.
///
/// All collections iterate in the order of insertion; a replaced name moves to the end. A call that
/// throws has changed nothing, but for `step` where update_mask of a subclass throws halfway.
/// Thread-safety: none; const members may be called at the same time.
class BaseDataSparsifier {
 public:
  virtual ~BaseDataSparsifier();
  /// A copy would be tied to no caller's tensors, and a move is not what a scheduler could follow.
  BaseDataSparsifier(const BaseDataSparsifier&) = delete;
  BaseDataSparsifier& operator=(const BaseDataSparsifier&) = delete;

  /// Puts `data` into the container under `name`, masked with ones (or the mask of the config). A
  /// name that is there already is replaced, with a warning: its configuration, and its mask under
  /// reuse_mask, carry over; the tensor it held before goes back to its owner as it is. Allocates
  /// no values: the ones are one value until somebody asks for them. Costs the same however many
  /// names there are.
  ///
  /// KeyError: `name` is empty, holds a '.' or is "parametrizations". AssertionError "specified
  /// data type ... not supported": undefined, sparse or quantized tensors, other modules, modules
  /// that are parametrized; and masks, given or kept, whose shape is not that of the data.
  /// c10::ValueError: a mask that would change the data's dtype, a value of a declared field
  /// outside its range or not fitting to the others. c10::TypeError: a value of a declared field of
  /// the wrong type. Differs from torch.ao: returns nothing, since a masked read is a second table:
  /// get_data(name, false) makes it; the first mask is int8; any name without a '.' is fine but
  /// "parametrizations"; subclasses of the modules are accepted; a squashed name can be replaced;
  /// nothing is changed by a failing call.
  void add_data(const std::string& name, const Data& data, const AddDataOptions& options = {});

  /// Takes `name` out, with its mask, configuration and state; the tensor, masked or squashed,
  /// stays with its owner as it is. A schedule does not set it any more; one that is asked for a
  /// level of its own for that name fails at its next step. c10::ValueError "data with specified
  /// name does not exist". Not in torch.ao.
  void remove_data(const std::string& name);

  /// Computes the masks of all data by update_mask, in order, without gradient. Does nothing while
  /// enable_mask_update is false. Counts itself either way (step_count).
  /// c10::ValueError, no mask touched: "mask squashed" naming the entry where one was squashed; an
  /// entry whose module has another weight now. c10::Error from within step.
  void step();

  /// The live mask of `name`, also after it was squashed. Change it in place. Before the first step
  /// it takes memory from here on. c10::ValueError "data with specified name does not exist".
  at::Tensor get_mask(const std::string& name) const;

  /// The original of `name`: the tensor object that was added; or, without `return_original`, its
  /// masked read. After squash_mask only the latter, which is then the stored tensor.
  /// c10::ValueError for an unknown name, or "mask squashed" for an original that is gone.
  at::Tensor get_data(const std::string& name, bool return_original = true) const;

  /// Ends the masking of `names`, or of all. With `leave_parametrized` the masked values are
  /// written into the memory of the tensor that was added: views, slices, NumPy's arrays and
  /// whatever else shares it see them. Without, it stays as it was. Mask and configuration are
  /// kept. A dropped value that was negative is -0 then; apply_mask_ (torch/tensor_mask.h) makes it
  /// +0. c10::ValueError "does not have a parametrization on NAME" for names that are unknown or
  /// squashed already; for a name that is given twice; for expanded and overlapping views, which
  /// have no place of its own for each value; for data whose module has another weight now. All
  /// names are checked before any is touched. Differs from torch.ao: there the tensor gets another
  /// storage.
  void squash_mask() { squash_mask(names()); }
  void squash_mask(const std::vector<std::string>& names, bool leave_parametrized = true);

  /// A snapshot of masks, configurations and data, without defaults and subclass fields.
  DataSparsifierState state_dict(const StateDictOptions& options = {}) const;

  /// Takes over a state. `strict`: what was there goes. Otherwise the entries that are there stay
  /// completely, and only new names are added, in front of them. Loaded data are tensors of the
  /// container's own, tied to no caller.
  /// c10::Error "Error loading NAME" where the three parts do not fit together, AssertionError
  /// where a mask does not fit its data, or data that add_data refuses; nothing is changed then. A
  /// mask whose dtype would change that of its data is converted where it loses nothing by that.
  void load_state_dict(const DataSparsifierState& state, bool strict = true);

  /// Takes over the masks, the configurations and what update_mask keeps, of exactly the names that
  /// are here; their data stay, the same tensor objects. For a model that was loaded by itself and
  /// attached again. The container of `state` is not looked at. Packed int8 masks are unpacked into
  /// the masks that are here, so that no second set is made.
  /// c10::Error "Error loading NAME" where the names differ; else as load_state_dict.
  void load_masks(const DataSparsifierState& state);

  /// Everything, for copies and files; and back. setstate throws as load_state_dict does, and
  /// c10::Error where the defaults or a configuration lack a declared field.
  DataSparsifierSnapshot getstate(const StateDictOptions& options = {
                                      .mask_format = MaskFormat::kTorchAo}) const;
  void setstate(const DataSparsifierSnapshot& snapshot);

  /// torch::save(sparsifier, "file.pt") and torch::load(sparsifier, "file.pt") call these.
  /// c10::Error where the file was not written by `save`, or by one of another class. LibTorch
  /// reads the archive, without a checksum: a damaged file may load other values. For what has to
  /// last, save_torch_file (torch/torch_file.h) writes a state that both languages read.
  void save(torch::serialize::OutputArchive& archive) const;
  void load(torch::serialize::InputArchive& archive);

  /// The names, in order.
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const;
  /// False once squashed. c10::ValueError for an unknown name.
  bool is_parametrized(const std::string& name) const;

  /// The configuration of `name`: defaults overlaid by what add_data got. Valid until the name is
  /// replaced or removed, or a state or masks are loaded. c10::ValueError for an unknown name.
  const NamedValues& data_group(const std::string& name) const;

  /// Sets one value of it, checked as add_data does. c10::ValueError for `mask` and
  /// `parametrization`, which only add_data can take.
  void set_config(const std::string& name, const std::string& key, c10::IValue value);
  /// The same for a tuple of integers, such as a block shape {rows, columns}.
  void set_config(const std::string& name, const std::string& key,
                  std::initializer_list<int64_t> integers);

  /// What a subclass keeps for `name` besides its mask, counters for example. It is saved, and gone
  /// when the name is replaced. Valid as data_group. c10::ValueError for an unknown name.
  NamedValues& state(const std::string& name);

  /// What the constructor got, for data that add_data gives no value of their own.
  const NamedValues& defaults() const noexcept;

  /// The fields of the class, for example {"norm", "L1"}; what getstate holds as `fields`.
  NamedValues class_fields() const { return fields(); }

  /// Whether step computes. A scheduler's step turns it on again, as upstream's does.
  bool enable_mask_update() const noexcept;
  void set_enable_mask_update(bool enable) noexcept;

  /// How often step was called.
  int64_t step_count() const noexcept;

  /// A module that shows the data, `named_parameters` and all: the very tensors. Made anew after
  /// names were added, removed, squashed or loaded. Do not change its structure.
  std::shared_ptr<const torch::nn::Module> container() const;

  /// The class name and every configuration, one value a line, sorted, as upstream prints it.
  std::string text() const;

 protected:
  /// A field of the configuration that the sparsifier declares. `check` throws c10::TypeError or
  /// c10::ValueError, whose message names the field, for values that it refuses. `check_with`,
  /// which may be null, does so where the field does not fit to the rest of the whole configuration
  /// of data `name`: asked when data are added or loaded, and when this field is set.
  struct ConfigField {
    std::string name;
    std::function<void(const c10::IValue&)> check;
    std::function<void(const std::string& name, const NamedValues& config)> check_with = nullptr;
  };

  /// @param defaults the configuration of data that brings none of its own, and with it the
  /// declared
  ///                 fields: undeclared names within edit distance 2 of a declared one are warned
  ///                 of.
  /// @param fields   those that are checked when they are set; the others only have their names.
  explicit BaseDataSparsifier(NamedValues defaults = {}, std::vector<ConfigField> fields = {});

  /// For a subclass that offers clone(): a deep copy, whose data are tensors of its own.
  struct DeepCopyOf {
    const BaseDataSparsifier& sparsifier;
  };
  explicit BaseDataSparsifier(DeepCopyOf other);

  /// Writes the mask of `name`: get_mask(name), changed in place, never rebound. Called by step.
  /// @param data   the original
  /// @param config its configuration, names that nobody declared included
  virtual void update_mask(const std::string& name, const at::Tensor& data,
                           const NamedValues& config) = 0;

  /// All masks: calls update_mask for each name in order. For sparsifiers that see all data at
  /// once.
  virtual void update_masks();

  /// The mask of `name` as it lies, for sparsifiers that make it anew: not changed in place, where
  /// the ones of the beginning may share one value.
  at::Tensor raw_mask(const std::string& name) const;

  /// Throws where this sparsifier cannot work on `weight`; add_data asks before it changes
  /// anything.
  virtual void check_data(const std::string& name, const at::Tensor& weight) const;

  /// The fields of a subclass for getstate, and back. setstate calls set_fields with what the
  /// snapshot has, before anything is changed: throw for values that make no sense.
  virtual NamedValues fields() const { return {}; }
  virtual void set_fields(const NamedValues& fields) { (void)fields; }

 private:
  friend class BaseDataScheduler;
  friend class HeldMasks;
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared, so that a scheduler sees that its sparsifier is gone
};

std::ostream& operator<<(std::ostream& stream, const BaseDataSparsifier& sparsifier);
torch::serialize::OutputArchive& operator<<(torch::serialize::OutputArchive& archive,
                                            const BaseDataSparsifier& sparsifier);
torch::serialize::InputArchive& operator>>(torch::serialize::InputArchive& archive,
                                           BaseDataSparsifier& sparsifier);

}  // namespace winnow
