#!/usr/bin/env bash
# Builds packages for systems with rpm. Usage: packaging/rpm/build.sh FOLDER
# They are for the system that they are built on, as far as libraries are concerned.
set -euo pipefail
out=$(realpath -m "${1:?usage: packaging/rpm/build.sh FOLDER}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=build/package/rpm-build
cmake --preset release -B "$work" -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_INSTALL_SYSCONFDIR=/etc \
  -DCMAKE_INSTALL_LIBDIR=lib64 -DIVMQ_BUILD_TESTS=OFF -DIVMQ_BUILD_BENCH=OFF -DIVMQ_BUILD_EXAMPLES=OFF
cmake --build "$work" --parallel "$(nproc)"
mkdir -p "$out"
rm -f "$out"/*.rpm
cpack --config "$work/CPackConfig.cmake" -B "$out"
rm -rf "$out/_CPack_Packages"
