// The errors of the torch layer. They are LibTorch's own kinds (c10::ValueError, c10::TypeError,
// c10::IndexError, c10::NotImplementedError, c10::Error), so that Python sees the exception that
// torch.ao raises, and the two below, which c10 has not. All derive from c10::Error; `what()` names
// what was wrong and what would be right.
//
// A call that throws has changed nothing, unless its header says otherwise.
#pragma once

#include <c10/macros/Export.h>
#include <c10/util/Exception.h>

namespace winnow {

/// Where torch.ao raises AssertionError: a type of data, shape or norm that is not supported.
class C10_EXPORT AssertionError : public c10::Error {
 public:
  using Error::Error;
};

/// Where torch.ao raises KeyError: a name that is invalid, taken or missing.
class C10_EXPORT KeyError : public c10::Error {
 public:
  using Error::Error;
};

}  // namespace winnow
