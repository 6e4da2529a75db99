# What every target of the tree shares: the flags, and one call each for a layer, a test and a fuzzer.
include(GNUInstallDirs)

# Flags of our own code. Consumers inherit none of them.
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
# A static library winnow_NAME, known as winnow::NAME here and to those who install it. A layer that
# needs what not everyone has stands in an export set of its own.
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
# One GoogleTest program of a layer; ctest runs its tests one by one under LAYER/NAME.
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

# Most of a source's time on the torch layer is that of loading LibTorch's headers, precompiled or not.
# winnow_join_sources(TARGET [size of a group]) compiles several at once.
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
# A program on the torch layer. It shares the layer's precompiled header, without which each source
# takes 20 s to compile, and therefore its way of position-independent code.
function(winnow_add_torch_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE winnow_options winnow_torch ${ARG_LIBRARIES})
  target_compile_options(${name} PRIVATE -fPIC ${WINNOW_TORCH_COMPILE_OPTIONS})
  target_precompile_headers(${name} REUSE_FROM winnow_torch)
endfunction()

# winnow_set_torch_test_properties(TEST): what tests of the torch layer share. OpenMP's threads spin
# while they wait, which makes small operators thirty times slower where other tests run too.
function(winnow_set_torch_test_properties test)
  set_tests_properties(${test} PROPERTIES LABELS torch TIMEOUT 300 ENVIRONMENT OMP_WAIT_POLICY=passive)
endfunction()

# winnow_add_torch_test(NAME SOURCES ... [LIBRARIES ...]): as winnow_add_test, on the torch layer.
function(winnow_add_torch_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  winnow_add_torch_program(${name} SOURCES ${ARG_SOURCES} LIBRARIES GTest::gmock_main ${ARG_LIBRARIES})
  add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  winnow_set_torch_test_properties(${name})
endfunction()

# winnow_add_fuzzer(NAME LAYERS layer...): NAME.cc with libFuzzer, ASan and UBSan; clang only.
function(winnow_add_fuzzer name)
  cmake_parse_arguments(ARG "" "" "LAYERS" ${ARGN})
  add_executable(${name} ${name}.cc)
  add_dependencies(fuzzers ${name})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${name} PRIVATE winnow_options -fsanitize=fuzzer)
  foreach(layer IN LISTS ARG_LAYERS)
    target_link_libraries(${name} PRIVATE winnow_${layer})
  endforeach()
endfunction()
