# Packages that more than one folder uses. Beside each, what Debian 12 calls it; `./dev` installs
# them. Their targets are visible everywhere: a project that has this one as a folder links them,
# through the library, from its own folders.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)
if(IVMQ_STATIC)
  set(CMAKE_FIND_LIBRARY_SUFFIXES ".a")
endif()
find_package(Threads REQUIRED)
find_package(Boost 1.74 REQUIRED)          # libboost-dev: Boost::headers
find_package(Protobuf REQUIRED)            # libprotobuf-dev libprotoc-dev protobuf-compiler
if(IVMQ_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # With this macro its headers give map fields two more members, which the library itself, built
  # without the sanitizer, does not have. Code of ours that asks for it looks for the other one.
  target_compile_options(protobuf::libprotobuf INTERFACE
    -U__SANITIZE_THREAD__ -DIVMQ_SANITIZE_THREAD)
  set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON) # shared by targets that differ in the macro
endif()
if(IVMQ_BUILD_TOOLS OR IVMQ_BUILD_TESTS OR IVMQ_BUILD_EXAMPLES OR IVMQ_BUILD_BENCH)
  find_package(CLI11 REQUIRED)             # libcli11-dev: CLI11::CLI11
  find_package(nlohmann_json 3 REQUIRED)   # nlohmann-json3-dev: nlohmann_json::nlohmann_json
  if(IVMQ_STATIC) # Debian has no libfmt.a, but fmt is complete in its headers
    find_path(IVMQ_FMT_INCLUDE fmt/format-inl.h REQUIRED)
    add_library(fmt::fmt INTERFACE IMPORTED)
    target_include_directories(fmt::fmt INTERFACE "${IVMQ_FMT_INCLUDE}")
    target_compile_definitions(fmt::fmt INTERFACE FMT_HEADER_ONLY)
  else()
    find_package(fmt REQUIRED)             # libfmt-dev: fmt::fmt
    find_package(spdlog REQUIRED)          # libspdlog-dev: spdlog::spdlog
  endif()
endif()
if(IVMQ_BUILD_TESTS)
  find_package(GTest REQUIRED)             # libgtest-dev libgmock-dev
endif()
if(IVMQ_BUILD_BENCH)
  find_package(benchmark REQUIRED)         # libbenchmark-dev: benchmark::benchmark
endif()
