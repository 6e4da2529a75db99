#include "winnow/io/safetensors_writer.h"

#include <string>

#include "io/json_text.h"
#include "winnow/base/dtype.h"

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

}  // namespace winnow
