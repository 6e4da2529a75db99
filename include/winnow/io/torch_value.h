// The content of a torch archive: a tree of numbers, strings, lists, dictionaries and tensors.
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
#include "winnow/io/error_codes.h"

namespace winnow {

namespace io {
class TorchTreeAccess;
}

/// Limits of every tree that is read or written. Within them it is safe to walk a tree recursively.
inline constexpr size_t kMaxTorchDepth = 500;  ///< CPython pickles nest at most about as deep
inline constexpr uint64_t kMaxTorchNodes = uint64_t{1} << 24;  ///< shared nodes counted at each use
inline constexpr size_t kMaxTorchRank = 64;                    ///< PyTorch's limit

/// The bytes that tensors are views of; in a file, one record `data/N`.
struct TorchStorage {
  DType dtype = DType::kF32;
  uint64_t numel = 0;  ///< number of elements; of bytes if untyped

  /// torch.UntypedStorage: dtype is kU8, and tensors of any type may be views of it. torch has
  /// no other storage for U16, U32, U64 and the F8 types.
  bool untyped = false;

  /// Returns the storage that torch.save uses for `numel` elements of that type. Precondition:
  /// `dtype` has whole bytes, and numel times its size fits into 64 bits.
  static TorchStorage for_dtype(DType dtype, uint64_t numel);

  /// Returns the size in bytes.
  uint64_t bytes() const noexcept { return numel * (dtype_bits(dtype) / 8); }
  bool operator==(const TorchStorage&) const = default;
};

/// A strided view of a storage. In a tree that passed `check`, every element is inside the storage,
/// and the product of the shape fits into 63 bits even without its zeros.
struct TorchTensor {
  uint32_t storage = 0;  ///< index into the storages that belong to the tree
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;    ///< at most 64 dimensions, each below 2^63; empty for a scalar
  std::vector<uint64_t> strides;  ///< in elements, one for each dimension; 0 if it is expanded
  uint64_t offset = 0;            ///< of the first element, in elements; unused if numel is 0
  bool requires_grad = false;
  bool is_parameter = false;  ///< torch.nn.Parameter

  /// Returns the product of the shape; 1 for a scalar.
  uint64_t numel() const noexcept;

  /// Whether the elements, row-major, follow each other without gaps.
  bool is_contiguous() const noexcept;

  /// Whether the tensor is all of `whole`, its storage, in order. Precondition: a checked tree.
  bool fills(const TorchStorage& whole) const noexcept;
  bool operator==(const TorchTensor&) const = default;
};

/// A sparse COO tensor of `nnz` entries. The first indices.shape[0] dimensions of `shape` are
/// sparse, the others are the dimensions of an entry.
struct TorchSparseTensor {
  TorchTensor indices;  ///< I64, [sparse dimensions, nnz]
  TorchTensor values;   ///< [nnz, dense dimensions...]
  std::vector<uint64_t> shape;
  bool is_coalesced = false;  ///< if the file, an old one, does not say: whether nnz < 2

  /// Returns the number of entries.
  uint64_t nnz() const noexcept { return values.shape.empty() ? 0 : values.shape[0]; }

  /// Checks `index_values`, the values of `indices`: [sparse dimensions, nnz], row-major.
  /// kSparseIndex: one is negative or not below its dimension. kSparseDuplicate: two entries have
  /// the same indices. kSparseOrder: is_coalesced, but the entries are not in row-major order.
  /// Precondition: a checked tree. O(nnz log nnz), and 8 bytes an entry if they are not in order.
  Status check_indices(std::span<const int64_t> index_values) const;
  bool operator==(const TorchSparseTensor&) const = default;
};

/// The kinds of values in a tree.
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
  kSize,    ///< torch.Size: integers
  kDtype,   ///< torch.float32 and so on
  kOpaque,  ///< what is not read: only with TorchOpenOptions::keep_unknown, and never written
};

/// Returns the name that Python users know: "list", "torch.Size".
std::string_view torch_kind_name(TorchKind kind) noexcept;

/// The number of a node, valid only in its own tree.
using TorchNode = uint32_t;

class TorchTree;

/// One value of a tree: two words, to be passed by value. Valid until the tree is destroyed,
/// assigned to or moved from. Pointers and views that it returns are also invalidated by any change
/// of the tree.
///
/// The as_ functions return nullopt or null if the value is of another kind. They do not convert: a
/// Bool is not an Int.
class TorchValue {
 public:
  /// The value of `node`, a node of `tree`.
  TorchValue(const TorchTree& tree, TorchNode node) noexcept : tree_(&tree), node_(node) {}

  /// Returns the number of the node, for the add_ functions.
  TorchNode node() const noexcept { return node_; }
  /// Returns the kind of the value.
  TorchKind kind() const noexcept;
  /// Returns true for None.
  bool is_none() const noexcept { return kind() == TorchKind::kNone; }

