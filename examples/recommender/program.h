// Shared by the recommender's programs: progress, and errors as one line.
#pragma once

#include <c10/util/Exception.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>

namespace recommender {

/// Prints on standard error what is being done, each line with the seconds so far.
class Progress {
 public:
  void say(const std::string& line) const {
    std::fprintf(stderr, "%6.1f s  %s\n", seconds(), line.c_str());
  }

  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Calls `program`. An exception becomes one line on standard error and the status 1.
template <typename Program>
int run_program(const Program& program) {
  try {
    program();
    return 0;
  } catch (const c10::Error& error) {
    std::cerr << error.what_without_backtrace() << '\n';
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
  }
  return 1;
}

}  // namespace recommender
