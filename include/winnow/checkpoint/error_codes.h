// The codes of sharded checkpoints that are malformed, one for each kind of fault. Numbers are
// never reused. docs/shards.md describes each and the order in which a reader checks.
#pragma once

#include "winnow/base/status.h"

namespace winnow {

/// 300 to 399: an index file, or a folder whose files do not fit together.
struct ShardError {
  /// An index of over 100,000,000 bytes.
  static constexpr StatusCode kIndexTooLarge = {300, "IndexTooLarge"};
  /// Invalid UTF-8, or U+FEFF at the start.
  static constexpr StatusCode kIndexNotUtf8 = {301, "IndexNotUtf8"};
  static constexpr StatusCode kIndexSyntax = {302, "IndexSyntax"};  ///< not JSON by RFC 8259
  /// The top level is not an object.
  static constexpr StatusCode kIndexNotObject = {303, "IndexNotObject"};
  /// Nested deeper than 64 levels.
  static constexpr StatusCode kIndexTooDeep = {304, "IndexTooDeep"};
  /// A key of the index, or of its `metadata`, twice.
  static constexpr StatusCode kDuplicateIndexKey = {305, "DuplicateIndexKey"};
  /// A tensor twice in `weight_map` (escapes resolved).
  static constexpr StatusCode kDuplicateIndexTensor = {306, "DuplicateIndexTensor"};
  /// No `weight_map`, or one without tensors.
  static constexpr StatusCode kMissingWeightMap = {307, "MissingWeightMap"};
  /// `weight_map` is not an object of strings.
  static constexpr StatusCode kWeightMapType = {308, "WeightMapType"};
  /// A shard's name that is none of a file in the index's own folder.
  static constexpr StatusCode kShardName = {309, "ShardName"};
  /// `metadata` is neither null nor an object, or its `total_size` is no size.
  static constexpr StatusCode kIndexMetadataType = {310, "IndexMetadataType"};
  static constexpr StatusCode kTooManyShards = {311, "TooManyShards"};  ///< more than 4,096
  /// A shard that the index names is not there.
  static constexpr StatusCode kMissingShard = {312, "MissingShard"};
  /// A tensor that its shard does not have.
  static constexpr StatusCode kTensorNotInShard = {313, "TensorNotInShard"};
  /// A tensor of a shard that the index does not name.
  static constexpr StatusCode kTensorNotInIndex = {314, "TensorNotInIndex"};
  static constexpr StatusCode kTensorInTwoShards = {315, "TensorInTwoShards"};
  /// A folder with several checkpoints, of which readers would take one or another.
  static constexpr StatusCode kAmbiguousFolder = {316, "AmbiguousFolder"};
  /// A folder whose files are being replaced, or were when a run was killed.
  static constexpr StatusCode kInterruptedFolder = {317, "InterruptedFolder"};
};

}  // namespace winnow
