// The only file that includes CLI11, which takes seconds to compile.
#include "arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string_view>
#include <type_traits>

#include "base/status_macros.h"
#include "console.h"
#include "winnow/base/version.h"

namespace winnow::cli {
namespace {

constexpr const char* kInspectExamples = R"(Examples:
  winnow inspect model.safetensors
  winnow inspect model.safetensors --stats --sort sparsity
  winnow inspect checkpoint.ckpt
  winnow inspect model.safetensors --json | jq '.tensors[].name')";

constexpr const char* kPruneExamples = R"(Examples:
  winnow prune model.safetensors -o half.safetensors
  winnow prune model.safetensors -o out.safetensors -s 0.8 --block 1x1
  winnow prune model.safetensors -o out.safetensors --nm 2:4 --exclude '*embeddings*'
  winnow prune model.safetensors -o out.safetensors -s 0.9 --scope global
  winnow prune model.safetensors -o out.safetensors -s 0.5 --level '*query*=0.9' \
               --include 're:encoder\.layer\.[0-9]+\..*weight'
  winnow prune model.safetensors -o out.safetensors --include '*.lora_*' --force '*.ia3_l'
  winnow prune model.safetensors -s 0.8 --dry-run -v
  winnow prune llama/ -o llama-80/ -s 0.8            (a folder with shards)
  winnow prune model.pt -o half.pt
A torch archive stays one, whose values alone are changed, unless OUT ends with .safetensors.
By default prune takes matrices of floats, but not scales of quantized weights, masks, position
tables, biases or statistics. -v lists what it leaves alone and why; --include chooses among the
rest, and --force prunes what it would leave alone.)";

constexpr const char* kVerifyExamples = R"(Examples:
  winnow verify out.safetensors --against model.safetensors
  winnow verify out.safetensors --against model.safetensors -s 0.8 --block 1x1
A pruned torch archive records no settings: give those that it was pruned with.)";

constexpr const char* kCompressExamples = R"(Examples:
  winnow compress pruned.safetensors -o small.safetensors
  winnow prune model.safetensors -o small.safetensors -s 0.9 --compress
  winnow inspect small.safetensors
  winnow decompress small.safetensors -o pruned.safetensors
A compressed file is a safetensors file that lists the same names. It loads with torchwinnow, or
after 'winnow decompress', which gives the input back byte for byte. Of a torch archive (.pt), that
is a safetensors file of its tensors.)";

constexpr const char* kDecompressExamples = R"(Examples:
  winnow decompress small.safetensors -o pruned.safetensors
  winnow decompress small.safetensors --dry-run      (checks every byte of it))";

constexpr const char* kFooter =
    R"(Exit codes: 0 success, 1 a check failed, 2 usage, 3 bad input file, 4 I/O failure.
The environment variable WINNOW_SIMD (scalar, sse4, avx2, avx512) forces a SIMD level.
'winnow COMMAND --help' shows a command's options and examples.)";

// Options take the text as it is: CLI11's own conversions would read "[a]" and "{}" as lists.
// Text is a string, an optional one, or a list for an option that may be repeated.
template <typename Text>
CLI::Option* add_text(CLI::App& app, const char* names, Text& value, const char* type,
                      const char* description) {
  constexpr bool kMany = std::is_same_v<Text, std::vector<std::string>>;
  const auto store = [&value](const CLI::results_t& results) {
    if constexpr (kMany) {
      value = results;
    } else {
      value = results.front();
    }
    return true;
  };
  // One value for each flag: `--include a b` must not take b, which may be the file, as a pattern.
  CLI::Option* option =
      app.add_option(names, store, description)->type_name(type)->allow_extra_args(false);
  return kMany ? option->take_all() : option;
}

