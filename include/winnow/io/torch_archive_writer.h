// Writes torch archives that torch.load(weights_only=True) reads: whole or not at all, and never
// one that TorchArchive would refuse.
//
//   Result<TorchArchiveWriter> writer =
//       TorchArchiveWriter::create(env, "model.pt", tree, storages, {.overwrite = true});
//   if (!writer.ok()) return writer.status();
//   for (const auto& bytes : payloads) WINNOW_RETURN_IF_ERROR(writer->append_storage(bytes));
//   return writer->commit();
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "winnow/base/status.h"
#include "winnow/io/atomic_file.h"
#include "winnow/io/env.h"
#include "winnow/io/torch_value.h"

namespace winnow {

/// The pickle of a tree, as torch.save would write it: protocol 2, each shared node once. Equal
/// trees over equal storages give equal bytes.
///
/// Errors: those of TorchTree::check; kPickleTooLarge if it is over kMaxPickleBytes or would
/// take the reader over its limit of nodes; kUnreferencedRecord if no tensor is a view of a
/// storage.
Result<std::string> torch_pickle(const TorchTree& tree, std::span<const TorchStorage> storages);

/// One archive being written. Not thread-safe. Movable; abandons what was not committed.
///
/// Records are stored, 64-byte aligned, with sizes and CRC in their headers; the prefix is
/// "archive", and storages[i] becomes `data/i`. Equal input gives equal bytes.
class TorchArchiveWriter {
 public:
  /// Claims `path` as AtomicFile::create does, reserves the disk space, whatever the options' size
  /// hint, and writes the pickle.
  ///
  /// `storages` are those that `tree` refers to. Besides AtomicFile's errors, those of
  /// `torch_pickle`, before the disk is touched. Nothing of `tree` and `storages` is kept.
  static Result<TorchArchiveWriter> create(Env& env, const std::string& path, const TorchTree& tree,
                                           std::span<const TorchStorage> storages,
                                           AtomicFileOptions options = {});

  /// `other` may only be abandoned, destroyed or assigned to afterwards.
  TorchArchiveWriter(TorchArchiveWriter&& other) noexcept;

  /// The same. Abandons what this object had not committed.
  TorchArchiveWriter& operator=(TorchArchiveWriter&& other) noexcept;
  ~TorchArchiveWriter();

  /// Writes the payload of the next storage, the first call that of storages[0] and so on: all of
  /// it, which is read twice (for the CRC, then to be written).
  ///
  /// kInvalidArgument: one storage too many, or not exactly its bytes. After an error the file is
  /// abandoned.
  Status append_storage(std::span<const std::byte> payload);

  /// Writes the directory and puts the file in place as AtomicFile::commit does. kInvalidArgument,
  /// and the file is abandoned, if payloads are missing.
  Status commit();

  /// Removes what was written. Harmless after a commit or a second time.
  void abandon() noexcept;

 private:
  struct State;
  explicit TorchArchiveWriter(std::unique_ptr<State> state) noexcept;

  std::unique_ptr<State> state_;  // null once moved from
};

}  // namespace winnow
