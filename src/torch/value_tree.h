// PRIVATE. LibTorch's values as trees of torch archives, and back.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <vector>

#include "winnow/io/torch_archive.h"
#include "winnow/io/torch_value.h"

namespace winnow {

/// A tree with the storages that its tensors are views of, and for each the tensor that fills it:
/// contiguous, on the CPU.
struct ValueTree {
  TorchTree tree;
  std::vector<TorchStorage> storages;
  std::vector<at::Tensor> payloads;
};

/// c10::ValueError naming the place of what cannot be in an archive.
ValueTree tree_of(const c10::IValue& value);

/// The archive's root, with all storages read. c10::Error of the reader, or naming the place of
/// what no c10::IValue can hold.
c10::IValue value_of_tree(const TorchArchive& archive);

}  // namespace winnow
