// Writes a copy of a torch archive in which some elements have other values. Every other byte of
// the file is the input's: records, their places and padding, the pickle.
//
//   Result<TorchArchiveCopy> copy = TorchArchiveCopy::create(env, "pruned.pt", archive);
//   if (!copy.ok()) return copy.status();
//   WINNOW_RETURN_IF_ERROR(copy->replace(storage, offset, bytes));
//   return copy->commit();
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "winnow/base/status.h"
#include "winnow/io/atomic_file.h"
#include "winnow/io/env.h"
#include "winnow/io/torch_archive.h"

namespace winnow {

/// One archive being written. Not thread-safe. Movable; abandons what was not committed.
///
/// The input is read from its first byte to its last, and the CRC of each of its records is
/// verified on the way, so that a damaged one never gets a right checksum. Of an archive without
/// checksums the copy has none either. Memory: 1 MiB, and 4 bytes for each record.
class TorchArchiveCopy {
 public:
  /// Claims `path` as AtomicFile::create does, with the input's size as the size hint. `archive`
  /// and `env` outlive the object. Errors: those of AtomicFile::create.
  static Result<TorchArchiveCopy> create(Env& env, const std::string& path,
                                         const TorchArchive& archive,
                                         AtomicFileOptions options = {});

  /// `other` may only be destroyed or assigned to afterwards; so with the assignment.
  TorchArchiveCopy(TorchArchiveCopy&& other) noexcept;
  TorchArchiveCopy& operator=(TorchArchiveCopy&& other) noexcept;
  ~TorchArchiveCopy();

  /// The file that `commit` puts in place; see AtomicFile::destination.
  const std::string& destination() const noexcept;

  /// Puts `data` in the place of the bytes of storage `index` from `offset` on, and copies all that
  /// stands before. Calls come in the order of the file: by the records of the storages, and by
  /// offsets in one.
  ///
  /// kInvalidArgument: no such storage, the range leaves it, or it begins before the end of the
  /// last one. kZipCrc: a record of the input is damaged. kInputChanged, kIoError: the input cannot
  /// be read; or kIoError of the output. After an error the file is abandoned.
  Status replace(size_t index, uint64_t offset, std::span<const std::byte> data);

  /// Copies the rest and sets the checksums of the records whose bytes differ.
  /// Errors: those of `replace` but kInvalidArgument. To be called by those who want to know of
  /// them before they commit.
  Status finish();

  /// Finishes the file, checks that the input did not change meanwhile (kInputChanged), and puts it
  /// in place as AtomicFile::commit does.
  Status commit();

 private:
  struct State;
  explicit TorchArchiveCopy(std::unique_ptr<State> state) noexcept;

  std::unique_ptr<State> state_;
};

}  // namespace winnow
