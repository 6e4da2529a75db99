// Private: reads a file of compressed tensors (container.h) as the file that it was made of.
#pragma once

#include <memory>
#include <string>

#include "winnow/checkpoint/checkpoint_reader.h"

namespace winnow::checkpoint {

/// `file` is a container. Errors: see open_checkpoint.
Result<std::unique_ptr<CheckpointReader>> open_compressed(SafetensorsFile file,
                                                          const std::string& path);

}  // namespace winnow::checkpoint
