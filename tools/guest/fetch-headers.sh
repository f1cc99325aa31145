#!/usr/bin/env bash
# Gets what modules are built with for a kernel that Debian 12 itself does not have, unpacked and not
# installed, and prints the path of its build folder (KDIR). Needs no root, and leaves apt's lists
# as they are. See fetch-kernel.sh for the kernels of test guests.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=/dev/null
. "$root/tools/guest/debian.sh"
version='' out=''

usage() {
  cat <<'EOF2'
usage: fetch-headers.sh --version 5.10|newest [DIR]

5.10: of Debian 11. newest: the newest that Debian has, be it in backports, unstable or experimental.
Unpacks into DIR (default build/guest/headers-VERSION).
EOF2
}

fail() {
  printf 'fetch-headers: %s\n' "$@" >&2
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
    -*) fail "unknown option $1; see --help." ;;
    *) out=$1 ;;
  esac
  shift
done
out=${out:-$root/build/guest/headers-$version}

# Suites to choose from, each with those that it builds on.
case $version in
  5.10) choices=(bullseye-security) ;;
  newest) choices=("trixie-backports trixie" sid "experimental sid") ;;
  *) fail "--version '$version': use 5.10 or newest." ;;
esac

mkdir -p "$out"
out=$(cd "$out" && pwd)
exec 9>"$out/.lock"
flock 9 # two builds may ask at the same time
if [ -e "$out/headers/build/Makefile" ]; then
  echo "$out/headers/build"
  exit 0
fi

work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
: >"$out/fetch.log"

get() { # get DIR PACKAGE...
  unpack "$1" "$out/fetch.log" "${@:2}" || {
    tail -n 5 "$out/fetch.log" >&2
    fail "the archive (${suites[*]}) has no ${*:2}, or cannot be reached."
  }
}

# The names of packages sort by version.
package='' suites=()
for choice in "${choices[@]}"; do
  read -ra these <<<"$choice"
  use_suites "$work" "${these[@]}"
  newest=$({
    echo "$package"
    depends linux-headers-cloud-amd64 '^linux-headers-[0-9]'
  } | sort -V | tail -n 1)
  [ "$newest" = "$package" ] || package=$newest suites=("${these[@]}")
done
[ -n "$package" ] || fail "the archive (${choices[*]}) has no package linux-headers-cloud-amd64."
use_suites "$work" "${suites[@]}"
packages=$(with_headers "$package") || fail "$package does not say what else it needs."
# shellcheck disable=SC2086 # a list
get "$work/root" $packages
settle_headers "$work/root"
kbuild=$(cd "$work/root" && echo usr/lib/linux-kbuild-*)

# The programs of a newer release need its libraries. Others than these do not run in a build.
mapfile -t programs < <(find "$work/root/$kbuild" -type f -perm -u+x \
  \( -name 'fixdep*' -o -name 'modpost*' -o -name 'objtool*' \) -exec sh -c \
  'for f; do if ldd "$f" 2>&1 | grep -q "not found"; then echo "$f"; fi; done' - {} +)
if [ ${#programs[@]} != 0 ]; then
  get "$work/root/libraries" libc6 libelf1t64 zlib1g libzstd1
  for program in "${programs[@]}"; do
    mv "$program" "$program.real"
    # Called as the program it is: one of them finds others by its own name.
    cat >"$program" <<EOF2
#!/bin/sh
libraries=$out/headers/libraries/usr/lib/x86_64-linux-gnu
exec "\$libraries/ld-linux-x86-64.so.2" --argv0 "\$0" --library-path "\$libraries" "\$0.real" "\$@"
EOF2
    chmod +x "$program"
  done
fi

echo "$package" >"$out/package"
rm -rf "$out/headers"
mv "$work/root" "$out/headers" # last: its presence says that all is there
echo "$out/headers/build"
