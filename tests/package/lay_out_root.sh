#!/usr/bin/env bash
# lay_out_root.sh ROOT ROOT.tar DEBS: a new ROOT of what prepare_root.sh has made, with the packages in
# its folder /debs.
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo "$0" "$@"
[ -f "$2" ] || { echo "There is no $2: ./dev test package makes it." >&2 && exit 1; }
rm -rf "$1"
mkdir -p "$1/debs"
tar -C "$1" -xf "$2"
cp "$3"/*.deb "$1/debs/"
rm -f "$1"/debs/*-dbgsym_*
