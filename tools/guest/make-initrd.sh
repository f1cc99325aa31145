#!/usr/bin/env bash
# Makes the initial file system of a test guest: busybox, the agent, the programs given, and every
# shared library they need. Needs no root.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'EOF'
usage: make-initrd.sh [--file HOST_PATH:GUEST_PATH]... OUT [PROGRAM...]

Writes the cpio archive OUT. Programs go to /bin of the guest under their own names, without debug
information; files to where GUEST_PATH says.
example: make-initrd.sh --file build/guest/kernel-6.1/lib/modules:/lib/modules initrd.cpio build/release/tools/ivmq
EOF
}

fail() {
  printf 'make-initrd: %s\n' "$@" >&2
  exit 1
}

files=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --file)
      [[ ${2:-} == *:/* ]] || fail "--file needs HOST_PATH:/GUEST_PATH, got '${2:-}'."
      files+=("$2")
      shift 2
      ;;
    -*) fail "unknown option $1; see --help." ;;
    *) break ;;
  esac
done
[ $# -ge 1 ] || {
  usage >&2
  exit 2
}
out=$1
shift

command -v cpio >/dev/null || fail "cpio is missing: apt-get install cpio."
busybox=$(command -v busybox) || fail "busybox is missing: apt-get install busybox-static."
if ldd "$busybox" >/dev/null 2>&1; then
  fail "$busybox is not statically linked: apt-get install busybox-static."
fi

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,sbin,dev,proc,sys,run,tmp,root,etc,lib,lib64}
cp "$busybox" "$tree/bin/busybox"
install -m 755 "$here/init" "$tree/init"
install -m 755 "$here/agent" "$tree/bin/ivmq-agent"

for program in "$@"; do
  [ -x "$program" ] || fail "$program is not there or not executable."
  copy=$tree/bin/$(basename "$program")
  [ ! -e "$copy" ] || fail "two programs are named $(basename "$program")."
  cp -L "$program" "$copy"
  if command -v strip >/dev/null; then
    strip --strip-debug "$copy" 2>/dev/null || true # a script stays as it is
  fi
  libraries=$(ldd "$program" 2>/dev/null || true) # static programs and scripts have none
  if missing=$(grep 'not found' <<<"$libraries"); then
    fail "$program needs libraries that are not there:" "$missing"
  fi
  while read -r library; do
    [ -e "$tree$library" ] || install -D -m 755 "$library" "$tree$library"
  done < <(grep -o '/[^ ]*' <<<"$libraries" || true)
done

for pair in "${files[@]}"; do
  from=${pair%%:/*}
  to=/${pair#*:/}
  [ -e "$from" ] || fail "$from is not there."
  mkdir -p "$tree$(dirname "$to")"
  cp -rL "$from" "$tree$to"
done

mkdir -p "$(dirname "$out")"
(cd "$tree" && find . -print0 | sort -z | cpio --quiet --null -o -H newc -R 0:0) >"$out.new"
mv "$out.new" "$out"
