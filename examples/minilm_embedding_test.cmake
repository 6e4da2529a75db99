# Runs the example on MiniLM and lets `winnow verify` check the file that it wrote.
if(NOT EXISTS ${MODEL})
  message("${MODEL} is not there: ./dev demo fetches it")
  return()
endif()
execute_process(COMMAND ${EXAMPLE} ${MODEL} ${OUT} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${WINNOW} verify ${OUT} --against ${MODEL} COMMAND_ERROR_IS_FATAL ANY)
