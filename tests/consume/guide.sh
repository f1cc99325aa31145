#!/usr/bin/env bash
# docs/using.md shows the files of these tests as they are.
set -euo pipefail
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$IVMQ_SOURCE"
guide=$(<docs/using.md)
for file in tests/consume/{add_subdirectory,find_package}/CMakeLists.txt tests/consume/pkg_config/build.sh \
  tests/consume/app/{messages.cc,calls.cc,greeter.proto}; do
  [[ $guide == *$'\n'"$(<"$file")"$'\n'* ]] || fail "docs/using.md does not show $file as it is."
done
for file in tests/consume/{fetch_content,components,static_library}/CMakeLists.txt; do
  # Of these what differs from the others: each line.
  while IFS= read -r line; do
    [[ $guide == *"$line"* ]] || fail "docs/using.md does not show '$line' of $file."
  done <"$file"
done