void add_settings_flags(CLI::App& app, SettingsFlags& flags) {
  app.option_defaults()->group("Pruning options");
  add_text(app, "-s,--sparsity-level", flags.sparsity_level, "LEVEL",
           "Share of the blocks to prune, 0 to 1 [0.5]");
  add_text(app, "--block", flags.block, "HxW", "Block of values that are scored together [1x4]");
  add_text(app, "--zeros-per-block", flags.zeros_per_block, "N|all",
           "Values to prune in each selected block [all]");
  add_text(app, "--norm", flags.norm, "l1|l2", "Score of a value: |x| or x*x [l1]");
  add_text(app, "--nm", flags.nm, "N:M", "Keep the N largest of each M values along a row");
  add_text(app, "--scope", flags.scope, "tensor|global",
           "Apply the level to each tensor, or once to all [tensor]");
  add_text(app, "--nan", flags.nan, "error|keep", "NaN values: stop, or rank them last [error]");
  add_text(app, "--include", flags.include, "PAT",
           "Prune only what matches (glob, or re:REGEX); may be repeated");
  add_text(app, "--exclude", flags.exclude, "PAT",
           "Never prune what matches; overrides --include and --force");
  add_text(app, "--force", flags.force, "PAT",
           "Prune what matches even if the default rule leaves it alone");
  add_text(app, "--level", flags.levels, "PAT=LEVEL",
           "A different level for what matches; the first match counts");
}

// For the commands that hold tensors.
void add_memory_flag(CLI::App& app, RunFlags& flags) {
  app.option_defaults()->group("Run options");
  add_text(app, "--max-memory", flags.max_memory, "SIZE",
           "Memory to use, such as 2G; never changes the result [512M]");
}

void add_run_flags(CLI::App& app, RunFlags& flags, const char* verbose_description) {
  app.option_defaults()->group("Run options");
  add_text(app, "-j,--threads", flags.threads, "N",
           "Number of threads; never changes the result [all cores]");
  app.add_flag("--json", flags.json, "Print one JSON object instead of tables");
  CLI::Option* quiet = app.add_flag("-q,--quiet", flags.quiet, "Print errors (and --json) only");
  app.add_flag("-v,--verbose", flags.verbose, verbose_description)->excludes(quiet);
  app.add_flag("--no-progress", flags.no_progress, "No progress bar, even on a terminal");
}

CLI::App* add_inspect(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand("inspect", "List the tensors of a checkpoint");
  add_text(*command, "FILE", arguments.file, "",
           "A safetensors file, index, folder or torch archive (.pt, .bin, .ckpt)")
      ->required();
  command->add_flag("--stats", arguments.stats, "Read the values: zeros, range, NaN, infinities");
  add_text(*command, "--sort", arguments.sort, "size|name|sparsity",
           "Order of the list; sparsity implies --stats [file order]");
  add_run_flags(*command, arguments.run, "Also print the seconds of each stage");
  command->footer(kInspectExamples);
  return command;
}

// Where the result goes.
void add_output_flags(CLI::App& app, Arguments& arguments) {
  add_text(app, "-o,--output", arguments.output, "OUT",
           "The file to write; of a folder, a new folder or one .safetensors file");
  app.add_flag("--dry-run", arguments.dry_run, "Read, compute and print; write nothing");
  CLI::Option* overwrite = app.add_flag("--overwrite", arguments.overwrite,
                                        "Replace OUT if it exists; it may be FILE itself");
  app.add_flag("--overwrite-blob", arguments.overwrite_blob,
               "Even if its name is a hash, as in Hugging Face's cache")
      ->needs(overwrite);
  app.add_flag("--in-place", arguments.in_place,
               "Replace FILE itself, or all shards of a folder or none; without -o");
}

CLI::App* add_prune(CLI::App& app, Arguments& arguments) {
  CLI::App* command =
      app.add_subcommand("prune", "Set the least important values of a file to zero");
  add_text(*command, "FILE", arguments.file, "",
           "The safetensors file, index, folder or torch archive to prune")
      ->required();
  add_output_flags(*command, arguments);
  command->add_flag("--compress", arguments.compress,
                    "Write a compressed file, as 'winnow compress' does");
  add_settings_flags(*command, arguments.settings);
  add_memory_flag(*command, arguments.run);
  add_run_flags(*command, arguments.run,
                "List what is not pruned, with reasons, and the seconds of each stage");
  command->footer(kPruneExamples);
  return command;
}

