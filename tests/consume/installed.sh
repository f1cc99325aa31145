#!/usr/bin/env bash
# ivmq where it is installed, found by CMake. $1: find_package, components or static_library.
set -euo pipefail
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
new_application "$1"
cp "$IVMQ_SOURCE/tests/consume/$1/CMakeLists.txt" .
build
expect_it_works build
if [ "$1" = static_library ]; then
  expect_links static build/messages build/calls
else
  expect_links shared build/messages build/calls
fi
