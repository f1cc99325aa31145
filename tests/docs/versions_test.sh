#!/usr/bin/env bash
# The numbers in docs/versioning.md and docs/supported.md are those of the code.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
status=0

# number FILE PATTERN: what the group of the pattern is in the file.
number() {
  local found
  found=$(sed -nE "s/.*$2.*/\1/p" "$1" | head -n 1)
  [ -n "$found" ] || { echo "$1 has nothing like $2" >&2 && exit 1; }
  echo "$found"
}
# says PAGE TEXT
says() {
  if ! grep -qF -- "$2" "$1"; then
    echo "$1 does not say: $2" >&2
    status=1
  fi
}

layout=core/region/include/ivmq/internal/layout.h
format=$(number $layout 'kVersionMajor = ([0-9]+)').$(number $layout 'kVersionMinor = ([0-9]+)')
says docs/versioning.md "\`MAJOR.MINOR\`, now $format:"
says docs/versioning.md "\`IVMQ_API_VERSION\`, now $(number driver/uapi/ivmq.h 'IVMQ_API_VERSION\s+([0-9]+)')"
version=$(number CMakeLists.txt 'project\(ivmq VERSION ([0-9]+\.[0-9]+)')
says docs/versioning.md "\`find_package(ivmq $version)\`"
says docs/versioning.md "\`libivmq.so.${version%%.*}\`"
says docs/supported.md "| CMake | $(number CMakeLists.txt 'cmake_minimum_required\(VERSION ([0-9.]+)\)') |"
exit $status
