# cmake -D BUILD=... -D PREFIX=... -P install.cmake: installs afresh, nothing left from before.
file(REMOVE_RECURSE ${PREFIX})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${PREFIX}
                OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${PREFIX}/bin/winnow --version COMMAND_ERROR_IS_FATAL ANY)
