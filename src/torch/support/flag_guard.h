// PRIVATE. A flag that is true while a call runs.
#pragma once

namespace winnow::internal {

/// Sets the flag to true in its constructor and to false in its destructor.
class FlagGuard {
 public:
  explicit FlagGuard(bool& flag) : flag_(flag) { flag_ = true; }
  ~FlagGuard() { flag_ = false; }
  FlagGuard(const FlagGuard&) = delete;
  FlagGuard& operator=(const FlagGuard&) = delete;

 private:
  bool& flag_;
};

}  // namespace winnow::internal
