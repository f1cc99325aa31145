#!/usr/bin/env bash
# ivmq as a folder of another project, which has options, targets and install rules of its own. $1:
# add_subdirectory or fetch_content.
set -euo pipefail
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
new_application "$1"
cp "$IVMQ_SOURCE/tests/consume/$1/CMakeLists.txt" .
[ "$1" != add_subdirectory ] || ln -s "$IVMQ_SOURCE" ivmq
cat "$IVMQ_SOURCE/tests/consume/nothing_leaks.cmake" >>CMakeLists.txt
build "-DFETCHCONTENT_SOURCE_DIR_IVMQ=$IVMQ_SOURCE" \
  "-DCMAKE_PROJECT_app_INCLUDE=$IVMQ_SOURCE/tests/consume/before.cmake"
expect_it_works build
expect_links static build/messages build/calls

# And shared, if the project wants its libraries so.
if [ "$1" = fetch_content ]; then
  build -DBUILD_SHARED_LIBS=ON
  expect_it_works build
  expect_links shared build/messages build/calls
fi

# Nothing is installed that the application did not ask for.
cmake --install build --prefix "$PWD/installed" >/dev/null
[ ! -e installed ] || fail "ivmq installs itself with the application:" "$(find installed -type f)"
