#!/usr/bin/env bash
# Gets what modules are built with for a kernel that Debian 12 itself does not have, unpacked and not
# installed, and prints the path of its build folder (KDIR). Needs no root, and leaves apt's lists
# as they are. See fetch-kernel.sh for the kernels of test guests.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
version='' out=''

usage() {
  cat <<'EOF2'
usage: fetch-headers.sh --version 5.10|backports [DIR]

5.10: of Debian 11. backports: the newest that Debian has built for a stable release, Debian 13.
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

# The mirrors are those that apt is set up with.
mirror() { # mirror debian|debian-security
  local uri
  # shellcheck disable=SC2016 # for apt
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 "/$1/$") ||
    fail "apt is set up with no archive /$1; as root, add it to /etc/apt/sources.list."
  echo "$uri"
}
case $version in
  5.10) suites=("$(mirror debian-security) bullseye-security") ;;
  backports) suites=("$(mirror debian) trixie-backports" "$(mirror debian) trixie") ;;
  *) fail "--version '$version': use 5.10 or backports." ;;
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
mkdir -p "$work"/{lists,cache/archives}/partial "$work"/{debs,root,libraries}
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s main\n' "${suites[@]}" \
  >"$work/sources.list"
apt=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root
  -o Dir::State::status=/dev/null)

# Packages that $1 depends on whose names match the pattern $2.
depends() {
  apt-cache "${apt[@]}" depends --important "$1" 2>/dev/null |
    awk -v pattern="$2" '$1 == "Depends:" && $2 ~ pattern { print $2 }'
}

download() { # download PACKAGE...: into the folder debs
  (cd "$work/debs" && apt-get "${apt[@]}" -q download "$@") >>"$out/fetch.log" 2>&1 || {
    tail -n 5 "$out/fetch.log" >&2
    fail "the archives (${suites[*]}) have no $*, or cannot be reached."
  }
}

: >"$out/fetch.log"
apt-get "${apt[@]}" -q update >>"$out/fetch.log" 2>&1 || {
  tail -n 5 "$out/fetch.log" >&2
  fail "the package lists of ${suites[*]} could not be fetched; see $out/fetch.log."
}
apt+=(-o "APT::Default-Release=${suites[0]##* }")
package=$(depends linux-headers-cloud-amd64 '^linux-headers-[0-9]' | head -n 1)
[ -n "$package" ] || fail "the archive (${suites[0]}) has no package linux-headers-cloud-amd64."
# shellcheck disable=SC2046 # a list
download "$package" $(depends "$package" '^linux-(headers-.*-common|kbuild-)')
for deb in "$work"/debs/*.deb; do
  dpkg-deb -x "$deb" "$work/root"
done
build=$(cd "$work/root" && echo usr/src/linux-headers-*-cloud-amd64)
common=$(cd "$work/root" && echo usr/src/linux-headers-*-common)
kbuild=$(cd "$work/root" && echo usr/lib/linux-kbuild-*)
# The packages expect to be installed at /usr/src.
# shellcheck disable=SC2016 # for make
printf 'KBUILD_OUTPUT := $(patsubst %%/,%%,$(dir $(realpath $(lastword $(MAKEFILE_LIST)))))\ninclude $(KBUILD_OUTPUT)/../%s/Makefile\n' \
  "$(basename "$common")" >"$work/root/$build/Makefile"
ln -s "$build" "$work/root/build"

# The programs of a newer release need its libraries. Others than these do not run in a build.
mapfile -t programs < <(find "$work/root/$kbuild" -type f -perm -u+x \
  \( -name 'fixdep*' -o -name 'modpost*' -o -name 'objtool*' \) -exec sh -c \
  'for f; do if ldd "$f" 2>&1 | grep -q "not found"; then echo "$f"; fi; done' - {} +)
if [ ${#programs[@]} != 0 ]; then
  rm "$work"/debs/*
  download libc6 libelf1t64 zlib1g libzstd1
  for deb in "$work"/debs/*.deb; do
    dpkg-deb -x "$deb" "$work/libraries"
  done
  mv "$work/libraries" "$work/root/libraries"
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
