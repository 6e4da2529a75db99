#include "checkpoint/archives/torch_paths.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/safetensors.h"

namespace winnow::checkpoint {
namespace {

// A shared value stands in millions of places, each of which has a path.
constexpr size_t kMaxPathBytes = size_t{256} << 20;

// What checkpoints call the state of their optimizers: that of Lightning, and of most loops.
bool is_optimizer_key(std::string_view key) {
  constexpr std::string_view kKeys[] = {
      "optim",           "optimizer",        "optimizers",
      "optimizer_state", "optimizer_states", "optimizer_state_dict"};
  return std::ranges::find(kKeys, key) != std::end(kKeys);
}

// Python's text of a number, or the string itself.
std::string key_text(TorchValue key) {
  if (const auto text = key.as_string()) return std::string(*text);
  if (const auto number = key.as_int()) return std::to_string(*number);
  if (const auto flag = key.as_bool()) return *flag ? "True" : "False";
  if (const auto real = key.as_float()) {
    char text[32];
    std::snprintf(text, sizeof text, "%.17g", *real);
    return text;
  }
  return "None";
}

class PathList {
 public:
  explicit PathList(const TorchArchive& archive) : archive_(archive) {
    for (size_t i = 0; i < archive.storages().size(); ++i) {
      out_.opaque_uses.push_back(archive.opaque_uses(i));
    }
  }

  Result<TorchPaths> run() {
    WINNOW_RETURN_IF_ERROR(visit(archive_.root(), false));
    WINNOW_RETURN_IF_ERROR(check_names());
    return std::move(out_);
  }

 private:
  // Into a dict by its key, or into a list by a number.
  struct Step {
    std::optional<TorchValue> key;
    size_t index = 0;
  };

  // Recursive, no deeper than a checked tree is.
  Status visit(TorchValue value, bool is_optimizer) {
    switch (value.kind()) {
      case TorchKind::kDict:
        return visit_dict(value, is_optimizer);
      case TorchKind::kList:
      case TorchKind::kTuple:
        for (size_t i = 0; i < value.size(); ++i) {
          WINNOW_RETURN_IF_ERROR(enter({std::nullopt, i}, value[i], is_optimizer));
        }
        return {};
      case TorchKind::kTensor:
        return add_tensor(value, is_optimizer);
      case TorchKind::kSparseTensor:
        hide(value.as_sparse()->indices);
        hide(value.as_sparse()->values);
        return add_opaque("torch.Tensor (sparse_coo)", true);
      case TorchKind::kOpaque:
        return add_opaque(*value.as_opaque(), value.refers_to_storages());
      default:
        ++out_.plain_values;
        return {};
    }
  }

  Status visit_dict(TorchValue dict, bool is_optimizer) {
    for (size_t i = 0; i < dict.size(); ++i) {
      const bool says_so = is_optimizer_key(dict.key(i).as_string().value_or(""));
      WINNOW_RETURN_IF_ERROR(enter({dict.key(i), 0}, dict.value(i), is_optimizer || says_so));
    }
    if (dict.attributes()) hide_tensors(*dict.attributes());
    return {};
  }

  Status enter(const Step& step, TorchValue value, bool is_optimizer) {
    steps_.push_back(step);
    const Status status = visit(value, is_optimizer);
    steps_.pop_back();
    return status;
  }

  // Only for what is listed: a long key may be shared by millions of plain values.
  Result<std::string> path() {
    std::string text;
    for (const Step& step : steps_) {
      if (&step != &steps_.front()) text += '.';
      text += step.key ? key_text(*step.key) : std::to_string(step.index);
      if (text.size() > kMaxNameBytes) {
        return Status(TorchArchiveError::kTensorName,
                      concat("the path \"", escape_name(text.substr(0, 64)), "...\" is over ",
                             kMaxNameBytes, " bytes, which no name of a tensor may be"));
      }
    }
    spent_ += text.size() + sizeof(TorchPath);
    if (spent_ <= kMaxPathBytes) return text;
    return Status(PickleError::kPickleTooLarge,
                  concat("more than ", kMaxPathBytes, " bytes of paths to tensors"));
  }

  Status add_tensor(TorchValue value, bool is_optimizer) {
    WINNOW_ASSIGN_OR_RETURN(std::string name, path());
    if (steps_.empty()) name = "tensor";
    out_.tensors.push_back({std::move(name), value.as_tensor(), is_optimizer});
    return {};
  }

  // Attributes have no path.
  void hide_tensors(TorchValue value) {
    if (const TorchTensor* tensor = value.as_tensor()) hide(*tensor);
    if (const TorchSparseTensor* sparse = value.as_sparse()) {
      hide(sparse->indices);
      hide(sparse->values);
    }
    for (size_t i = 0; i < value.size(); ++i) {
      hide_tensors(value.kind() == TorchKind::kDict ? value.value(i) : value[i]);
    }
    if (value.attributes()) hide_tensors(*value.attributes());
  }

  void hide(const TorchTensor& tensor) { out_.opaque_uses[tensor.storage] = true; }

  Status add_opaque(std::string_view class_name, bool has_tensors) {
    WINNOW_ASSIGN_OR_RETURN(std::string name, path());
    out_.opaque.push_back({std::move(name), std::string(class_name), has_tensors});
    return {};
  }

  Status check_names() const {
    std::vector<std::string_view> names;
    for (const TorchPath& path : out_.tensors) names.push_back(path.name);
    // Not a hash table, which names can be made to collide in.
    std::ranges::sort(names);
    const auto twice = std::ranges::adjacent_find(names);
    if (twice == names.end()) return {};
    return {TorchArchiveError::kTensorName,
            concat("two tensors have the path \"", escape_name(*twice),
                   "\": keys with dots in them make the same names")};
  }

  const TorchArchive& archive_;
  TorchPaths out_;
  std::vector<Step> steps_;  // from the root to where the walk stands
  size_t spent_ = 0;
};

}  // namespace

Result<TorchPaths> list_paths(const TorchArchive& archive) { return PathList(archive).run(); }

}  // namespace winnow::checkpoint
