#!/usr/bin/env bash
# Builds the driver ivmq.ko for a kernel of test guests, whose image and headers it gets first if
# need be, and prints the module's path. Needs no root.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
version=6.1 out=''

usage() {
  cat <<'EOF'
usage: build-driver.sh [--version 6.1|6.12|5.10|newest] [DIR]

6.1 and 6.12 are the kernels of test guests; for the others see fetch-headers.sh. Builds in DIR (default build/guest/driver-VERSION) only what has changed; a warning is a failure.
EOF
}

while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --version)
      version=${2:-}
      shift
      ;;
    -*)
      echo "build-driver: unknown option $1; see --help." >&2
      exit 1
      ;;
    *) out=$1 ;;
  esac
  shift
done
out=${out:-$root/build/guest/driver-$version}

# Debian's headers name the compiler of their release, which need not be there.
options=()
case $version in
  5.10 | newest)
    headers=$("$root/tools/guest/fetch-headers.sh" --version "$version")
    options=(CC=gcc)
    if ! gcc -fmin-function-alignment=16 -E -x c /dev/null >/dev/null 2>&1; then
      options+=(CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=) # of gcc 14
    fi
    ;;
  *) headers=$("$root/tools/guest/fetch-kernel.sh" --version "$version" --headers) ;;
esac
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9 # two builds may ask at the same time
# With their times, by which make sees what has changed; a header that has gone must not be found.
rm -rf "$out/uapi"
cp -rp "$root"/driver/{Makefile,uapi,*.[ch]} "$out"
env -u MAKEFLAGS make -s -C "$out" KDIR="$headers" "${options[@]}" KCFLAGS=-Werror >&2
echo "$out/ivmq.ko"
