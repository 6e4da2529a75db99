// A data sparsifier's state for tests/python/test_torch_files.py.
//
//   state_copy IN OUT packed|torch_ao
//
// IN is a state, which is loaded and written again; or a safetensors file, whose tensors are
// sparsified, those whose names start with "squashed" squashed.
#include <iostream>
#include <string>

#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/safetensors.h"
#include "winnow/torch/torch_file.h"

namespace {

void sparsify(winnow::DataNormSparsifier& sparsifier, const std::string& path) {
  for (const auto& item : winnow::load_safetensors(path)) {
    sparsifier.add_data(item.key(), item.value());
  }
  sparsifier.step();
  for (const std::string& name : sparsifier.names()) {
    if (name.starts_with("squashed")) sparsifier.squash_mask({name});
  }
}

}  // namespace

int main(int, char** argv) try {
  const std::string in = argv[1], format = argv[3];
  winnow::DataNormSparsifier sparsifier;
  if (in.ends_with(".safetensors")) {
    sparsify(sparsifier, in);
  } else {
    sparsifier.load_state_dict(winnow::to_sparsifier_state(winnow::load_torch_file(in)));
  }
  const auto mask_format =
      format == "packed" ? winnow::MaskFormat::kPacked : winnow::MaskFormat::kTorchAo;
  winnow::save_torch_file(argv[2],
                          winnow::to_value(sparsifier.state_dict({.mask_format = mask_format})));
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
