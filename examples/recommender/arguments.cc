#include "arguments.h"

#include <CLI/CLI.hpp>
#include <cstdlib>

namespace recommender {

Arguments parse_arguments(int argc, char** argv, const std::string& purpose) {
  Arguments arguments;
  CLI::App app(purpose);
  app.add_option("--data", arguments.data, "folder of ml-100k.inter, .user and .item")->required();
  app.add_option("--seeds", arguments.seeds, "how many models are trained")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str();
  app.add_option("--epochs", arguments.epochs, "of each training")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str();
  app.add_option("--csv", arguments.csv, "file for the figures of every run");
  app.add_option("--svg", arguments.svg, "file for the picture");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  return arguments;
}

}  // namespace recommender
