// PRIVATE. The errors of the layers below, as exceptions of LibTorch's kinds.
#pragma once

#include <c10/util/Exception.h>

#include <utility>

#include "winnow/base/status.h"

namespace winnow {

/// Throws where `status` is an error, with its message: kInvalidArgument is c10::ValueError, all
/// others are c10::Error.
inline void check_ok(const Status& status) {
  TORCH_CHECK_VALUE(status.code() != ErrorCode::kInvalidArgument, status.message());
  TORCH_CHECK(status.ok(), status.message());
}

/// The value; an error throws likewise.
template <typename T>
T value_of(Result<T> result) {
  check_ok(result.status());
  return std::move(result).value();
}

}  // namespace winnow
