// Private: early return on error, for functions that return Status or Result.
#pragma once

#include <utility>

#include "winnow/base/status.h"

#define WINNOW_RETURN_IF_ERROR(expr)                 \
  do {                                               \
    ::winnow::Status winnow_status_ = (expr);        \
    if (!winnow_status_.ok()) return winnow_status_; \
  } while (false)

#define WINNOW_CONCAT_INNER(a, b) a##b
#define WINNOW_CONCAT(a, b) WINNOW_CONCAT_INNER(a, b)

// WINNOW_ASSIGN_OR_RETURN(auto value, function()): assigns the value or returns the error.
// NOLINTBEGIN(bugprone-macro-parentheses): the target is a declaration.
#define WINNOW_ASSIGN_OR_RETURN(target, expr) \
  WINNOW_ASSIGN_OR_RETURN_NAMED(WINNOW_CONCAT(winnow_result_, __LINE__), target, expr)
#define WINNOW_ASSIGN_OR_RETURN_NAMED(result, target, expr) \
  auto result = (expr);                                     \
  if (!result.ok()) return result.status();                 \
  target = std::move(result).value()
// NOLINTEND(bugprone-macro-parentheses)
