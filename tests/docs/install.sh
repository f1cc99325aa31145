#!/usr/bin/env bash
# install.sh BUILD PREFIX: installs what an application needs, and the programs, from a build.
set -euo pipefail
rm -rf "$2"
for component in libivmq0 libivmq-dev protobuf-compiler-ivmq ivmq-tools ivmqd; do
  cmake --install "$1" --prefix "$2" --component "$component"
done
