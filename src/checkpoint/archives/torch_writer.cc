#include "checkpoint/archives/torch_writer.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "checkpoint/archives/torch_reader.h"
#include "checkpoint/files/container.h"
#include "checkpoint/masks/chunks.h"
#include "checkpoint/shards/checkpoint_folder.h"
#include "io/torch_tree/torch_rows.h"
#include "winnow/base/concat.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/torch_archive_copy.h"

namespace winnow::checkpoint {
namespace {

// Puts values, row-major, into their places in `region`, whose first byte is byte `begin` of the
// storage.
void scatter(const TorchTensor& view, std::span<const std::byte> values, uint64_t begin,
             std::span<std::byte> region) {
  const size_t bytes = dtype_bits(view.dtype) / 8;
  const uint64_t elements = io::row_elements(view), stride = io::row_stride(view);
  const std::byte* from = values.data();
  io::for_each_row(view, [&](uint64_t at) {
    for (uint64_t i = 0; i < elements; ++i, from += bytes) {
      std::memcpy(&region[(at + i * stride) * bytes - begin], from, bytes);
    }
  });
}

class TorchWriter final : public CheckpointWriter {
 public:
  TorchWriter(const TorchReader& input, TorchArchiveCopy copy)
      : input_(input), copy_(std::move(copy)), order_(data_order(input.tensors())) {
    skip_empty();
  }

  const std::string& destination() const noexcept override { return copy_.destination(); }
  uint64_t file_bytes() const noexcept override { return input_.file_bytes(); }

  Status append(std::span<const std::byte> data) override try {
    while (!data.empty()) {
      if (at_ == order_.size()) {
        return {ErrorCode::kInvalidArgument, "appended more bytes than the tensors have"};
      }
      const uint64_t left = input_.tensors()[order_[at_]].bytes() - taken_;
      const auto part = data.first(std::min<uint64_t>(left, data.size()));
      WINNOW_RETURN_IF_ERROR(append_part(order_[at_], part));
      data = data.subspan(part.size());
      taken_ += part.size();
      if (part.size() < left) continue;
      WINNOW_RETURN_IF_ERROR(end_tensor(order_[at_]));
      taken_ = 0;
      ++at_;
      skip_empty();
    }
    return {};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::kOutOfMemory, "not enough memory for a tensor that is not contiguous"};
  }

  Status finish() override {
    if (at_ < order_.size()) {
      return {ErrorCode::kInvalidArgument, "finished with bytes left to write"};
    }
    WINNOW_RETURN_IF_ERROR(flush_region());
    return copy_.finish();
  }

  Status commit() override {
    WINNOW_RETURN_IF_ERROR(finish());
    return copy_.commit();
  }

 private:
  void skip_empty() {
    while (at_ < order_.size() && input_.tensors()[order_[at_]].bytes() == 0) ++at_;
  }

  // What the values of this tensor are to be is not known from them alone.
  bool is_left(size_t tensor) const {
    const std::optional<FixedReason> fixed = input_.fixed()[tensor];
    return fixed && *fixed != FixedReason::kOptimizer;
  }

  // Whether a tensor lies among others that are not contiguous.
  bool meets_region(const TorchTensor& view) const {
    return !region_.empty() && view.storage == region_storage_ &&
           range_of(view).begin < region_begin_ + region_.size();
  }

  Status append_part(size_t tensor, std::span<const std::byte> part) {
    const TorchTensor& view = input_.view(tensor);
    if (is_left(tensor)) return {};
    if (!view.is_contiguous() || meets_region(view)) {
      values_.insert(values_.end(), part.begin(), part.end());
      return {};
    }
    WINNOW_RETURN_IF_ERROR(flush_region());
    return copy_.replace(view.storage, range_of(view).begin + taken_, part);
  }

