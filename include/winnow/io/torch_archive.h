// A strict reader of torch archives: the files of torch.save, a zip of stored records around a
// pickle. No byte of a file is trusted and nothing in it is executed: the pickle is read as data,
// by a short list of opcodes and names. docs/torch_archive.md has the format and what is refused.
//
//   Result<TorchArchive> archive = TorchArchive::open(Env::posix(), "model.pt");
//   if (!archive.ok()) return archive.status();
//   for (size_t i = 0; i < archive->storages().size(); ++i) {
//     std::vector<std::byte> bytes(archive->storages()[i].bytes());
//     WINNOW_RETURN_IF_ERROR(archive->read_storage(i, bytes));
//   }
//   use(archive->root());
//   return archive->check_unchanged();
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "winnow/base/status.h"
#include "winnow/io/env.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/torch_value.h"

namespace winnow {

class InputFile;

/// The longest pickle ("data.pkl") that is read or written.
inline constexpr size_t kMaxPickleBytes = 64 << 20;
/// The most records of an archive that is read or written.
inline constexpr size_t kMaxTorchRecords = 1'000'000;

/// The most memory that opening an archive takes, the result included, whatever the file. Measured
/// of a file that is at all limits at once: 642 MB.
inline constexpr size_t kMaxTorchOpenBytes = size_t{768} << 20;

/// One record of the archive's zip file.
struct TorchRecord {
  std::string name;     ///< without the archive's prefix: "data.pkl", "data/0"
  uint64_t offset = 0;  ///< of the payload in the file
  uint64_t bytes = 0;
  uint32_t crc32 = 0;  ///< as the zip's directory has it
};

/// Allows files that are refused by default.
struct TorchOpenOptions {
  /// Whether an archive without checksums is read: one that torch.save wrote after
  /// torch.serialization.set_crc32_options(False). Without it, that is kNoChecksums. All else is
  /// checked as ever, but a flipped bit in a payload goes unnoticed. Of an archive that has
  /// checksums, all are verified whatever stands here.
  bool allow_missing_checksums = false;

  /// Whether what plain data do not need is kept as opaque values (TorchKind::kOpaque), of which
  /// only the class is known: objects of other classes, calls of other functions, storages of other
  /// types, dicts with keys that have no name. Without it, each is an error. Nothing is called
  /// either way, and files that are malformed are refused as ever.
  bool keep_unknown = false;
};

/// An open archive: its zip structure and its pickle were checked, its payloads were not read.
/// Movable; const members may be called from several threads at once.
///
/// Every error of a file that is malformed or not supported has a code of its own (200 and up in
/// io/error_codes.h). Messages start with the path and name the record, and the opcode and its
/// offset if a pickle is at fault.
class TorchArchive {
 public:
  /// Opens and checks `path`; symbolic links are followed. Reads the zip's directory, the headers
  /// of all records, and the pickle, whose CRC is verified; no payload of a storage.
  ///
  /// kIoError: it cannot be opened or read. kUnsupportedFile: a directory, FIFO, device or dangling
  /// link (never blocks). kInputChanged: it was cut short meanwhile. kOutOfMemory. kNoChecksums:
  /// see the options. Else a code of the malformed kinds. `env` outlives the object.
  ///
  /// Memory, the result included, is at most kMaxTorchOpenBytes, whatever the file: the pickle has
  /// 64 MiB at most, there are 2^21 nodes on the way to the tree, 64 MiB of tensors, items and
  /// storages, and 10^6 records. Of a usual file it is about 100 bytes a node.
  static Result<TorchArchive> open(Env& env, const std::string& path,
                                   const TorchOpenOptions& options = {});

  /// The same for any source of bytes, called `name` in messages.
  static Result<TorchArchive> open(std::unique_ptr<RandomAccessFile> file, const std::string& name,
                                   const TorchOpenOptions& options = {});

  /// `other` may only be destroyed or assigned to afterwards; so with the assignment.
  TorchArchive(TorchArchive&& other) noexcept;
  TorchArchive& operator=(TorchArchive&& other) noexcept;
  ~TorchArchive();

  /// The saved object. `tree().check(storages())` holds.
  const TorchTree& tree() const noexcept;
  /// The value at its root.
  TorchValue root() const noexcept { return tree().root(); }

  /// The storages in the order of their numbers in the file. The tensors of the tree refer to them
  /// by index.
  std::span<const TorchStorage> storages() const noexcept;

  /// The record that holds storage `index`. Precondition: index < storages().size().
  const TorchRecord& storage_record(size_t index) const noexcept;

  /// Whether an opaque value refers to storage `index`: whoever writes other bytes to it changes
  /// what nobody knows the meaning of. Precondition: index < storages().size().
  bool opaque_uses(size_t index) const noexcept;

  /// The size of the pickle.
  uint64_t pickle_bytes() const noexcept;

  /// Whether what is read is verified by checksums; false only if the options allow it.
  bool has_checksums() const noexcept;

  /// The file as it was when opened.
  const FileIdentity& identity() const noexcept;

  /// Fills `out` with the whole of storage `index`, in one pass, and verifies its CRC if
  /// has_checksums(). Allocates nothing.
  ///
  /// kInvalidArgument: no such storage, or `out` is not exactly as long; nothing is read.
  /// kZipCrc: the payload is not the one that was written. kInputChanged: the file got shorter.
  /// kIoError: the read failed. After an error the content of `out` is unspecified and not to be
  /// used.
  Status read_storage(size_t index, std::span<std::byte> out) const;

  /// Fills `out` with the bytes of storage `index` from `offset` on. The CRC is not verified, which
  /// is that of the whole record: call check_storage for that. Allocates nothing.
  ///
  /// kInvalidArgument: no such storage, or the range leaves it; nothing is read. Else as
  /// read_storage.
  Status read_range(size_t index, uint64_t offset, std::span<std::byte> out) const;

  /// Reads the whole of storage `index` through a small buffer and verifies its CRC, for callers
  /// that check all before they change anything. Errors as read_storage.
  Status check_storage(size_t index) const;

  /// Fills `out` with the elements of `tensor`, row-major and without gaps. `tensor` is one of
  /// tree()'s, its indices and values of sparse tensors included.
  ///
  /// Allocates the tensor's storage unless `out` has room for exactly that and the tensor is all of
  /// it in order. Errors as read_storage, and kOutOfMemory.
  Status read_tensor(const TorchTensor& tensor, std::span<std::byte> out) const;

  /// Reads a sparse tensor of tree() and checks what only the payload shows.
  ///
  /// @param indices  [sparse dimensions, nnz], row-major
  /// @param values   [nnz, dense dimensions...], row-major, nnz times the dtype's bytes in all
  ///
  /// kSparseIndex: an index is negative or not below its dimension. kSparseDuplicate: two entries
  /// have the same indices. kSparseOrder: the tensor says that it is coalesced, and the entries are
  /// not in row-major order. Else as read_tensor. Takes O(nnz log nnz) and 8 bytes an entry if
  /// the entries are not in order.
  Status read_sparse(const TorchSparseTensor& tensor, std::span<int64_t> indices,
                     std::span<std::byte> values) const;

  /// kInputChanged if the file's size, times or identity differ from those at `open`. What was
  /// read is to be trusted only if this holds after the last read.
  Status check_unchanged() const;

 private:
  friend class TorchArchiveCopy;
  struct State;
  explicit TorchArchive(std::unique_ptr<State> state) noexcept;
  static Result<TorchArchive> load(InputFile file, const TorchOpenOptions& options);

  std::unique_ptr<State> state_;  // null once moved from
};

}  // namespace winnow
