#!/usr/bin/env bash
# Gets a kernel for test guests from the Debian archive, unpacked and not installed, and prints the
# path of its image. Needs no root. IVMQ_GUEST_KERNEL=FILE names an image of your own in place of
# 6.1 and fetches nothing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
version=6.1 headers='' out=''

usage() {
  cat <<'EOF'
usage: fetch-kernel.sh [--version 6.1|6.12] [--headers] [DIR]

Unpacks Debian's cloud kernel of that series (default 6.1) into DIR (default
build/guest/kernel-VERSION) and prints the path of its image. --headers: unpacks what modules for it
are built with as well, and prints the path of its build folder (KDIR) instead.
EOF
}

fail() {
  printf 'fetch-kernel: %s\n' "$@" >&2
  exit 1
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
    --headers) headers=1 ;;
    -*) fail "unknown option $1; see --help." ;;
    *) out=$1 ;;
  esac
  shift
done
case $version in
  6.1) meta=linux-image-cloud-amd64 ;;
  6.12) meta=linux-image-6.12-cloud-amd64 ;;
  *) fail "--version '$version': use 6.1 or 6.12." ;;
esac
out=${out:-$root/build/guest/kernel-$version}

if [ "$version" = 6.1 ] && [ -z "$headers" ] && [ -n "${IVMQ_GUEST_KERNEL:-}" ]; then
  [ -r "$IVMQ_GUEST_KERNEL" ] || fail "IVMQ_GUEST_KERNEL=$IVMQ_GUEST_KERNEL cannot be read."
  echo "$IVMQ_GUEST_KERNEL"
  exit 0
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
exec 9>"$out/.lock"
flock 9 # two builds may ask at the same time
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

# Packages that $1 depends on whose names match the pattern $2.
depends() {
  apt-cache depends --important "$1" 2>/dev/null |
    awk -v pattern="$2" '$1 == "Depends:" && $2 ~ pattern { print $2 }'
}

download() { # download PACKAGE...: into the folder $work
  [ $# -gt 0 ] || return 1
  # As root apt would drop to a user who cannot write here.
  (cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$@") >"$out/fetch.log" 2>&1
}

# refresh COMMAND...: runs it; if it fails, once more with new package lists. Those there may be
# missing, or older than what the archive still has.
refresh() {
  ! "$@" || return 0
  [ "$(id -u)" = 0 ] || return 1
  apt-get -q update >"$out/update.log" 2>&1 || true
  "$@"
}

begin() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    fail "apt-get and dpkg-deb are needed to get the kernel package." \
      "Elsewhere than on Debian, set IVMQ_GUEST_KERNEL to the image of an x86-64 kernel."
  fi
  work=$(mktemp -d "$out/.work.XXXXXX")
}

image_package() { depends "$meta" '^linux-image-[0-9]' | head -n 1; }

download_image() {
  local package
  package=$(image_package)
  download ${package:+"$package"}
}

fetch_image() {
  local deb image
  begin
  refresh download_image || {
    [ ! -s "$out/fetch.log" ] || tail -n 5 "$out/fetch.log" >&2
    [ "$version" != 6.12 ] || [ -n "$(image_package)" ] || fail \
      "the configured archives have no package $meta." \
      "Debian 12 has kernel 6.12 in its security suite. As root, add this line to" \
      "/etc/apt/sources.list, run 'apt-get update', and try again:" \
      "  deb http://deb.debian.org/debian-security bookworm-security main"
    fail "the package $meta (found as: '$(image_package)') could not be downloaded." \
      "Check that apt reaches the Debian archive, run 'apt-get update' as root, and try again," \
      "or set IVMQ_GUEST_KERNEL to the image of an x86-64 kernel with ttyS0 and devtmpfs built in."
  }
  deb=$(echo "$work"/*.deb)
  dpkg-deb -x "$deb" "$work/root"
  image=$(find "$work/root/boot" -name 'vmlinuz-*' | head -n 1)
  [ -n "$image" ] || fail "$(basename "$deb") holds no boot/vmlinuz-*."
  rm -rf "${out:?}/lib" "${out:?}/headers"
  mv "$work/root/lib" "$out/lib"
  basename "$deb" .deb >"$out/package"
  mv "$image" "$out/vmlinuz" # last: its presence says that all is there
  rm -rf "$work"
}

release() { basename "$out"/lib/modules/*; }

# The packages with the headers of exactly the kernel that is there: a module is for one kernel.
download_headers() {
  local package others
  package=linux-headers-$(release)
  others=$(depends "$package" '^linux-(headers-.*-common|kbuild-)')
  # shellcheck disable=SC2086 # a list
  [ -n "$others" ] && download "$package" $others
}

fetch_headers() {
  local deb build common
  begin
  if ! refresh download_headers; then
    # The archive has gone on to a newer kernel.
    rm -rf "$work" "$out/vmlinuz"
    fetch_image
    begin
    download_headers || {
      [ ! -s "$out/fetch.log" ] || tail -n 5 "$out/fetch.log" >&2
      fail "the package linux-headers-$(release) could not be downloaded." \
        "Check that apt reaches the Debian archive, run 'apt-get update' as root, and try again."
    }
  fi
  for deb in "$work"/*.deb; do
    dpkg-deb -x "$deb" "$work/headers"
  done
  build=$(cd "$work/headers" && echo usr/src/linux-headers-*-cloud-amd64)
  common=$(cd "$work/headers" && echo usr/src/linux-headers-*-common)
  # The packages expect to be installed at /usr/src.
  # shellcheck disable=SC2016 # for make
  printf 'include $(dir $(realpath $(lastword $(MAKEFILE_LIST))))../%s/Makefile\n' \
    "$(basename "$common")" >"$work/headers/$build/Makefile"
  ln -s "$build" "$work/headers/build"
  rm -rf "${out:?}/headers"
  mv "$work/headers" "$out/headers"
  rm -rf "$work"
}

[ -s "$out/vmlinuz" ] || fetch_image
ln -sfn "lib/modules/$(release)/kernel" "$out/modules" # a path without the release, for who copies some
if [ -z "$headers" ]; then
  echo "$out/vmlinuz"
  exit 0
fi
[ -e "$out/headers/build/Makefile" ] || fetch_headers
echo "$out/headers/build"
