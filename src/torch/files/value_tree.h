// PRIVATE. Converts LibTorch's values to trees of torch archives, and back.
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

/// The position of a walk in a nested value, for messages. The text is made only on demand.
class Place {
 public:
  void enter(size_t index) { steps_.emplace_back(static_cast<int64_t>(index)); }
  /// The key must outlive the step.
  void enter(std::string_view key) { steps_.emplace_back(key); }
  void enter_key(int64_t key) { steps_.emplace_back(key); }
  void leave() { steps_.pop_back(); }
  size_t depth() const { return steps_.size(); }

  /// Returns a text such as " at ['state'][0]"; empty at the root.
  std::string text() const;

 private:
  std::vector<std::variant<int64_t, std::string_view>> steps_;
};

/// A tree with the storages of its tensors, and for each storage a contiguous tensor on the CPU
/// with its content.
struct ValueTree {
  TorchTree tree;
  std::vector<TorchStorage> storages;
  std::vector<at::Tensor> payloads;
};

/// Converts a value. Throws c10::ValueError, with the place, for a value that cannot be in an
/// archive.
ValueTree tree_of(const c10::IValue& value);

/// Returns the root of the archive at `path`, with all storages read and each node made once.
/// Throws c10::Error for errors of the reader and, with the place, for a value that c10::IValue
/// cannot hold.
c10::IValue value_of_tree(const TorchArchive& archive, const std::string& path);

/// Does the same for one value of the archive's tree. Nothing else is read.
c10::IValue value_of_node(const TorchArchive& archive, const std::string& path, TorchValue value);

/// Returns true if read_into can write `from` to `to`: they have the same shape and dtype, and the
/// elements of `to` do not share memory.
bool can_read_into(const TorchTensor& from, const at::Tensor& to);

/// Writes the elements of `from` to `to`, directly if `to` is contiguous on the CPU, otherwise
/// through a copy. Precondition: can_read_into. Throws c10::Error for errors of the reader.
void read_into(const TorchArchive& archive, const TorchTensor& from, const at::Tensor& to);

}  // namespace winnow::internal
