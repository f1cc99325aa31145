#!/usr/bin/env bash
# ivmq where it is installed, without CMake: pkg-config, and protoc with the plugin.
set -euo pipefail
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
new_application pkg_config
c++() { "$CXX" "$@"; }
# shellcheck source=/dev/null
. "$IVMQ_SOURCE/tests/consume/pkg_config/build.sh"
LD_LIBRARY_PATH=$IVMQ_PREFIX/lib expect_it_works .
expect_links shared messages calls
