// The codes of malformed files, one for each kind of fault; ErrorCode has those that are not of a
// format. Numbers are never reused. docs/safetensors.md, docs/torch_archive.md and docs/journal.md
// describe each code and the order in which a reader checks.
#pragma once

#include "winnow/base/status.h"

namespace winnow {

/// 100 to 199: a malformed safetensors file.
struct SafetensorsError {
  /// Under 8 bytes: no header length.
  static constexpr StatusCode kFileTooShort = {100, "FileTooShort"};
  /// A header length over 100,000,000 bytes.
  static constexpr StatusCode kHeaderTooLarge = {101, "HeaderTooLarge"};
  /// A header length over what the file holds.
  static constexpr StatusCode kHeaderPastEnd = {102, "HeaderPastEnd"};
  static constexpr StatusCode kHeaderEmpty = {103, "HeaderEmpty"};  ///< header length 0
  /// Invalid UTF-8, a surrogate included.
  static constexpr StatusCode kHeaderNotUtf8 = {104, "HeaderNotUtf8"};
  /// The header starts with U+FEFF.
  static constexpr StatusCode kHeaderByteOrderMark = {105, "HeaderByteOrderMark"};
  static constexpr StatusCode kHeaderSyntax = {106, "HeaderSyntax"};  ///< not JSON by RFC 8259
  /// The top level is not an object.
  static constexpr StatusCode kHeaderNotObject = {107, "HeaderNotObject"};
  /// Something other than spaces after the closing brace.
  static constexpr StatusCode kHeaderTrailingBytes = {108, "HeaderTrailingBytes"};
  /// Nested deeper than the format's three levels.
  static constexpr StatusCode kHeaderTooDeep = {109, "HeaderTooDeep"};
  /// A tensor's entry is not an object.
  static constexpr StatusCode kEntryNotObject = {110, "EntryNotObject"};
  /// Two entries with one name (escapes resolved).
  static constexpr StatusCode kDuplicateTensor = {111, "DuplicateTensor"};
  /// `dtype`, `shape` or `data_offsets` twice in an entry.
  static constexpr StatusCode kDuplicateField = {112, "DuplicateField"};
  /// A field other than those three.
  static constexpr StatusCode kUnknownField = {113, "UnknownField"};
  static constexpr StatusCode kMissingField = {114, "MissingField"};
  /// A field's value is of the wrong JSON type.
  static constexpr StatusCode kFieldType = {115, "FieldType"};
  static constexpr StatusCode kUnknownDtype = {116, "UnknownDtype"};
  static constexpr StatusCode kRankTooLarge = {117, "RankTooLarge"};  ///< more than 64 dimensions
  /// Negative, fractional, exponent or at least 2^63.
  static constexpr StatusCode kBadDimension = {118, "BadDimension"};
  /// Negative, fractional, exponent or at least 2^64.
  static constexpr StatusCode kBadOffset = {119, "BadOffset"};
  /// `data_offsets` does not have exactly two numbers.
  static constexpr StatusCode kOffsetCount = {120, "OffsetCount"};
  static constexpr StatusCode kOffsetOrder = {121, "OffsetOrder"};  ///< begin > end
  /// End - begin differs from shape times dtype.
  static constexpr StatusCode kSizeMismatch = {123, "SizeMismatch"};
  /// A sub-byte dtype that does not end on a byte.
  static constexpr StatusCode kPartialByte = {124, "PartialByte"};
  static constexpr StatusCode kOverlap = {125, "Overlap"};  ///< two tensors share bytes
  /// Bytes that belong to no tensor, before or between tensors.
  static constexpr StatusCode kHole = {126, "Hole"};
  /// A tensor ends past the end of the file.
  static constexpr StatusCode kDataPastEnd = {127, "DataPastEnd"};
  /// Bytes after the last tensor.
  static constexpr StatusCode kTrailingData = {128, "TrailingData"};
  /// `__metadata__` twice.
  static constexpr StatusCode kDuplicateMetadata = {129, "DuplicateMetadata"};
  /// `__metadata__` is neither null nor an object of strings.
  static constexpr StatusCode kMetadataType = {130, "MetadataType"};
  static constexpr StatusCode kDuplicateMetadataKey = {131, "DuplicateMetadataKey"};
  static constexpr StatusCode kNameTooLong = {132, "NameTooLong"};  ///< a tensor name over 64 KiB
  static constexpr StatusCode kStringTooLong = {133, "StringTooLong"};  ///< any string over 8 MiB
  /// `__metadata__` with more than 262,144 entries.
  static constexpr StatusCode kTooMuchMetadata = {134, "TooMuchMetadata"};
};

/// 201 to 218: a zip file that is malformed or not what torch writes.
struct ZipError {
  static constexpr StatusCode kNotZip = {201, "NotZip"};  ///< the file does not start with a record
  /// The file does not end with an end record: cut short, or bytes behind it.
  static constexpr StatusCode kZipEnd = {202, "ZipEnd"};
  static constexpr StatusCode kZipDisks = {203, "ZipDisks"};  ///< more than one disk
  /// Zip64 fields that disagree with the others, or are not as many.
  static constexpr StatusCode kZip64Mismatch = {204, "Zip64Mismatch"};
  /// The directory is not as long, or not where, the end record says.
  static constexpr StatusCode kZipDirectory = {205, "ZipDirectory"};
  /// The end record counts other records than there are, or too many.
  static constexpr StatusCode kZipRecordCount = {206, "ZipRecordCount"};
  /// A record's header has another signature, or is cut short.
  static constexpr StatusCode kZipHeader = {207, "ZipHeader"};
  /// Empty, not UTF-8, a NUL, a backslash, a leading slash or dots as a directory.
  static constexpr StatusCode kZipName = {208, "ZipName"};
  /// A record outside the directory of the first one.
  static constexpr StatusCode kZipPrefix = {209, "ZipPrefix"};
  static constexpr StatusCode kZipDuplicate = {210, "ZipDuplicate"};  ///< two records of one name
  /// Encrypted, or flags, attributes or a version that torch does not set.
  static constexpr StatusCode kZipFlags = {211, "ZipFlags"};
  /// A record that is not stored.
  static constexpr StatusCode kZipCompressed = {212, "ZipCompressed"};
  /// A comment, or an extra field that torch does not write.
  static constexpr StatusCode kZipExtra = {213, "ZipExtra"};
  /// A record's own header differs from the directory's.
  static constexpr StatusCode kZipLocalMismatch = {214, "ZipLocalMismatch"};
  /// A record ends past the directory's start.
  static constexpr StatusCode kZipPastEnd = {215, "ZipPastEnd"};
  static constexpr StatusCode kZipOverlap = {216, "ZipOverlap"};  ///< two records share bytes
  static constexpr StatusCode kZipHole = {217, "ZipHole"};  ///< bytes that belong to no record
  /// A payload's CRC-32 is not the one in the directory.
  static constexpr StatusCode kZipCrc = {218, "ZipCrc"};
};

/// 230 to 249: the pickle of a torch archive.
struct PickleError {
  static constexpr StatusCode kPickleProtocol = {230, "PickleProtocol"};  ///< not protocol 2
  /// An opcode that plain data do not need.
  static constexpr StatusCode kPickleOpcode = {231, "PickleOpcode"};
  /// An argument or the end is missing.
  static constexpr StatusCode kPickleTruncated = {232, "PickleTruncated"};
  static constexpr StatusCode kPickleTrailing = {233, "PickleTrailing"};  ///< bytes behind the end
  /// An opcode finds too few values or no mark, or the end too many.
  static constexpr StatusCode kPickleStack = {234, "PickleStack"};
  /// A memo that was not written, is written twice or is out of range.
  static constexpr StatusCode kPickleMemo = {235, "PickleMemo"};
  static constexpr StatusCode kPickleTooDeep = {236, "PickleTooDeep"};  ///< nested deeper than 500
  static constexpr StatusCode kPickleTooLarge = {237, "PickleTooLarge"};  ///< too many nodes
  /// A name that is not on the list, whether UTF-8 or not.
  static constexpr StatusCode kPickleGlobal = {238, "PickleGlobal"};
  /// A name called with arguments that torch.save does not write.
  static constexpr StatusCode kPickleCall = {239, "PickleCall"};
  /// An item, entry or state for a value that takes none.
  static constexpr StatusCode kPickleTarget = {240, "PickleTarget"};
  /// A key or set element other than a string, number, bool or None.
  static constexpr StatusCode kPickleKey = {241, "PickleKey"};
  /// A key or set element twice.
  static constexpr StatusCode kPickleDuplicateKey = {242, "PickleDuplicateKey"};
  static constexpr StatusCode kPickleText = {243, "PickleText"};  ///< a string that is not UTF-8
  static constexpr StatusCode kPickleInt = {244, "PickleInt"};  ///< an integer of more than 64 bits
  /// A storage or name where data should be.
  static constexpr StatusCode kPickleValue = {245, "PickleValue"};
  /// A value that contains itself.
  static constexpr StatusCode kPickleCycle = {246, "PickleCycle"};
  /// A persistent id that does not name a storage as torch.save does.
  static constexpr StatusCode kStorageId = {247, "StorageId"};
  /// One storage with two types or sizes.
  static constexpr StatusCode kStorageMismatch = {248, "StorageMismatch"};
};

/// 200, 219 to 229 and from 250 on: a torch archive as a whole, its records and its tensors.
struct TorchArchiveError {
  /// A tar file or plain pickle, as torch wrote them before 1.6.
  static constexpr StatusCode kLegacyArchive = {200, "LegacyArchive"};
  /// Written without any CRC-32, and that was not asked for.
  static constexpr StatusCode kNoChecksums = {219, "NoChecksums"};
  /// A TorchScript module: code, not data.
  static constexpr StatusCode kTorchScript = {220, "TorchScript"};
  /// A record that no data archive has.
  static constexpr StatusCode kUnknownRecord = {221, "UnknownRecord"};
  /// No `data.pkl`, no `version`, or no payload of a storage.
  static constexpr StatusCode kMissingRecord = {222, "MissingRecord"};
  /// A payload that no tensor refers to.
  static constexpr StatusCode kUnreferencedRecord = {223, "UnreferencedRecord"};
  /// A version other than 3.
  static constexpr StatusCode kArchiveVersion = {224, "ArchiveVersion"};
  static constexpr StatusCode kBigEndian = {225, "BigEndian"};  ///< a byte order other than little
  /// A small record whose text is not what torch writes.
  static constexpr StatusCode kBadRecord = {226, "BadRecord"};
  /// `data.pkl` over 64 MiB, or a small record over 64 bytes.
  static constexpr StatusCode kRecordTooLarge = {227, "RecordTooLarge"};
  /// A payload that is not as long as its storage.
  static constexpr StatusCode kRecordSize = {228, "RecordSize"};
  /// A type that winnow does not have, or that does not fit the storage.
  static constexpr StatusCode kStorageDtype = {250, "StorageDtype"};
  static constexpr StatusCode kTensorRank = {251, "TensorRank"};  ///< more than 64 dimensions
  /// Negative, over 63 bits in all, or not as many strides.
  static constexpr StatusCode kTensorShape = {252, "TensorShape"};
  /// A negative stride or offset.
  static constexpr StatusCode kTensorStride = {253, "TensorStride"};
  /// An element outside the storage.
  static constexpr StatusCode kTensorBounds = {254, "TensorBounds"};
  static constexpr StatusCode kTensorHooks = {255, "TensorHooks"};  ///< hooks or other Python state
  /// A sparse layout other than COO.
  static constexpr StatusCode kSparseLayout = {256, "SparseLayout"};
  /// Indices, values and shape that do not fit together.
  static constexpr StatusCode kSparseShape = {257, "SparseShape"};
  /// An index outside its dimension.
  static constexpr StatusCode kSparseIndex = {258, "SparseIndex"};
  /// Two entries with the same indices.
  static constexpr StatusCode kSparseDuplicate = {259, "SparseDuplicate"};
  /// Marked as coalesced, but not in order.
  static constexpr StatusCode kSparseOrder = {260, "SparseOrder"};
  /// Two tensors whose paths make one name, or a path that is too long for a name.
  static constexpr StatusCode kTensorName = {262, "TensorName"};
  /// `requires_grad` of integers or bools.
  static constexpr StatusCode kTensorGrad = {261, "TensorGrad"};
};

/// 280 to 289: what an interrupted change of several files left, see docs/journal.md.
struct JournalError {
  /// A journal that is not what AtomicFileSet writes.
  static constexpr StatusCode kBadJournal = {280, "BadJournal"};
  /// A file that the journal speaks of is missing, or has another size or kind.
  static constexpr StatusCode kJournalMismatch = {281, "JournalMismatch"};
};

}  // namespace winnow
