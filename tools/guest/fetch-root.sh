#!/usr/bin/env bash
# Makes the root file system of a guest with the user space of a distribution, as a cpio archive, and
# prints its path. An initrd for boot.sh needs init and the agent beside: tests/distro/make-images.sh.
# The kernel that goes with it is fetch-kernel.sh's.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=/dev/null
. "$root/tools/guest/debian.sh"
here=$root/tools/guest

usage() {
  cat <<'EOF2'
usage: fetch-root.sh debian11|debian12|musl [DIR]

debian11: Debian 11 with DKMS and the headers of its kernel, 5.10.
debian12: Debian 12 with make, gcc and the headers of its kernel, 6.1, without DKMS.
musl: BusyBox linked to musl, as Alpine Linux is made of, from Debian's sources; for kernel 6.1.
Makes DIR/root.cpio (default: build/guest/root-NAME) once. Needs mmdebstrap, or musl-tools; root, or
user namespaces.
EOF2
}

fail() {
  printf 'fetch-root: %s\n' "$@" >&2
  exit 1
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
  debian11) suite=bullseye kernel=5.10 packages=dkms,gcc,make,kmod,udev,libelf1 ;;
  debian12) suite=bookworm kernel=6.1 packages=gcc,make,kmod,udev,libelf1 ;;
  musl) kernel='' ;;
  *)
    usage >&2
    exit 2
    ;;
esac
name=$1
out=${2:-$root/build/guest/root-$name}
mkdir -p "$out"
out=$(cd "$out" && pwd)
exec 9>"$out/.lock"
flock 9
if [ -e "$out/root.cpio" ]; then
  echo "$out/root.cpio"
  exit 0
fi
work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
tree=$work/tree
mkdir "$tree"

make_debian() {
  local whose
  local options=(--variant=minbase --include="$packages" --format=tar
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
    --dpkgopt='path-exclude=/usr/share/locale/*')
  command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: apt-get install mmdebstrap."
  for whose in machine default; do
    if mmdebstrap "${options[@]}" "$suite" "$work/root.tar" \
      "deb $(archive $whose "$suite") $suite main" \
      "deb $(archive $whose "$suite-security") $suite-security main" >"$out/fetch.log" 2>&1; then
      break
    fi
  done
  [ -s "$work/root.tar" ] || {
    tail -n 5 "$out/fetch.log" >&2
    fail "$suite could not be installed into a folder; see $out/fetch.log."
  }
  tar -C "$tree" --exclude='./dev/*' -xf "$work/root.tar"
  # The headers of just this kernel, and the lists that depmod wants.
  "$here/fetch-kernel.sh" --version "$kernel" --headers >/dev/null
  local from=$root/build/guest/kernel-$kernel modules
  modules=$(basename "$from"/lib/modules/*)
  mkdir -p "$tree/lib/modules/$modules"
  cp "$from/lib/modules/$modules"/modules.{builtin,order} "$tree/lib/modules/$modules"
  cp -a "$from/headers/usr/." "$tree/usr"
  ln -s "/usr/src/linux-headers-$modules" "$tree/lib/modules/$modules/build"
  cp -L "$(command -v busybox)" "$tree/bin/busybox" # for init and the agent
}

make_musl() {
  local folder
  command -v musl-gcc >/dev/null || fail "musl-gcc is missing: apt-get install musl-tools."
  # shellcheck disable=SC2034 # of use_suites
  kinds=(deb-src)
  use_suites "$work/apt" bookworm
  # shellcheck disable=SC2154 # of debian.sh
  (cd "$work" && apt-get "${apt[@]}" -q -o APT::Sandbox::User=root source --tar-only busybox) \
    >"$out/fetch.log" 2>&1 || fail "the source of busybox could not be had; see $out/fetch.log."
  tar -C "$work" -xf "$work"/busybox_*.orig.tar.*
  folder=$(echo "$work"/busybox-*)
  # musl-gcc does not know the kernel's headers.
  mkdir "$work/kernel"
  ln -s /usr/include/{linux,asm-generic,mtd} /usr/include/x86_64-linux-gnu/asm "$work/kernel"
  (cd "$folder" && make defconfig && sed -i 's/^CONFIG_TC=y/# CONFIG_TC is not set/' .config &&
    make -j"$(nproc)" CC=musl-gcc CONFIG_EXTRA_CFLAGS="-idirafter $work/kernel" busybox) \
    >>"$out/fetch.log" 2>&1 || {
    tail -n 5 "$out/fetch.log" >&2
    fail "busybox does not build with musl-gcc; see $out/fetch.log."
  }
  mkdir -p "$tree"/{bin,sbin,etc,lib,dev,proc,sys,run,tmp,root,usr/bin,usr/sbin,usr/local/bin}
  cp "$folder/busybox" "$tree/bin/busybox"
  cp -L /lib/ld-musl-x86_64.so.1 "$tree/lib"
  echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
  echo 'root:x:0:' >"$tree/etc/group"
}

case $name in
  musl) make_musl ;;
  *) make_debian ;;
esac
(cd "$tree" && find . -print0 | sort -z | cpio --quiet --null -o -H newc -R 0:0) >"$work/root.cpio"
mv "$work/root.cpio" "$out/root.cpio" # last: its presence says that all is there
echo "$out/root.cpio"
