#!/usr/bin/env bash
# `cmake --install --prefix` of the build folder $1 writes nothing elsewhere.
set -euo pipefail
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
scripts=$(find "$1" -name cmake_install.cmake)
# shellcheck disable=SC2086 # a list
grep -qF "INSTALL DESTINATION \"\${CMAKE_INSTALL_PREFIX}" $scripts || fail "Nothing is installed."
# shellcheck disable=SC2086 # a list
! grep 'INSTALL DESTINATION "/' $scripts || fail "These are installed outside of the prefix."
