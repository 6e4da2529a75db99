// PRIVATE. TORCH_CHECK for the two kinds of error that c10 has not.
#pragma once

#include <c10/util/StringUtil.h>

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
