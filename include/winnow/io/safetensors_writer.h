// Writes safetensors files: whole or not at all, and never one that the reader would refuse.
//
//   std::string text = safetensors_header_text(tensors, {{"format", "pt"}});
//   Result<SafetensorsWriter> writer = SafetensorsWriter::create(env, path, text, data_bytes);
//   if (!writer.ok()) return writer.status();
//   for (const auto& data : in_the_order_of_offsets) WINNOW_RETURN_IF_ERROR(writer->append(data));
//   return writer->commit();
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "winnow/base/status.h"
#include "winnow/io/atomic_file.h"
#include "winnow/io/safetensors.h"

namespace winnow {

/// A header's text for `tensors`, in their order and with their offsets as they stand, padded with
/// spaces to a multiple of 8 bytes. Names and metadata are escaped as JSON asks; empty metadata is
/// left out. Nothing is checked: `SafetensorsHeader::parse` does that.
std::string safetensors_header_text(std::span<const TensorInfo> tensors, const Metadata& metadata);

/// One file being written. Not thread-safe. Movable; abandons what was not committed.
class SafetensorsWriter {
 public:
  /// Claims `path` as AtomicFile::create does, reserves the disk space, whatever the options' size
  /// hint, and writes the header.
  ///
  /// Besides AtomicFile's errors, those of SafetensorsHeader::parse: a header that describes
  /// anything but exactly `data_bytes` of data is refused before the disk is touched.
  static Result<SafetensorsWriter> create(Env& env, const std::string& path,
                                          const std::string& header_text, uint64_t data_bytes,
                                          AtomicFileOptions options = {});

  /// The file that `commit` puts in place; see AtomicFile::destination.
  const std::string& destination() const noexcept { return file_.destination(); }

  /// Adds the next bytes of the data section. kInvalidArgument: more than `data_bytes` in total.
  /// After an error the file is abandoned.
  Status append(std::span<const std::byte> data);

  /// Puts the file in place as AtomicFile::commit does. kInvalidArgument, and the file is
  /// abandoned, if fewer than `data_bytes` were appended.
  Status commit();

  /// Removes what was written. Harmless after a commit or a second time.
  void abandon() noexcept { file_.abandon(); }

 private:
  SafetensorsWriter(AtomicFile file, uint64_t data_bytes) noexcept
      : file_(std::move(file)), remaining_(data_bytes) {}

  AtomicFile file_;
  uint64_t remaining_;  // bytes of the data section still to come
};

}  // namespace winnow
