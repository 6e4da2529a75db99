// The errors of the torch layer: LibTorch's own types (c10::ValueError, c10::TypeError,
// c10::IndexError, c10::NotImplementedError, c10::Error) and the two below, which c10 lacks. They
// match the exceptions that torch.ao raises in Python. All derive from c10::Error; `what()` says
// what was found and what was expected.
//
// A call that throws has changed nothing, unless its header says otherwise.
#pragma once

#include <c10/macros/Export.h>
#include <c10/util/Exception.h>

namespace winnow {

/// Thrown instead of torch.ao's AssertionError: for an unsupported type of data, shape or norm.
class C10_EXPORT AssertionError : public c10::Error {
 public:
  using Error::Error;
};

/// Thrown instead of torch.ao's KeyError: for a name that is invalid, taken or missing.
class C10_EXPORT KeyError : public c10::Error {
 public:
  using Error::Error;
};

}  // namespace winnow
