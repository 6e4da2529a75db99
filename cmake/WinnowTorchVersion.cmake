# The versions of LibTorch that the torch layer supports. Older ones lack functions that it calls; newer
# ones have not been tested.
set(winnow_oldest_torch 2.13.0)
set(winnow_newest_torch 2.14.1)

if(Torch_VERSION VERSION_LESS winnow_oldest_torch)
  message(FATAL_ERROR "The torch layer needs LibTorch ${winnow_oldest_torch} or newer, found ${Torch_VERSION} in "
                      "${Torch_DIR}")
elseif(Torch_VERSION VERSION_GREATER winnow_newest_torch)
  message(WARNING "The torch layer is tested with LibTorch ${winnow_oldest_torch} to ${winnow_newest_torch}, found "
                  "${Torch_VERSION}: run its tests (WINNOW_BUILD_TESTS) before you rely on it")
endif()
