#include "base/status_macros.h"
#include "checkpoint/files/checkpoint_writer.h"
#include "winnow/io/safetensors_writer.h"

namespace winnow::checkpoint {
namespace {

class PlainWriter final : public CheckpointWriter {
 public:
  PlainWriter(SafetensorsWriter writer, uint64_t file_bytes)
      : writer_(std::move(writer)), file_bytes_(file_bytes) {}

  const std::string& destination() const noexcept override { return writer_.destination(); }
  Status append(std::span<const std::byte> data) override { return writer_.append(data); }
  Status commit() override { return writer_.commit(); }
  uint64_t file_bytes() const noexcept override { return file_bytes_; }

 private:
  SafetensorsWriter writer_;
  uint64_t file_bytes_;
};

}  // namespace

Result<std::unique_ptr<CheckpointWriter>> create_plain_writer(const WriterInputs& inputs) {
  WINNOW_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                          SafetensorsWriter::create(inputs.env, inputs.path, inputs.header_text,
                                                    inputs.data_bytes, inputs.options));
  const uint64_t bytes = sizeof(uint64_t) + inputs.header_text.size() + inputs.data_bytes;
  return std::unique_ptr<CheckpointWriter>(std::make_unique<PlainWriter>(std::move(writer), bytes));
}

}  // namespace winnow::checkpoint
