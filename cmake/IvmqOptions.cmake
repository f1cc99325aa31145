# Compiler settings. Language and sanitizers hold for every target of the project; warnings are on
# the target ivmq_options, so that generated code can do without them.

if(NOT CMAKE_CXX_STANDARD MATCHES "^2") # nor a newer one that a project around this one has chosen
  set(CMAKE_CXX_STANDARD 20)
endif()
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_UNITY_BUILD ${IVMQ_UNITY})
set(CMAKE_UNITY_BUILD_BATCH_SIZE 32)

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

add_library(ivmq_options INTERFACE)
target_compile_options(ivmq_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
  -Woverloaded-virtual -Wformat=2 -Wimplicit-fallthrough -Wundef
  $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-cond -Wlogical-op>
  # A unity file includes the sources, so their anonymous namespaces look like a header's.
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<BOOL:${IVMQ_UNITY}>>:-Wno-subobject-linkage>
  $<$<BOOL:${IVMQ_WERROR}>:-Werror>)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # As clang does anyway: position-independent functions may be inlined into others.
  add_compile_options(-fno-semantic-interposition)
endif()

if(IVMQ_SANITIZE)
  add_compile_options(-fsanitize=${IVMQ_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${IVMQ_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    add_compile_options(
      "-fsanitize-ignorelist=${CMAKE_CURRENT_LIST_DIR}/sanitizer_ignorelist.txt")
  endif()
  if(IVMQ_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # The full fences of the sleep protocol order words that are atomic anyway; what they guard is
    # published by release stores, which the sanitizer does see.
    add_compile_options(-Wno-tsan)
  endif()
endif()

if(IVMQ_BUILD_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "IVMQ_BUILD_FUZZ needs clang for libFuzzer; the compiler is "
      "${CMAKE_CXX_COMPILER}. Use `cmake --preset fuzz` or set CMAKE_CXX_COMPILER=clang++.")
  endif()
  # Coverage counters in the libraries too; only the fuzz targets themselves get libFuzzer's main.
  add_compile_options(-fsanitize=fuzzer-no-link)
  add_link_options(-fsanitize=fuzzer-no-link)
endif()
