#include "winnow/checkpoint/save_tensors.h"

#include <algorithm>
#include <new>

#include "base/status_macros.h"
#include "checkpoint/files/checkpoint_writer.h"
#include "checkpoint/files/container.h"
#include "checkpoint/masks/chunks.h"
#include "winnow/base/concat.h"
#include "winnow/base/utf8.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/safetensors_writer.h"

namespace winnow {

using namespace checkpoint;

namespace {

constexpr size_t kStep = 4 * kChunkBytes;  // between two looks at signals

// The header would have other bytes in the place of those that are not UTF-8.
Status check_utf8(std::string_view what, const std::string& text) {
  if (find_invalid_utf8(text) == text.size()) return Status();
  return Status(ErrorCode::kInvalidArgument,
                concat(what, ": expected UTF-8, found '", escape_name(text), "'"));
}

Status check_texts(const SaveJob& job, std::span<const TensorData> tensors) {
  // Its readers would take the ordinary tensors for compressed ones.
  if (is_container(job.metadata)) {
    return Status(ErrorCode::kInvalidArgument,
                  concat("metadata: '", kCompressedKey, "' marks a compressed file"));
  }
  for (const auto& [key, value] : job.metadata) {
    WINNOW_RETURN_IF_ERROR(check_utf8("metadata", key));
    WINNOW_RETURN_IF_ERROR(check_utf8("metadata", value));
  }
  for (const TensorData& tensor : tensors) {
    WINNOW_RETURN_IF_ERROR(check_utf8("name", tensor.name));
  }
  return Status();
}

// The tensors in the order of the file.
std::vector<const TensorData*> sorted(std::span<const TensorData> tensors) {
  std::vector<const TensorData*> order;
  for (const TensorData& tensor : tensors) order.push_back(&tensor);
  std::ranges::stable_sort(order, [](const TensorData* a, const TensorData* b) {
    return a->dtype != b->dtype ? a->dtype > b->dtype : a->name < b->name;
  });
  return order;
}

Status append(CheckpointWriter& writer, std::span<const std::byte> bytes, Progress& progress) {
  while (!bytes.empty()) {
    WINNOW_RETURN_IF_ERROR(check_cancelled(progress));
    const auto part = bytes.first(std::min(bytes.size(), kStep));
    WINNOW_RETURN_IF_ERROR(writer.append(part));
    progress.advance(part.size());
    bytes = bytes.subspan(part.size());
  }
  return Status();
}

}  // namespace

Status save_tensors(Env& env, const SaveJob& job, std::span<const TensorData> tensors,
                    ParallelFor& threads, Progress& progress) try {
  WINNOW_RETURN_IF_ERROR(in_file(job.output, check_texts(job, tensors)));
  const std::vector<const TensorData*> order = sorted(tensors);
  std::vector<TensorInfo> infos;
  uint64_t end = 0;
  for (const TensorData* tensor : order) {
    const uint64_t begin = end;
    end += tensor->bytes.size();
    infos.push_back({tensor->name, tensor->dtype, tensor->shape, begin, end});
  }
  const std::string header = safetensors_header_text(infos, job.metadata);
  const WriterInputs inputs{env,
                            job.output,
                            header,
                            end,
                            {.overwrite = job.overwrite, .overwrite_blob = job.overwrite_blob}};
  WINNOW_ASSIGN_OR_RETURN(const auto writer, create_file_writer(inputs, job.compress, {}, threads));
  progress.begin("save", end);
  for (const TensorData* tensor : order) {
    WINNOW_RETURN_IF_ERROR(append(*writer, tensor->bytes, progress));
  }
  WINNOW_RETURN_IF_ERROR(check_cancelled(progress));
  return writer->commit();
} catch (const std::bad_alloc&) {
  return in_file(job.output, Status(ErrorCode::kOutOfMemory, "not enough memory"));
}

}  // namespace winnow
