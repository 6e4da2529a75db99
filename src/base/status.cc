#include "winnow/base/status.h"

namespace winnow {

std::string_view error_code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kOk:
      return "Ok";
    case ErrorCode::kInvalidArgument:
      return "InvalidArgument";
    case ErrorCode::kUnknownTensor:
      return "UnknownTensor";
    case ErrorCode::kUnavailableLevel:
      return "UnavailableLevel";
    case ErrorCode::kAlreadyExists:
      return "AlreadyExists";
    case ErrorCode::kSameFile:
      return "SameFile";
    case ErrorCode::kCheckFailed:
      return "CheckFailed";
    case ErrorCode::kIoError:
      return "IoError";
    case ErrorCode::kNotDurable:
      return "NotDurable";
    case ErrorCode::kInputChanged:
      return "InputChanged";
    case ErrorCode::kBusy:
      return "Busy";
    case ErrorCode::kUnsupportedFile:
      return "UnsupportedFile";
    case ErrorCode::kOutOfMemory:
      return "OutOfMemory";
    case ErrorCode::kInterrupted:
      return "Interrupted";
    case ErrorCode::kNanValue:
      return "NanValue";
    case ErrorCode::kBadSettings:
      return "BadSettings";
    case ErrorCode::kFileTooShort:
      return "FileTooShort";
    case ErrorCode::kHeaderTooLarge:
      return "HeaderTooLarge";
    case ErrorCode::kHeaderPastEnd:
      return "HeaderPastEnd";
    case ErrorCode::kHeaderEmpty:
      return "HeaderEmpty";
    case ErrorCode::kHeaderNotUtf8:
      return "HeaderNotUtf8";
    case ErrorCode::kHeaderByteOrderMark:
      return "HeaderByteOrderMark";
    case ErrorCode::kHeaderSyntax:
      return "HeaderSyntax";
    case ErrorCode::kHeaderNotObject:
      return "HeaderNotObject";
    case ErrorCode::kHeaderTrailingBytes:
      return "HeaderTrailingBytes";
    case ErrorCode::kHeaderTooDeep:
      return "HeaderTooDeep";
    case ErrorCode::kEntryNotObject:
      return "EntryNotObject";
    case ErrorCode::kDuplicateTensor:
      return "DuplicateTensor";
    case ErrorCode::kDuplicateField:
      return "DuplicateField";
    case ErrorCode::kUnknownField:
      return "UnknownField";
    case ErrorCode::kMissingField:
      return "MissingField";
    case ErrorCode::kFieldType:
      return "FieldType";
    case ErrorCode::kUnknownDtype:
      return "UnknownDtype";
    case ErrorCode::kRankTooLarge:
      return "RankTooLarge";
    case ErrorCode::kBadDimension:
      return "BadDimension";
    case ErrorCode::kBadOffset:
      return "BadOffset";
    case ErrorCode::kOffsetCount:
      return "OffsetCount";
    case ErrorCode::kOffsetOrder:
      return "OffsetOrder";
    case ErrorCode::kShapeOverflow:
      return "ShapeOverflow";
    case ErrorCode::kSizeMismatch:
      return "SizeMismatch";
    case ErrorCode::kPartialByte:
      return "PartialByte";
    case ErrorCode::kOverlap:
      return "Overlap";
    case ErrorCode::kHole:
      return "Hole";
    case ErrorCode::kDataPastEnd:
      return "DataPastEnd";
    case ErrorCode::kTrailingData:
      return "TrailingData";
    case ErrorCode::kDuplicateMetadata:
      return "DuplicateMetadata";
    case ErrorCode::kMetadataType:
      return "MetadataType";
    case ErrorCode::kDuplicateMetadataKey:
      return "DuplicateMetadataKey";
    case ErrorCode::kNameTooLong:
      return "NameTooLong";
    case ErrorCode::kStringTooLong:
      return "StringTooLong";
    case ErrorCode::kTooMuchMetadata:
      return "TooMuchMetadata";
  }
  return "Unknown";
}

Status Status::with_context(std::string_view context) const {
  if (ok()) return {};
  std::string text(context);
  text.append(": ").append(message());
  return {code(), std::move(text), system_error()};
}

}  // namespace winnow
