// safetensors_copy IN OUT: loads IN by LibTorch's types and saves what it loaded; for
// tests/python/test_torch_safetensors.py.
#include <cstdio>

#include "winnow/torch/safetensors.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    winnow::save_safetensors(argv[2], winnow::load_safetensors(argv[1]));
  } catch (const c10::Error& error) {
    std::fprintf(stderr, "%s\n", error.what_without_backtrace());
    return 1;
  }
  return 0;
}
