# LibTorch out of the wheel of PyTorch, as `torch`, without what its own CMake files ask for besides: those of
# a wheel with CUDA stop where the toolkit is not installed, though the torch layer calls nothing of it.
#
#   cmake ... -DTorch_DIR=cmake/torch_of_wheel -DWINNOW_TORCH_OF_WHEEL=.../site-packages/torch
#
# `./dev test torch-2.14` builds the layer's tests by it. Those who deploy take LibTorch's own files.
set(WINNOW_TORCH_OF_WHEEL "" CACHE PATH "The folder of the installed Python package torch")
file(GLOB winnow_torch_version_file ${WINNOW_TORCH_OF_WHEEL}/share/cmake/Torch/TorchConfigVersion.cmake)
if(NOT winnow_torch_version_file)
  set(Torch_FOUND FALSE)
  set(Torch_NOT_FOUND_MESSAGE "WINNOW_TORCH_OF_WHEEL is '${WINNOW_TORCH_OF_WHEEL}', which is no installed torch")
  return()
endif()
file(STRINGS ${winnow_torch_version_file} winnow_torch_line REGEX "set\\(PACKAGE_VERSION ")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" Torch_VERSION "${winnow_torch_line}")

if(NOT TARGET torch)
  add_library(torch INTERFACE IMPORTED)
  set_target_properties(torch PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES
      "${WINNOW_TORCH_OF_WHEEL}/include;${WINNOW_TORCH_OF_WHEEL}/include/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES
      "${WINNOW_TORCH_OF_WHEEL}/lib/libtorch_cpu.so;${WINNOW_TORCH_OF_WHEEL}/lib/libc10.so"
    # CUDA's libraries stand where the wheel's own runpath finds them, and the linker does not look.
    INTERFACE_LINK_OPTIONS "LINKER:--allow-shlib-undefined")
endif()