CLI::App* add_verify(CLI::App& app, Arguments& arguments) {
  CLI::App* command =
      app.add_subcommand("verify",
                         "Compute the masks of --against again and compare OUT bit for bit.\n"
                         "Without pruning options, the settings in OUT's metadata apply");
  add_text(*command, "OUT", arguments.file, "", "The pruned file or folder")->required();
  add_text(*command, "--against", arguments.against, "FILE", "What OUT was made from")->required();
  add_settings_flags(*command, arguments.settings);
  add_memory_flag(*command, arguments.run);
  add_run_flags(*command, arguments.run, "Also print the seconds of each stage");
  command->footer(kVerifyExamples);
  return command;
}

CLI::App* add_compress(CLI::App& app, Arguments& arguments) {
  CLI::App* command =
      app.add_subcommand("compress", "Make a file smaller without losing a bit: pruned ones most");
  add_text(*command, "FILE", arguments.file, "",
           "The safetensors file, index, folder or torch archive to compress")
      ->required();
  add_output_flags(*command, arguments);
  command->option_defaults()->group("Compression options");
  add_text(*command, "--include", arguments.settings.include, "PAT",
           "Compress only what matches (glob, or re:REGEX); may be repeated");
  add_text(*command, "--exclude", arguments.settings.exclude, "PAT",
           "Store what matches as it is; overrides --include");
  add_memory_flag(*command, arguments.run);
  add_run_flags(*command, arguments.run, "List the tensors, and the seconds of each stage");
  command->footer(kCompressExamples);
  return command;
}

CLI::App* add_decompress(CLI::App& app, Arguments& arguments) {
  CLI::App* command =
      app.add_subcommand("decompress", "Give back the file that was compressed, byte for byte");
  add_text(*command, "FILE", arguments.file, "", "The compressed file or folder")->required();
  add_output_flags(*command, arguments);
  add_memory_flag(*command, arguments.run);
  add_run_flags(*command, arguments.run, "List the tensors, and the seconds of each stage");
  command->footer(kDecompressExamples);
  return command;
}

// CLI11 does not say which word it did not know.
Status check_command(int argc, const char* const* argv) {
  const std::string_view word = argc > 1 ? argv[1] : "";
  constexpr std::string_view kCommands[] = {"inspect", "prune", "verify", "compress", "decompress"};
  if (std::find(std::begin(kCommands), std::end(kCommands), word) != std::end(kCommands) ||
      word.starts_with('-'))
    return Status();
  return Status(ErrorCode::kInvalidArgument,
                "expected a command (inspect, prune, verify, compress or decompress), found '" +
                    shown(word) + "' (see winnow --help)");
}

// CLI11's message, which repeats what was typed, on one line.
std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return shown(text);
}

}  // namespace

Result<std::optional<Arguments>> parse_arguments(int argc, const char* const* argv,
                                                 std::string& text) {
  WINNOW_RETURN_IF_ERROR(check_command(argc, argv));
  Arguments arguments;
  CLI::App app("winnow prunes tensors: it sets their least important values to zero.", "winnow");
  app.set_version_flag("--version", "winnow " WINNOW_VERSION);
  app.require_subcommand(1);
  app.footer(kFooter);
  const std::pair<CLI::App*, Command> commands[] = {
      {add_inspect(app, arguments), Command::kInspect},
      {add_prune(app, arguments), Command::kPrune},
      {add_verify(app, arguments), Command::kVerify},
      {add_compress(app, arguments), Command::kCompress},
      {add_decompress(app, arguments), Command::kDecompress}};
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    text = app.help();  // that of the command, if one was named
    return std::optional<Arguments>();
  } catch (const CLI::CallForVersion& version) {
    text = std::string(version.what()) + "\n";
    return std::optional<Arguments>();
  } catch (const CLI::ParseError& error) {
    return Status(ErrorCode::kInvalidArgument, one_line(error.what()) + " (see winnow --help)");
  }
  for (const auto& [app_of_command, command] : commands) {
    if (app_of_command->parsed()) arguments.command = command;
  }
  return std::optional<Arguments>(std::move(arguments));
}

}  // namespace winnow::cli
