#!/usr/bin/env bash
# The module as packagers and guests get it; see usage. Status 0: all is as it should be.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)

usage() {
  cat <<'END'
usage: module_test.sh dkms|locks 6.1|6.12
       module_test.sh builds 5.10|newest
  dkms    the driver's folder builds, and cleans up, by the commands of dkms.conf
  builds  it builds without a warning for a kernel that no guest of the tests runs
  locks   no lock prefix of slots.c goes where the kernel has one CPU: other guests share its memory
END
}

[ $# = 2 ] || {
  usage >&2
  exit 2
}
what=$1 version=$2

fail() {
  echo "module_test $what: $*" >&2
  exit 1
}

dkms() {
  local headers folder release build
  headers=$("$root/tools/guest/fetch-kernel.sh" --version "$version" --headers)
  folder=$(mktemp -d)
  # shellcheck disable=SC2064 # as it is now
  trap "rm -rf '$folder'" EXIT
  cp -rp "$root/driver/." "$folder"
  release=$(sed -n "s/.*UTS_RELEASE \"\(.*\)\"/\1/p" "$headers/include/generated/utsrelease.h")
  # shellcheck disable=SC2034 # for dkms.conf
  kernel_source_dir=$headers
  # shellcheck source=/dev/null
  . "$folder/dkms.conf"
  cd "$folder"
  unset MAKEFLAGS
  build="${MAKE[0]/#make/make -j2 KERNELRELEASE=$release}" # as dkms changes it
  eval "$build" >build.log 2>&1 || {
    tail -n 20 build.log >&2
    fail "'$build' fails."
  }
  modinfo=$(strings -a "${BUILT_MODULE_NAME[0]}.ko" | grep '^vermagic=') || fail "no module is built."
  [[ $modinfo == "vermagic=$release "* ]] || fail "the module is for '$modinfo', not for $release."
  eval "$CLEAN" >/dev/null || fail "'$CLEAN' fails."
  [ ! -e "${BUILT_MODULE_NAME[0]}.ko" ] || fail "'$CLEAN' leaves the module behind."
}

builds() {
  local folder
  folder=$(mktemp -d)
  # shellcheck disable=SC2064 # as it is now
  trap "rm -rf '$folder'" EXIT
  # Anew: the compiler is not asked again about what is there.
  "$root/tools/guest/build-driver.sh" --version "$version" "$folder" >/dev/null
}

locks() {
  local object
  object=$(dirname "$("$root/tools/guest/build-driver.sh" --version "$version")")/slots.o
  if readelf -SW "$object" | grep -q '\.smp_locks'; then
    objdump -dr "$object" | grep -n 'lock ' >&2
    fail "$object has lock prefixes that a kernel with one CPU removes."
  fi
}

case $what in
  dkms) dkms ;;
  builds) builds ;;
  locks) locks ;;
  *)
    usage >&2
    exit 2
    ;;
esac
