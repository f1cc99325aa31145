#!/usr/bin/env bash
# version_test.sh DEBS VERSION: packages, driver and programs have the version of the sources.
set -euo pipefail
for deb in "$1"/*.deb; do
  version=$(dpkg-deb -f "$deb" Version)
  [ "$version" = "$2" ] || { echo "$deb is version $version, the sources are $2" && exit 1; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
dpkg-deb -x "$1"/ivmq-dkms_*.deb "$folder"
grep -qx "PACKAGE_VERSION=\"$2\"" "$folder/usr/src/ivmq-$2/dkms.conf"
