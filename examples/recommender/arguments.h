// The command lines of the recommender's programs.
#pragma once

#include <cstdint>
#include <string>

namespace recommender {

struct Arguments {
  std::string data;    ///< the folder of the three files
  int64_t seeds = 3;   ///< how many models are trained
  int64_t epochs = 3;  ///< of each training
  std::string csv;     ///< file for the figures; "": none
  std::string svg;     ///< file for the picture; "": none
};

/// Reads a command line. After --help or a wrong argument, prints a message and ends the process:
/// with 0 after --help, with 2 otherwise.
/// @param purpose  one sentence for the help
Arguments parse_arguments(int argc, char** argv, const std::string& purpose);

}  // namespace recommender
