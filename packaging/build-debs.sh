#!/usr/bin/env bash
# build-debs.sh FOLDER: builds Debian's packages of this tree, in a copy of it, into FOLDER, which is
# emptied first. What is needed is in packaging/debian/control, and debhelper.
set -euo pipefail
[ $# = 1 ] || { echo "usage: build-debs.sh FOLDER" >&2 && exit 2; }
mkdir -p "$1"
folder=$(realpath "$1")
tree=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
copy=$folder/source

rm -rf "$copy" "$folder"/*.{deb,changes,buildinfo}
mkdir "$copy"
cd "$tree"
if [ -e .git ]; then
  git ls-files -z --cached --others --exclude-standard
else
  find . -path ./build -prune -o -type f -print0
fi | tar --null --files-from - --ignore-failed-read -c | tar -x -C "$copy"
mv "$copy/packaging/debian" "$copy/debian"

# debhelper has a home of its own, where the cache would be gone afterwards.
if [ -z "${CMAKE_CXX_COMPILER_LAUNCHER:-}" ] && command -v ccache >/dev/null; then
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache
fi
export CCACHE_DIR=${CCACHE_DIR:-${HOME:-/root}/.cache/ccache}
cd "$copy"
DEB_BUILD_OPTIONS="parallel=$(nproc) ${DEB_BUILD_OPTIONS:-}" dpkg-buildpackage -us -uc -b
rm -rf "$copy"
