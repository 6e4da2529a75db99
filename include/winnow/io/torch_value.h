// What a torch archive holds, as data: a tree of numbers, strings, lists, dictionaries and tensors.
//
//   TorchTree tree;
//   const TorchNode weight = tree.add_tensor({.storage = 0, .shape = {2, 3}, .strides = {3, 1}});
//   const TorchNode state = tree.add_dict({.ordered = true});
//   tree.set_item(state, tree.add_string("weight"), weight);
//   tree.set_root(state);
//
//   const TorchValue root = tree.root();
//   const std::optional<TorchValue> found = root.find("weight");
//   if (const TorchTensor* tensor = found ? found->as_tensor() : nullptr) use(*tensor);
//
// Thread-safety: const members of one object may be called from several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/dtype.h"
#include "winnow/base/status.h"

namespace winnow {

/// Limits of every tree that is read or written. Within them it is safe to walk a tree recursively.
inline constexpr size_t kMaxTorchDepth = 500;  ///< CPython pickles nest at most about as deep
inline constexpr uint64_t kMaxTorchNodes = uint64_t{1} << 24;  ///< shared nodes counted at each use
inline constexpr size_t kMaxTorchRank = 64;                    ///< PyTorch's limit

/// The bytes that tensors are views of; in a file, one record `data/N`.
struct TorchStorage {
  DType dtype = DType::kF32;
  uint64_t numel = 0;  ///< elements; bytes where untyped

  /// torch.UntypedStorage: dtype is kU8, and tensors of any type may be views of it. torch has
  /// no other storage for U16, U32, U64 and the F8 types.
  bool untyped = false;

  /// The storage that torch.save uses for `numel` elements of that type. Precondition: `dtype` has
  /// whole bytes, and numel times its size fits into 64 bits.
  static TorchStorage for_dtype(DType dtype, uint64_t numel);

  uint64_t bytes() const noexcept { return numel * (dtype_bits(dtype) / 8); }
  bool operator==(const TorchStorage&) const = default;
};

/// A strided view of a storage. Of a checked tree each element lies inside the storage, and the
/// product of the shape fits into 63 bits even without its zeros.
struct TorchTensor {
  uint32_t storage = 0;  ///< index into the storages that go with the tree
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;    ///< at most 64 dimensions, each below 2^63; empty for a scalar
  std::vector<uint64_t> strides;  ///< in elements, one for each dimension; 0 where it is expanded
  uint64_t offset = 0;            ///< of the first element, in elements; meaningless where empty
  bool requires_grad = false;
  bool is_parameter = false;  ///< torch.nn.Parameter

  /// The product of the shape; 1 for a scalar.
  uint64_t numel() const noexcept;
  bool operator==(const TorchTensor&) const = default;
};

/// A sparse COO tensor of `nnz` entries. The first indices.shape[0] dimensions of `shape` are
/// sparse, the others are those of one entry.
struct TorchSparseTensor {
  TorchTensor indices;  ///< I64, [sparse dimensions, nnz]
  TorchTensor values;   ///< [nnz, dense dimensions...]
  std::vector<uint64_t> shape;
  bool is_coalesced = false;  ///< also where an old file does not say

  uint64_t nnz() const noexcept { return values.shape.empty() ? 0 : values.shape[0]; }
  bool operator==(const TorchSparseTensor&) const = default;
};

enum class TorchKind : uint8_t {
  kNone,
  kBool,
  kInt,    ///< 64 bits, signed
  kFloat,  ///< double
  kString,
  kTensor,
  kSparseTensor,
  kList,
  kTuple,
  kDict,  ///< dict or collections.OrderedDict
  kSet,
  kSize,   ///< torch.Size: integers
  kDtype,  ///< torch.float32 and so on
};

/// The name as Python users know it: "list", "torch.Size".
std::string_view torch_kind_name(TorchKind kind) noexcept;

/// A node of a tree, by its number. Meaningless in other trees.
using TorchNode = uint32_t;

class TorchTree;

/// One value of a tree: two words, to be passed by value. Valid as long as the tree, and as the
/// tree is not assigned to or moved from. Pointers and views that it returns live as long, but not
/// beyond the next change of the tree.
///
/// The as_ functions answer nothing where the value is of another kind; no kind is converted to
/// another (a Bool is no Int).
class TorchValue {
 public:
  TorchValue(const TorchTree& tree, TorchNode node) noexcept : tree_(&tree), node_(node) {}

  /// Its number in the tree, for the add_ functions.
  TorchNode node() const noexcept { return node_; }
  TorchKind kind() const noexcept;
  bool is_none() const noexcept { return kind() == TorchKind::kNone; }

