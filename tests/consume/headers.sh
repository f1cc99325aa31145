#!/usr/bin/env bash
# Each installed header can be included alone, and gives no warning to whoever has many of them on.
set -euo pipefail
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
new_application headers
for header in $(cd "$IVMQ_PREFIX/include" && find ivmq -name '*.h'); do
  echo "#include <$header>" >one.cc
  # shellcheck disable=SC2046 # options
  "$CXX" -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror one.cc \
    $(pkg-config --cflags ivmq) || fail "$header cannot be included."
done
