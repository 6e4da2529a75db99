// Any bytes as a safetensors file. What is accepted has to keep the promises of safetensors.h.
//
//   python3 fuzz/safetensors_header_seeds.py seeds
//   safetensors_header_fuzzer -dict=fuzz/safetensors_header_fuzzer.dict -timeout=5 corpus seeds
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "winnow/base/checked.h"
#include "winnow/base/dtype.h"
#include "winnow/io/escape_name.h"
#include "winnow/io/safetensors.h"
#include "winnow/io/safetensors_writer.h"

namespace {

using winnow::Metadata;
using winnow::Result;
using winnow::SafetensorsHeader;
using winnow::TensorInfo;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_tensor(const TensorInfo& tensor, uint64_t data_bytes) {
  require(tensor.begin <= tensor.end && tensor.end <= data_bytes);
  require(tensor.shape.size() <= winnow::kMaxRank);
  require(tensor.name.size() <= winnow::kMaxNameBytes);
  const auto bits = winnow::checked_mul(tensor.numel(), winnow::dtype_bits(tensor.dtype));
  require(bits && *bits % 8 == 0 && *bits / 8 == tensor.bytes());
}

// The tensors fill the data section, so their sizes add up to it.
void check_tensors(const SafetensorsHeader& header, uint64_t data_bytes) {
  uint64_t total = 0;
  for (const TensorInfo& tensor : header.tensors()) {
    check_tensor(tensor, data_bytes);
    total += tensor.bytes();
  }
  require(total == data_bytes);
}

bool same(const TensorInfo& a, const TensorInfo& b) {
  return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && a.begin == b.begin &&
         a.end == b.end;
}

// `text` has to say what `header` does, but for the metadata.
void check_same(const SafetensorsHeader& header, std::string text, const Metadata& metadata,
                uint64_t data_bytes) {
  require(text.size() % 8 == 0);
  const Result<SafetensorsHeader> again = SafetensorsHeader::parse(std::move(text), data_bytes);
  require(again.ok());
  require(again->metadata() == metadata);
  require(again->tensors().size() == header.tensors().size());
  for (size_t i = 0; i < header.tensors().size(); ++i) {
    require(same(header.tensors()[i], again->tensors()[i]));
  }
}

void check_message(const winnow::Status& status) {
  require(!status.ok() && !status.message().empty());
  for (const char c : status.message()) require(static_cast<uint8_t>(c) >= 0x20);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  const Result<SafetensorsHeader> header = SafetensorsHeader::parse_image(file);
  if (!header.ok()) {
    check_message(header.status());
    return 0;
  }
  const uint64_t data_bytes = size - 8 - header->text().size();
  check_tensors(*header, data_bytes);
  check_same(*header, header->text_with_metadata(header->metadata()), header->metadata(),
             data_bytes);
  const Metadata other = {{"new \"key\"", "value\n"}};
  check_same(*header, header->text_with_metadata(other), other, data_bytes);
  const std::string rewritten =
      winnow::safetensors_header_text(header->tensors(), header->metadata());
  check_same(*header, rewritten, header->metadata(), data_bytes);
  return 0;
}