  /// The value of a Bool, and so on for the other kinds. Arrays and views belong to the tree.
  std::optional<bool> as_bool() const noexcept;
  std::optional<int64_t> as_int() const noexcept;
  std::optional<double> as_float() const noexcept;
  std::optional<std::string_view> as_string() const noexcept;  ///< UTF-8; may hold NUL
  std::optional<DType> as_dtype() const noexcept;
  const TorchTensor* as_tensor() const noexcept;
  const TorchSparseTensor* as_sparse() const noexcept;

  /// Items of a List, Tuple, Set or Size, entries of a Dict; 0 for all other kinds.
  size_t size() const noexcept;

  /// The i-th item of a List, Tuple, Set or Size. Precondition: i < size().
  TorchValue operator[](size_t i) const noexcept;

  /// The i-th entry of a Dict, in the order of insertion. Precondition: a Dict, i < size().
  TorchValue key(size_t i) const noexcept;
  /// The value that belongs to key(i).
  TorchValue value(size_t i) const noexcept;

  /// The value of that key in a Dict, in time linear in its size; nothing where there is none.
  std::optional<TorchValue> find(std::string_view key) const noexcept;
  std::optional<TorchValue> find(int64_t key) const noexcept;

  /// Whether it is a collections.OrderedDict.
  bool is_ordered() const noexcept;

  /// The attributes of an OrderedDict, a Dict with names as keys: a module's state_dict has
  /// `_metadata` there. Nothing where there are none.
  std::optional<TorchValue> attributes() const noexcept;

 private:
  const TorchTree* tree_;
  TorchNode node_;
};

struct TorchDictOptions {
  bool ordered = false;  ///< collections.OrderedDict instead of dict
};

/// The nodes of a tree, in one flat table: copying and destroying never recurse. A node may be used
/// in several places, and then it is one object there, as in Python.
///
/// The add_ functions return the new node. Nodes given to them and to append and set_item are nodes
/// of this tree, of the kinds that are named (asserted); what the tree as a whole has to fulfil is
/// checked by `check`. A tree that was moved from may only be destroyed or assigned to.
class TorchTree {
 public:
  /// A tree of one node, None, which is the root.
  TorchTree();
  TorchTree(const TorchTree& other);
  TorchTree(TorchTree&& other) noexcept;
  TorchTree& operator=(const TorchTree& other);
  TorchTree& operator=(TorchTree&& other) noexcept;
  ~TorchTree();

  /// Adds a scalar, or a tensor by the place of its values (no data is copied).
  TorchNode add_none();
  TorchNode add_bool(bool value);
  TorchNode add_int(int64_t value);
  TorchNode add_float(double value);
  TorchNode add_string(std::string value);
  TorchNode add_dtype(DType value);
  TorchNode add_tensor(TorchTensor value);
  TorchNode add_sparse(TorchSparseTensor value);

  /// Adds a container. A Size has plain numbers; a List and a Dict may grow later.
  TorchNode add_tuple(std::span<const TorchNode> items);
  TorchNode add_set(std::span<const TorchNode> items);
  TorchNode add_size(std::span<const uint64_t> sizes);
  TorchNode add_list(std::span<const TorchNode> items = {});
  TorchNode add_dict(TorchDictOptions options = {});

  /// Adds an item at the end of a List.
  void append(TorchNode list, TorchNode item);

  /// Adds an entry at the end of a Dict. That its key is new is checked by `check`.
  void set_item(TorchNode dict, TorchNode key, TorchNode value);

  /// Gives an ordered Dict its attributes, a Dict; replaces those it had.
  void set_attributes(TorchNode dict, TorchNode attributes);

  /// Makes `node` what is written to a file, and what `root` returns.
  void set_root(TorchNode node);

  /// The root; None unless another was set.
  TorchValue root() const noexcept;

  /// Nodes in the table, reachable from the root or not.
  size_t size() const noexcept;

  /// Checks what is reachable from the root, against the storages that its tensors are views of.
  /// Linear time but for sorting keys; no recursion.
  ///
  /// The codes are those of a file with the same fault: kPickleCycle, kPickleTooDeep,
  /// kPickleTooLarge, kPickleKey (a key or an element of a Set that is no string, number, Bool or
  /// None), kPickleDuplicateKey (1, 1.0 and True are one key), kPickleText (not UTF-8),
  /// kStorageDtype, and those of tensors, kTensor... and kSparse... (base/status.h).
  Status check(std::span<const TorchStorage> storages) const;

 private:
  friend class TorchValue;
  friend class TorchTreeAccess;  // src/io/torch_tree.h
  struct Table;

  std::unique_ptr<Table> table_;  // never null but in an object that was moved from
};

}  // namespace winnow
