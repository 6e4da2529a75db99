winnow_add_layer(io
  SOURCES io/safetensors_header.cc
  DEPENDS base
  PRIVATE_LIBRARIES $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>)
