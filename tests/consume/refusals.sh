#!/usr/bin/env bash
# What cannot work ends with one message that says what to do. $1: which of these.
set -euo pipefail
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
new_application "$1"

# configure LINE...: a project with these lines, which cannot be configured.
configure() {
  printf '%s\n' 'cmake_minimum_required(VERSION 3.25)' 'project(app LANGUAGES CXX)' "$@" >CMakeLists.txt
  ! cmake -G Ninja -S . -B build "-DCMAKE_PREFIX_PATH=$IVMQ_PREFIX" >configure.log 2>&1 ||
    fail "It can be configured."
}
# expect TEXT FILE
expect() { tr -s ' \n' '  ' <"$2" | grep -qF "$1" || fail "No '$1' in:" "$(cat "$2")"; }

case $1 in
  older_than_cxx20)
    for header in $(cd "$IVMQ_PREFIX/include" && find ivmq -name '*.h' -not -path '*/internal/*'); do
      echo "#include <$header>" >old.cc
      # shellcheck disable=SC2046 # options
      ! "$CXX" -std=c++17 -fsyntax-only old.cc $(pkg-config --cflags ivmq) 2>errors ||
        fail "$header can be compiled as C++17."
      [ "$(grep -c 'error: #error' errors)" = 1 ] || fail "$header has no single #error:" "$(cat errors)"
      expect 'ivmq needs C++20: compile with -std=c++20' errors
      ! grep 'error:' errors | grep -v '#error\|needs_cxx_20\.h' ||
        fail "$header says more as C++17 than that."
    done
    ;;
  an_unknown_component)
    configure 'find_package(ivmq REQUIRED COMPONENTS rpc grpc)'
    expect "ivmq has no component 'grpc'; it has core" configure.log
    ;;
  another_minor_version)
    configure 'find_package(ivmq 0.2 REQUIRED)'
    expect 'requested version "0.2"' configure.log
    ;;
  rpc_without_the_plugin)
    cp -r "$IVMQ_PREFIX" without
    rm without/lib/cmake/ivmq/ivmqPlugin*
    IVMQ_PREFIX=$PWD/without
    configure 'find_package(ivmq REQUIRED)'
    expect 'needs protoc-gen-ivmq' configure.log
    configure 'find_package(ivmq REQUIRED COMPONENTS core)' 'message(FATAL_ERROR "core was found")'
    expect 'core was found' configure.log
    ;;
  rpc_without_protobuf)
    # As where the development files of protobuf are missing.
    mkdir empty
    echo 'set(Protobuf_FOUND FALSE)' >empty/FindProtobuf.cmake
    configure "set(CMAKE_MODULE_PATH $PWD/empty)" 'find_package(ivmq REQUIRED)'
    expect 'dependency Protobuf could not be found' configure.log
    configure "set(CMAKE_MODULE_PATH $PWD/empty)" \
      'find_package(ivmq REQUIRED COMPONENTS core)' 'message(FATAL_ERROR "core was found")'
    expect 'core was found' configure.log
    ;;
  *) fail "There is no such case: $1" ;;
esac
