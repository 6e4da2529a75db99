# The flags of all targets, and functions that define layers, tests and fuzzers.
include(GNUInstallDirs)

# The flags of our own code. Consumers do not inherit them.
add_library(winnow_options INTERFACE)
target_compile_options(winnow_options INTERFACE -Wall -Wextra -Wpedantic -Werror=return-type
                                                -ffp-contract=off -fvisibility=hidden)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(winnow_options INTERFACE -Wno-restrict)  # false alarms on std::string, GCC bug 105329
endif()
if(WINNOW_SANITIZE)
  target_compile_options(winnow_options INTERFACE -fsanitize=${WINNOW_SANITIZE}
                         -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(winnow_options INTERFACE -fsanitize=${WINNOW_SANITIZE})
endif()

# winnow_add_layer(NAME SOURCES ... [DEPENDS layer...] [LIBRARIES ...] [PRIVATE_LIBRARIES ...]
#                  [EXPORT set])
# Defines a static library winnow_NAME, called winnow::NAME here and in the installed package. A layer
# with dependencies that not every user has needs a separate export set.
function(winnow_add_layer name)
  cmake_parse_arguments(ARG "" "EXPORT" "SOURCES;DEPENDS;LIBRARIES;PRIVATE_LIBRARIES" ${ARGN})
  if(NOT ARG_EXPORT)
    set(ARG_EXPORT winnowTargets)
  endif()
  add_library(winnow_${name} STATIC ${ARG_SOURCES})
  add_library(winnow::${name} ALIAS winnow_${name})
  set_target_properties(winnow_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_compile_features(winnow_${name} PUBLIC cxx_std_20)
  target_include_directories(winnow_${name}
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(winnow_${name} PRIVATE $<BUILD_INTERFACE:winnow_options>)
  foreach(library IN LISTS ARG_PRIVATE_LIBRARIES)
    target_link_libraries(winnow_${name} PRIVATE ${library})
  endforeach()
  foreach(layer IN LISTS ARG_DEPENDS)
    target_link_libraries(winnow_${name} PUBLIC winnow_${layer})
  endforeach()
  target_link_libraries(winnow_${name} PUBLIC ${ARG_LIBRARIES})
  install(TARGETS winnow_${name} EXPORT ${ARG_EXPORT})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/winnow/${name}
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/winnow)
endfunction()

# winnow_add_test(NAME SOURCES ... LAYERS layer... [LABELS ...])
# Defines a GoogleTest program, which is one test of ctest.
function(winnow_add_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LAYERS;LIBRARIES;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE winnow_options GTest::gmock_main ${ARG_LIBRARIES})
  target_compile_options(${name} PRIVATE ${WINNOW_TEST_COMPILE_OPTIONS})
  foreach(layer IN LISTS ARG_LAYERS)
    target_link_libraries(${name} PRIVATE winnow_${layer})
  endforeach()
  add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 300)
endfunction()

# winnow_join_sources(TARGET [size of a group])
# Compiles several sources at once. In the torch layer, most of the compile time of a source goes into
# LibTorch's headers, even if they are precompiled.
if(NOT WINNOW_JOIN_SOURCES)
  set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON)
endif()
function(winnow_join_sources target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${WINNOW_JOIN_SOURCES})
  if(ARGC GREATER 1)
    set_target_properties(${target} PROPERTIES UNITY_BUILD_BATCH_SIZE ${ARGV1})
  endif()
endfunction()

# winnow_add_torch_program(NAME SOURCES ... [LIBRARIES ...])
# Defines a program that uses the torch layer. It shares the layer's precompiled header, without which
# each source takes 20 s to compile, and so it must be compiled with the same -fPIC.
function(winnow_add_torch_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE winnow_options winnow_torch ${ARG_LIBRARIES})
  target_compile_options(${name} PRIVATE -fPIC ${WINNOW_TORCH_COMPILE_OPTIONS})
  target_precompile_headers(${name} REUSE_FROM winnow_torch)
endfunction()

# winnow_set_torch_test_properties(TEST)
# Sets the properties of tests of the torch layer. Waiting threads of OpenMP spin by default, which makes
# small operators thirty times slower if other tests run at the same time.
function(winnow_set_torch_test_properties test)
  set_tests_properties(${test} PROPERTIES LABELS torch TIMEOUT 300 ENVIRONMENT OMP_WAIT_POLICY=passive)
endfunction()

# winnow_add_torch_test(NAME SOURCES ... [LIBRARIES ...])
# Does the same as winnow_add_test for a program that uses the torch layer.
function(winnow_add_torch_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  winnow_add_torch_program(${name} SOURCES ${ARG_SOURCES} LIBRARIES GTest::gmock_main ${ARG_LIBRARIES})
  add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  winnow_set_torch_test_properties(${name})
endfunction()

# winnow_add_fuzzer(NAME MUTANTS count LAYERS layer...)
# With WINNOW_BUILD_FUZZ, NAME_fuzzer: NAME_fuzzer.cc with libFuzzer, ASan and UBSan, which needs clang. Otherwise
# a test that runs NAME_fuzzer.cc on its seeds and on so many mutants of each, and on what once failed: regress/NAME.
function(winnow_add_fuzzer name)
  cmake_parse_arguments(ARG "" "MUTANTS" "LAYERS" ${ARGN})
  set(target ${name}_fuzzer)
  add_executable(${target} ${target}.cc)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${target} PRIVATE winnow_options)
  foreach(layer IN LISTS ARG_LAYERS)
    target_link_libraries(${target} PRIVATE winnow_${layer})
  endforeach()
  if(WINNOW_BUILD_FUZZ)
    target_link_libraries(${target} PRIVATE -fsanitize=fuzzer)
    return()
  endif()
  target_sources(${target} PRIVATE replay.cc)
  # Behind the compiler's own headers: the folder has clang's versions of those too.
  target_compile_options(${target} PRIVATE ${WINNOW_TEST_COMPILE_OPTIONS} -idirafter ${winnow_fuzzer_include})
  set(seeds ${CMAKE_CURRENT_BINARY_DIR}/seeds/${name})
  file(MAKE_DIRECTORY ${seeds})
  set(regress ${CMAKE_CURRENT_SOURCE_DIR}/regress/${name})
  if(NOT EXISTS ${regress})
    set(regress "")
  endif()
  add_test(NAME ${target}
           COMMAND sh -c "python3 ${CMAKE_CURRENT_SOURCE_DIR}/${name}_seeds.py ${seeds} && $<TARGET_FILE:${target}> ${seeds} ${ARG_MUTANTS} ${regress}")
  set_tests_properties(${target} PROPERTIES TIMEOUT 300)
endfunction()
