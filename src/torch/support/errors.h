// PRIVATE. How the layer throws: errors of the layers below as exceptions of LibTorch's kinds, and
// TORCH_CHECK for the two kinds of error that c10 has not.
#pragma once

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <utility>

#include "winnow/base/status.h"
#include "winnow/torch/error.h"

#define WINNOW_CHECK_AS(Kind, condition, ...)                                 \
  if (!(condition)) [[unlikely]]                                              \
  throw ::winnow::Kind({__func__, __FILE__, static_cast<uint32_t>(__LINE__)}, \
                       ::c10::str(__VA_ARGS__))

/// Throws winnow::AssertionError with the rest as its message unless the condition holds.
#define WINNOW_CHECK_ASSERTION(condition, ...) \
  WINNOW_CHECK_AS(AssertionError, condition, __VA_ARGS__)

/// Throws winnow::KeyError likewise.
#define WINNOW_CHECK_KEY(condition, ...) WINNOW_CHECK_AS(KeyError, condition, __VA_ARGS__)

namespace winnow::internal {

/// Throws if `status` is an error, with its message: kInvalidArgument is c10::ValueError, all
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

}  // namespace winnow::internal
