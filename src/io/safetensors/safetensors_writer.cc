#include "winnow/io/safetensors_writer.h"

#include <string>

#include "base/status_macros.h"
#include "io/safetensors/header_text.h"
#include "winnow/base/concat.h"
#include "winnow/base/dtype.h"
#include "winnow/io/escape_name.h"

namespace winnow {
namespace {

void append_numbers(std::string& out, std::span<const uint64_t> numbers) {
  out.push_back('[');
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) out.push_back(',');
    out.append(std::to_string(numbers[i]));
  }
  out.push_back(']');
}

void append_entry(std::string& out, const TensorInfo& tensor) {
  io::append_json_string(out, tensor.name);
  out.append(R"(:{"dtype":")").append(dtype_name(tensor.dtype)).append(R"(","shape":)");
  append_numbers(out, tensor.shape);
  const uint64_t offsets[] = {tensor.begin, tensor.end};
  out.append(R"(,"data_offsets":)");
  append_numbers(out, offsets);
  out.push_back('}');
}

}  // namespace

std::string safetensors_header_text(std::span<const TensorInfo> tensors, const Metadata& metadata) {
  // By hand: the order of entries is the caller's, which a JSON object would not keep.
  std::string out = "{";
  if (!metadata.empty()) {
    out.append(R"("__metadata__":)");
    io::append_json_metadata(out, metadata);
  }
  for (const TensorInfo& tensor : tensors) {
    if (out.size() > 1) out.push_back(',');
    append_entry(out, tensor);
  }
  out.push_back('}');
  io::pad_header(out);
  return out;
}

Result<SafetensorsWriter> SafetensorsWriter::create(Env& env, const std::string& path,
                                                    const std::string& header_text,
                                                    uint64_t data_bytes,
                                                    AtomicFileOptions options) {
  // No file is begun that the reader would refuse.
  const Status valid = SafetensorsHeader::parse(header_text, data_bytes).status();
  if (!valid.ok()) return valid.with_context(escape_path(path));
  // A disk that is too small then shows before anything is pruned.
  options.size_hint = io::kLengthBytes + header_text.size() + data_bytes;
  WINNOW_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(env, path, options));
  WINNOW_RETURN_IF_ERROR(file.append(io::encode_length(header_text.size())));
  WINNOW_RETURN_IF_ERROR(file.append(std::as_bytes(std::span(header_text))));
  return SafetensorsWriter(std::move(file), data_bytes);
}

Status SafetensorsWriter::append(std::span<const std::byte> data) {
  // The header is written already and says how much there is.
  if (data.size() > remaining_) {
    abandon();
    return {ErrorCode::kInvalidArgument,
            concat("appended ", data.size(), " bytes where ", remaining_, " are left to write")};
  }
  remaining_ -= data.size();
  return file_.append(data);
}

Status SafetensorsWriter::commit() {
  // The header would promise more than the file holds.
  if (remaining_ != 0) {
    abandon();
    return {ErrorCode::kInvalidArgument,
            concat("committed with ", remaining_, " bytes left to write")};
  }
  return file_.commit();
}

}  // namespace winnow
