#!/usr/bin/env bash
# lintian_test.sh DEBS: no error, no warning, and nothing of the rest but what is said here why.
set -euo pipefail
# - there is no init script, since without systemd ivmqd is started by hand.
# - the README about libvirt is beside the files that it is about.
known='package-supports-alternative-init-but-no-init.d-script|outside-usr-share-doc .usr/share/ivmq/libvirt/README.md'
found=$(lintian --allow-root --pedantic --display-info --fail-on error,warning "$1"/*.changes)
found=$(grep -vE "$known" <<<"$found" || true)
[ -z "$found" ] || { echo "$found" && exit 1; }
