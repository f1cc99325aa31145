include(GoogleTest)

# ivmq_test(NAME LABEL unit|process|qemu|distro SOURCES file... [LIBS lib...] [TIMEOUT seconds] [BUSY])
# A GoogleTest program; each of its tests is a ctest test with the label. A program without a main
# of its own gets GoogleTest's. TIMEOUT ends one test, not the program: 60 s by default, 120 s for
# qemu. The tests of a BUSY program, whose processes or guests poll each other's memory, run alone,
# since a third busy thread on two cores would turn their microseconds into milliseconds.
function(ivmq_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "BUSY" "LABEL;TIMEOUT" "SOURCES;LIBS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "ivmq_test(${name}): no SOURCES, or unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_LABEL MATCHES "^(unit|process|qemu|distro)$")
    message(FATAL_ERROR "ivmq_test(${name}): LABEL is '${arg_LABEL}'; use unit, process, qemu or distro")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
    if(arg_LABEL STREQUAL "qemu")
      set(arg_TIMEOUT 120)
    endif()
  endif()
  math(EXPR limit "${arg_TIMEOUT} - 10") # for a test that can still say why (see Guest)
  set(processors 1)
  if(arg_BUSY)
    set(processors 1000) # all that ctest has been given
  endif()
  set(fixture "")
  if(arg_LABEL STREQUAL "qemu")
    set(fixture FIXTURES_REQUIRED guest_image COST 10) # the longest ones first
  elseif(arg_LABEL STREQUAL "distro")
    set(fixture FIXTURES_REQUIRED distro_images)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} GTest::gmock GTest::gtest_main Threads::Threads
    ivmq_options)
  target_precompile_headers(${name} REUSE_FROM ivmq_test_headers)
  gtest_discover_tests(${name}
    DISCOVERY_MODE PRE_TEST
    DISCOVERY_TIMEOUT 30
    NO_PRETTY_VALUES # a parameter without operator<< would put addresses into the names
    TEST_PREFIX "${name}/"
    PROPERTIES
      LABELS ${arg_LABEL}
      TIMEOUT ${arg_TIMEOUT}
      PROCESSORS ${processors}
      ${fixture}
      ENVIRONMENT "IVMQ_TEST_LIMIT=${limit}")
endfunction()

# ivmq_fuzz(NAME SOURCES file... [LIBS lib...])
# A libFuzzer target. NAME starts with fuzz_; `./dev test` runs every fuzz_* program of tests/fuzz,
# with the seeds in tests/fuzz/corpus/NAME if that folder exists.
function(ivmq_fuzz name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES OR NOT name MATCHES "^fuzz_")
    message(FATAL_ERROR "ivmq_fuzz(${name}): the name must start with fuzz_ and SOURCES must be "
      "given; unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} ivmq_options)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endfunction()