  std::optional<bool> as_bool() const noexcept;                ///< a Bool
  std::optional<int64_t> as_int() const noexcept;              ///< an Int
  std::optional<double> as_float() const noexcept;             ///< a Float
  std::optional<std::string_view> as_string() const noexcept;  ///< a String: UTF-8, may hold NUL
  std::optional<DType> as_dtype() const noexcept;              ///< a Dtype
  /// The class or function of an Opaque, or its kind in Python: "argparse.Namespace", "dict".
  std::optional<std::string_view> as_opaque() const noexcept;
  /// Whether an Opaque refers to storages; false for all other kinds. Of several that share a part,
  /// one says so.
  bool refers_to_storages() const noexcept;
  const TorchTensor* as_tensor() const noexcept;        ///< a Tensor, owned by the tree
  const TorchSparseTensor* as_sparse() const noexcept;  ///< a SparseTensor, likewise

  /// Returns the number of items of a List, Tuple, Set or Size, or of entries of a Dict; 0 for all
  /// other kinds.
  size_t size() const noexcept;

  /// Returns the i-th item of a List, Tuple, Set or Size. Precondition: i < size().
  TorchValue operator[](size_t i) const noexcept;

  /// Returns the i-th key of a Dict, in the order of insertion. Precondition: a Dict, i < size().
  TorchValue key(size_t i) const noexcept;
  /// Returns the value that belongs to key(i).
  TorchValue value(size_t i) const noexcept;

  /// Returns the value of that key in a Dict, or nullopt if there is none. Time: linear in size().
  std::optional<TorchValue> find(std::string_view key) const noexcept;
  std::optional<TorchValue> find(int64_t key) const noexcept;

  /// Returns true for a collections.OrderedDict.
  bool is_ordered() const noexcept;

  /// Returns the attributes of an OrderedDict, a Dict with names as keys, or nullopt if it has
  /// none. A module's state_dict has `_metadata` there.
  std::optional<TorchValue> attributes() const noexcept;

 private:
  const TorchTree* tree_;
  TorchNode node_;
};

/// Options of TorchTree::add_dict.
struct TorchDictOptions {
  bool ordered = false;  ///< collections.OrderedDict instead of dict
};

/// The nodes of a tree, in one flat table: copying and destroying never recurse. A node that is
/// used in several places is one shared object, as in Python.
///
/// The add_ functions return the new node. Nodes given to them, to append and to set_item must
/// belong to this tree and be of the documented kinds (asserted). The rules for the tree as a whole
/// are checked by `check`. A tree that was moved from may only be destroyed or assigned to.
class TorchTree {
 public:
  /// Makes a tree of one node, None, which is the root.
  TorchTree();
  TorchTree(const TorchTree& other);
  TorchTree(TorchTree&& other) noexcept;
  TorchTree& operator=(const TorchTree& other);
  TorchTree& operator=(TorchTree&& other) noexcept;
  ~TorchTree();

  TorchNode add_none();                           ///< adds None
  TorchNode add_bool(bool value);                 ///< adds a Bool
  TorchNode add_int(int64_t value);               ///< adds an Int
  TorchNode add_float(double value);              ///< adds a Float
  TorchNode add_string(std::string value);        ///< adds a String, which must be UTF-8
  TorchNode add_tensor(TorchTensor value);        ///< adds a Tensor; copies no data
  TorchNode add_sparse(TorchSparseTensor value);  ///< adds a SparseTensor; copies no data

  TorchNode add_tuple(std::span<const TorchNode> items);      ///< adds a Tuple
  TorchNode add_list(std::span<const TorchNode> items = {});  ///< adds a List; see append
  TorchNode add_dict(TorchDictOptions options = {});          ///< adds an empty Dict; see set_item

  /// Appends an item to a List.
  void append(TorchNode list, TorchNode item);

  /// Appends an entry to a Dict. Does not look for an equal key; `check` does.
  void set_item(TorchNode dict, TorchNode key, TorchNode value);

  /// Sets the attributes of an ordered Dict to the Dict `attributes`; replaces earlier ones.
  void set_attributes(TorchNode dict, TorchNode attributes);

  /// Makes `node` the root, which is what is written to a file.
  void set_root(TorchNode node);

  /// Returns the root; None unless another was set.
  TorchValue root() const noexcept;

  /// Returns the number of nodes in the table, including those not reachable from the root.
  size_t size() const noexcept;

  /// Checks everything that is reachable from the root, and its tensors against `storages`. Takes
  /// linear time except for sorting keys; does not recurse.
  ///
  /// The codes are those of a file with the same fault: kPickleCycle, kPickleTooDeep,
  /// kPickleTooLarge, kPickleKey (a key or an element of a Set that is not a string, number, Bool
  /// or None), kPickleDuplicateKey (1, 1.0 and True are one key), kPickleText (not UTF-8),
  /// kStorageDtype, and those of tensors, kTensor... and kSparse... (io/error_codes.h).
  Status check(std::span<const TorchStorage> storages) const;

 private:
  friend class TorchValue;
  friend class io::TorchTreeAccess;  // src/io/torch_tree/torch_tree.h
  struct Table;

  std::unique_ptr<Table> table_;  // never null but in an object that was moved from
};

}  // namespace winnow
