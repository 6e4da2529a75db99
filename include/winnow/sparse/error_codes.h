// The codes of malformed compressed tensors, one for each kind of fault. Numbers are never reused.
// docs/formats.md says in which order a reader checks.
#pragma once

#include "winnow/base/status.h"

namespace winnow {

/// 400 to 419: a compressed tensor that is damaged, or that this version cannot read.
struct SparseError {
  /// The bytes end before what they are said to hold.
  static constexpr StatusCode kSparseTruncated = {400, "SparseTruncated"};
  /// Bytes behind the last thing that is described.
  static constexpr StatusCode kSparseTrailing = {401, "SparseTrailing"};
  /// The last bytes are not those of a compressed tensor.
  static constexpr StatusCode kSparseMagic = {402, "SparseMagic"};
  /// A format version that this reader does not know.
  static constexpr StatusCode kSparseVersion = {403, "SparseVersion"};
  /// Sizes that differ from those of the tensor that is described.
  static constexpr StatusCode kSparseSize = {404, "SparseSize"};
  /// The checksum over the stored bytes differs: they were damaged.
  static constexpr StatusCode kSparseStoredChecksum = {405, "SparseStoredChecksum"};
  /// The checksum over the decoded values differs.
  static constexpr StatusCode kSparseValueChecksum = {406, "SparseValueChecksum"};
  /// A kind of positions, values or streams that the format or the tensor's type does not have.
  static constexpr StatusCode kSparseUnknownKind = {407, "SparseUnknownKind"};
  /// Positions outside of the chunk, of another number than said, or with a parameter out of its
  /// range; a sign where no value was dropped.
  static constexpr StatusCode kSparsePositions = {408, "SparsePositions"};
  /// A stream that libzstd does not decode to the size that is expected.
  static constexpr StatusCode kSparseStream = {409, "SparseStream"};
  /// Coded values that stand for none: an index that is too large, escapes that do not match, a
  /// parameter out of its range.
  static constexpr StatusCode kSparseValues = {410, "SparseValues"};
  /// A file whose names, types or shapes differ from those that it is said to be made of.
  static constexpr StatusCode kSparseContainer = {411, "SparseContainer"};
  /// The front of a chunk: a reserved byte that is not 0, groups of no value or of more than the
  /// chunk has, more kept groups than groups.
  static constexpr StatusCode kSparseFront = {412, "SparseFront"};
};

/// 420 to 429: a file of compressed-tensors' formats sparse-bitmask and sparse-24-bitmask, or its
/// config.json.
struct BitmaskError {
  /// A weight of which `.compressed`, `.bitmask` or `.shape` is missing.
  static constexpr StatusCode kBitmaskParts = {420, "BitmaskParts"};
  /// `.shape` is not a list of 1 to 64 dimensions.
  static constexpr StatusCode kBitmaskShape = {421, "BitmaskShape"};
  /// A part of another type or shape than that of the weight asks for.
  static constexpr StatusCode kBitmaskSize = {422, "BitmaskSize"};
  /// Not as many values as bits that are set.
  static constexpr StatusCode kBitmaskCount = {423, "BitmaskCount"};
  /// A bit is set behind the last value of a row.
  static constexpr StatusCode kBitmaskPadding = {424, "BitmaskPadding"};
  /// `.row_offsets` contradict the bits.
  static constexpr StatusCode kBitmaskRowOffsets = {425, "BitmaskRowOffsets"};
  /// Of four values of a 2:4 weight, not two are stored.
  static constexpr StatusCode kBitmaskPattern = {426, "BitmaskPattern"};
  /// A config.json that is not JSON, or that describes weights of another format.
  static constexpr StatusCode kSparsityConfig = {427, "SparsityConfig"};
};

}  // namespace winnow
