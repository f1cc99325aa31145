#!/usr/bin/env bash
# Gets a kernel for test guests from the Debian archive, unpacked and not installed, and prints the
# path of its image. Kept in build/guest/kernel-6.1; needs no root. IVMQ_GUEST_KERNEL=FILE names an
# image of your own and fetches nothing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
meta=linux-image-cloud-amd64
out=$root/build/guest/kernel-6.1

case ${1:-} in
  "") ;;
  -h | --help)
    echo "usage: fetch-kernel.sh [DIR]    unpacks Debian's $meta into DIR (default build/guest/kernel-6.1)"
    exit 0
    ;;
  *) out=$1 ;;
esac

fail() {
  printf 'fetch-kernel: %s\n' "$@" >&2
  exit 1
}

if [ -n "${IVMQ_GUEST_KERNEL:-}" ]; then
  [ -r "$IVMQ_GUEST_KERNEL" ] || fail "IVMQ_GUEST_KERNEL=$IVMQ_GUEST_KERNEL cannot be read."
  echo "$IVMQ_GUEST_KERNEL"
  exit 0
fi

mkdir -p "$out"
exec 9>"$out/.lock"
flock 9 # two builds may ask at the same time
if [ -s "$out/vmlinuz" ]; then
  echo "$out/vmlinuz"
  exit 0
fi

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  fail "apt-get and dpkg-deb are needed to get the kernel package." \
    "Elsewhere than on Debian, set IVMQ_GUEST_KERNEL to the image of an x86-64 kernel."
fi

work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

real_package() {
  apt-cache depends --important "$meta" 2>/dev/null |
    awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }'
}

download() {
  local package
  package=$(real_package)
  [ -n "$package" ] || return 1
  # As root apt would drop to a user who cannot write here.
  (cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$package") >"$out/fetch.log" 2>&1
}

if ! download; then
  # Lists that are missing, or older than what the archive still has.
  if [ "$(id -u)" = 0 ]; then
    apt-get -q update >"$out/update.log" 2>&1 || true
  fi
  download || {
    [ ! -s "$out/fetch.log" ] || tail -n 5 "$out/fetch.log" >&2
    fail "the package $meta (found as: '$(real_package)') could not be downloaded." \
      "Check that apt reaches the Debian archive, run 'apt-get update' as root, and try again," \
      "or set IVMQ_GUEST_KERNEL to the image of an x86-64 kernel with ttyS0 and devtmpfs built in."
  }
fi

deb=$(echo "$work"/*.deb)
dpkg-deb -x "$deb" "$work/root"
image=$(find "$work/root/boot" -name 'vmlinuz-*' | head -n 1)
[ -n "$image" ] || fail "$(basename "$deb") holds no boot/vmlinuz-*."
rm -rf "${out:?}/lib"
mv "$work/root/lib" "$out/lib"
basename "$deb" .deb >"$out/package"
mv "$image" "$out/vmlinuz" # last: its presence says that all is there
echo "$out/vmlinuz"
