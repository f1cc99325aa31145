#!/usr/bin/env bash
# profile_test.sh DEBS: the AppArmor profile that is packaged is one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
dpkg-deb -x "$1"/ivmqd_*.deb "$folder"
apparmor_parser --skip-kernel-load --skip-cache "$folder/etc/apparmor.d/usr.bin.ivmqd"
