#include "winnow/base/status.h"

namespace winnow {

Status Status::with_context(std::string_view context) const {
  if (ok()) return {};
  std::string text(context);
  text.append(": ").append(message());
  return {code(), std::move(text), system_error()};
}

}  // namespace winnow
