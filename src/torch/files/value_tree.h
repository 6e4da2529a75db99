// PRIVATE. LibTorch's values as trees of torch archives, and back.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "winnow/io/torch_archive.h"
#include "winnow/io/torch_value.h"

namespace winnow::internal {

/// Where in a nested value a walk is, for messages; its text is made only when it is asked for.
class Place {
 public:
  void enter(size_t index) { steps_.emplace_back(static_cast<int64_t>(index)); }
  /// The key has to outlive the step.
  void enter(std::string_view key) { steps_.emplace_back(key); }
  void enter_key(int64_t key) { steps_.emplace_back(key); }
  void leave() { steps_.pop_back(); }
  size_t depth() const { return steps_.size(); }

  /// " at ['state'][0]"; empty at the root.
  std::string text() const;

 private:
  std::vector<std::variant<int64_t, std::string_view>> steps_;
};

/// A tree with the storages that its tensors are views of, and for each the tensor that fills it:
/// contiguous, on the CPU.
struct ValueTree {
  TorchTree tree;
  std::vector<TorchStorage> storages;
  std::vector<at::Tensor> payloads;
};

/// c10::ValueError naming the place of what cannot be in an archive.
ValueTree tree_of(const c10::IValue& value);

/// The root of the archive in `path`, with all storages read, each node made once. c10::Error of
/// the reader, or naming the place of what no c10::IValue can hold.
c10::IValue value_of_tree(const TorchArchive& archive, const std::string& path);

/// The same for one value of the archive's tree: what stands beside it is not read.
c10::IValue value_of_node(const TorchArchive& archive, const std::string& path, TorchValue value);

/// Whether read_into can write the tensor of an archive to `to`: the same shape and dtype, and a
/// place of its own for each value.
bool can_read_into(const TorchTensor& from, const at::Tensor& to);

/// Writes the elements of `from` to `to`; where both lie in one piece, without memory in between.
/// Precondition: can_read_into. c10::Error of the reader.
void read_into(const TorchArchive& archive, const TorchTensor& from, const at::Tensor& to);

}  // namespace winnow::internal
