#!/usr/bin/env bash
# Gets a kernel for test guests from the Debian archive, unpacked and not installed, and prints the
# path of its image. Needs no root. IVMQ_GUEST_KERNEL=FILE names an image of your own in place of
# 6.1 and fetches nothing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=/dev/null
. "$root/tools/guest/debian.sh"
version=6.1 headers='' out=''

usage() {
  cat <<'EOF'
usage: fetch-kernel.sh [--version 6.1|6.12|5.10] [--headers] [DIR]

6.1 and 6.12 are of Debian 12, 5.10 of Debian 11. Unpacks Debian's cloud kernel of that series (default 6.1) into DIR (default
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
  5.10) meta=linux-image-cloud-amd64 suites=(bullseye-security bullseye) ;;
  6.1) meta=linux-image-cloud-amd64 suites=(bookworm-security bookworm) ;;
  6.12) meta=linux-image-6.12-cloud-amd64 suites=(bookworm-security bookworm) ;;
  *) fail "--version '$version': use 6.1, 6.12 or 5.10." ;;
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

begin() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    fail "apt-get and dpkg-deb are needed to get the kernel package." \
      "Elsewhere than on Debian, set IVMQ_GUEST_KERNEL to the image of an x86-64 kernel."
  fi
  work=$(mktemp -d "$out/.work.XXXXXX")
  : >"$out/fetch.log"
}

# attempt COMMAND...: runs it with apt's own lists, if they can be Debian 12's, and with new ones if it
# fails: those there may be missing, be older than what the archive still has, or be without the
# suite that has the package.
attempt() {
  use_own_suites
  if [ "$version" = 5.10 ] || ! "$@"; then
    rm -rf "$work/root"
    use_suites "$work" "${suites[@]}"
    "$@"
  fi
}

give_up() { # give_up PACKAGE
  tail -n 5 "$out/fetch.log" >&2
  fail "the package $1 could not be downloaded." \
    "Check that apt reaches the Debian archive and try again, or set IVMQ_GUEST_KERNEL to the image" \
    "of an x86-64 kernel with ttyS0 and devtmpfs built in."
}

download_image() {
  local package
  package=$(depends "$meta" '^linux-image-[0-9]' | head -n 1)
  [ -n "$package" ] && unpack "$work/root" "$out/fetch.log" "$package" && echo "$package" >"$work/package"
}

fetch_image() {
  local image
  begin
  attempt download_image || give_up "$meta"
  image=$(find "$work/root/boot" -name 'vmlinuz-*' | head -n 1)
  [ -n "$image" ] || fail "$(cat "$work/package") holds no boot/vmlinuz-*."
  rm -rf "${out:?}/lib" "${out:?}/headers"
  mv "$work/root/lib" "$out/lib"
  mv "$work/package" "$out/package"
  mv "$image" "$out/vmlinuz" # last: its presence says that all is there
  rm -rf "$work"
}

release() { basename "$out"/lib/modules/*; }

# The headers of exactly the kernel that is there: a module is for one kernel.
download_headers() {
  local packages
  packages=$(with_headers "linux-headers-$(release)") || return 1
  # shellcheck disable=SC2086 # a list
  unpack "$work/root" "$out/fetch.log" $packages
}

fetch_headers() {
  begin
  if ! attempt download_headers; then
    # The archive has gone on to a newer kernel.
    rm -rf "$work" "$out/vmlinuz"
    fetch_image
    begin
    attempt download_headers || give_up "linux-headers-$(release)"
  fi
  settle_headers "$work/root"
  rm -rf "${out:?}/headers"
  mv "$work/root" "$out/headers"
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