  Status end_tensor(size_t tensor) {
    if (values_.empty()) return {};
    const TorchTensor& view = input_.view(tensor);
    if (!meets_region(view)) {
      WINNOW_RETURN_IF_ERROR(flush_region());
      region_storage_ = view.storage;
      region_begin_ = range_of(view).begin;
    }
    // The values between those of the tensor are the input's, or those of others that follow.
    const size_t known = region_.size();
    region_.resize(std::max<size_t>(known, range_of(view).end - region_begin_));
    WINNOW_RETURN_IF_ERROR(input_.archive().read_range(view.storage, region_begin_ + known,
                                                       std::span(region_).subspan(known)));
    scatter(view, values_, region_begin_, region_);
    values_.clear();
    return {};
  }

  Status flush_region() {
    if (region_.empty()) return {};
    const Status status = copy_.replace(region_storage_, region_begin_, region_);
    region_.clear();
    return status;
  }

  const TorchReader& input_;
  TorchArchiveCopy copy_;
  std::vector<size_t> order_;
  size_t at_ = 0;                  // the tensor that comes next, in the order of the data
  uint64_t taken_ = 0;             // bytes of it that were appended
  std::vector<std::byte> values_;  // of a tensor that is not contiguous, so far
  // A part of a storage, with the values of the tensors that were appended.
  std::vector<std::byte> region_;
  uint32_t region_storage_ = 0;
  uint64_t region_begin_ = 0;
};

bool ends_with_any(std::string_view path, std::initializer_list<std::string_view> suffixes) {
  return std::ranges::any_of(suffixes, [&](std::string_view s) { return path.ends_with(s); });
}

Status wrong_output(const OutputJob& job, const std::string& text) {
  return in_file(job.path, Status(ErrorCode::kInvalidArgument, text));
}

Status check_safetensors_output(const TorchReader& input, const OutputJob& job) {
  const auto opaque = std::ranges::find_if(input.opaque_values(), &OpaqueValue::has_tensors);
  if (opaque != input.opaque_values().end()) {
    return wrong_output(job, concat("'", escape_name(opaque->path), "', of the class ",
                                    escape_name(opaque->class_name),
                                    ", has tensors that a safetensors file cannot hold; write to a "
                                    "torch archive (.pt), or save the file without it first"));
  }
  if (input.part()) {
    return wrong_output(job,
                        concat("tensor '", escape_name(*input.part()),
                               "' is a part or another view of one that is stored under "
                               "another name, which a safetensors file cannot tell; write to a "
                               "torch archive (.pt), or save a clone() of it first"));
  }
  for (const auto& [alias, tensor] : input.metadata()) {
    if (!alias.starts_with("winnow.")) continue;
    return wrong_output(
        job, concat("tensor '", escape_name(alias), "', which is stored as '", escape_name(tensor),
                    "', has a name that winnow keeps for itself"));
  }
  return {};
}

}  // namespace

bool stays_torch_archive(const OutputJob& job) noexcept {
  return as_torch_reader(job.input) != nullptr && !job.path.ends_with(kFileSuffix);
}

Status check_torch_output(const OutputJob& job) {
  const TorchReader* input = as_torch_reader(job.input);
  if (input == nullptr) {
    if (!ends_with_any(job.path, {".pt", ".pth", ".ckpt"})) return {};
    return wrong_output(job,
                        "a torch archive is only made of a torch archive; expected a name that "
                        "ends with .safetensors");
  }
  if (!stays_torch_archive(job)) return check_safetensors_output(*input, job);
  if (!job.compress) return {};
  return wrong_output(job,
                      "a torch archive cannot hold compressed tensors; expected a name that "
                      "ends with .safetensors");
}

Result<std::unique_ptr<CheckpointWriter>> create_torch_writer(const OutputJob& job) {
  const TorchReader& input = *as_torch_reader(job.input);
  WINNOW_ASSIGN_OR_RETURN(
      TorchArchiveCopy copy,
      TorchArchiveCopy::create(job.env, job.path, input.archive(), job.options));
  return std::unique_ptr<CheckpointWriter>(std::make_unique<TorchWriter>(input, std::move(copy)));
}

}  // namespace winnow::checkpoint
