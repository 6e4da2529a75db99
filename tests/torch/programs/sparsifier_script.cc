// Runs scripts of calls on DataNormSparsifier, for tests/python/test_torch_sparsifier.py, which
// runs the same ones on upstream's.
//
//   sparsifier_script SCRIPTS.json TENSORS.safetensors OUT.safetensors
//
// SCRIPTS is a list of {"options": {...}, "calls": [...]}; the tensors' names are what "add" calls
// mention. OUT gets, for script I, `I/mask/NAME` and `I/read/NAME` of every name after the last
// call, and its metadata holds the names in order and the sparsifier's text.
#include <torch/torch.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/safetensors.h"
#include "winnow/torch/schedules.h"

namespace {

using nlohmann::json;
using Tensors = torch::OrderedDict<std::string, at::Tensor>;

winnow::NamedValues config_of(const json& values) {
  winnow::NamedValues config;
  for (const auto& [key, value] : values.items()) {
    if (value.is_array()) {
      config.set(
          key,
          winnow::NamedValues{{key, {value[0].get<int64_t>(), value[1].get<int64_t>()}}}.at(key));
    } else if (value.is_number_integer()) {
      config.set(key, value.get<int64_t>());
    } else {
      config.set(key, value.get<double>());
    }
  }
  return config;
}

std::unique_ptr<winnow::DataNormSparsifier> sparsifier_of(const json& options) {
  return std::make_unique<winnow::DataNormSparsifier>(winnow::DataNormSparsifierOptions{
      .sparsity_level = options["sparsity_level"],
      .sparse_block_shape = {options["block"][0].get<int64_t>(),
                             options["block"][1].get<int64_t>()},
      .zeros_per_block = options["zeros_per_block"].get<int64_t>(),
      .norm = options["norm"] == "L1" ? winnow::Norm::kL1 : winnow::Norm::kL2});
}

/// One sparsifier and its scheduler, through one script.
class Script {
 public:
  Script(const json& script, const Tensors& tensors)
      : options_(script["options"]), tensors_(tensors), sparsifier_(sparsifier_of(options_)) {
    for (const json& call : script["calls"]) run(call);
  }

  const winnow::DataNormSparsifier& sparsifier() const { return *sparsifier_; }

 private:
  void run(const json& call) {
    const auto kind = call["call"].get<std::string>();
    if (kind == "add") {
      at::Tensor tensor = tensors_[call["tensor"].get<std::string>()].clone();
      if (call["parameter"].get<bool>()) tensor.requires_grad_();
      sparsifier_->add_data(
          call["name"], tensor,
          {.config = config_of(call["config"]), .reuse_mask = call["reuse_mask"]});
    } else if (kind == "step") {
      sparsifier_->step();
    } else if (kind == "squash") {
      sparsifier_->squash_mask(call["names"].get<std::vector<std::string>>(), call["leave"]);
    } else if (kind == "schedule") {
      scheduler_ = std::make_unique<winnow::StepDataScheduler>(
          *sparsifier_, winnow::StepDataSchedulerOptions{.gamma = call["gamma"]});
    } else if (kind == "schedule_step") {
      scheduler_->step();
    } else {
      reload();
    }
  }

  void reload() {
    const auto state = sparsifier_->state_dict();
    scheduler_.reset();
    sparsifier_ = sparsifier_of(options_);
    sparsifier_->load_state_dict(state);
  }

  const json& options_;
  const Tensors& tensors_;
  std::unique_ptr<winnow::DataNormSparsifier> sparsifier_;
  std::unique_ptr<winnow::StepDataScheduler> scheduler_;
};

}  // namespace

int main(int, char** argv) try {
  const json scripts = json::parse(std::ifstream(argv[1]));
  const Tensors tensors = winnow::load_safetensors(argv[2]);
  Tensors out;
  json names = json::array(), texts = json::array();
  for (size_t i = 0; i < scripts.size(); ++i) {
    const Script script(scripts[i], tensors);
    names.push_back(script.sparsifier().names());
    texts.push_back(script.sparsifier().text());
    for (const std::string& name : script.sparsifier().names()) {
      out.insert(c10::str(i, "/mask/", name), script.sparsifier().get_mask(name));
      out.insert(c10::str(i, "/read/", name), script.sparsifier().get_data(name, false).detach());
    }
  }
  winnow::save_safetensors(argv[3], out,
                           {.metadata = {{"names", names.dump()}, {"texts", texts.dump()}}});
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
