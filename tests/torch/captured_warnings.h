// Keeps the warnings of LibTorch instead of printing them.
#pragma once

#include <c10/util/Exception.h>

#include <string>
#include <vector>

namespace winnow::testing {

/// While it lives; warnings that come once in a process come every time.
class CapturedWarnings : public c10::WarningHandler {
 public:
  CapturedWarnings() : guard_(this) {}

  void process(const c10::Warning& warning) override { messages_.push_back(warning.msg()); }

  /// Those since construction, in order.
  const std::vector<std::string>& messages() const { return messages_; }

 private:
  std::vector<std::string> messages_;
  c10::WarningUtils::WarningHandlerGuard guard_;
  c10::WarningUtils::WarnAlways always_{true};
};

}  // namespace winnow::testing
