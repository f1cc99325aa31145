#!/usr/bin/env bash
# Installs the library, its headers and the plugin of the build folder $1 for the other tests.
set -euo pipefail
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cmake --build "$1" --target ivmq_shared ivmq_static protoc-gen-ivmq
rm -rf "$IVMQ_PREFIX"
for component in libivmq0 libivmq-dev protobuf-compiler-ivmq; do
  cmake --install "$1" --prefix "$IVMQ_PREFIX" --component "$component"
done
