#!/usr/bin/env bash
# Each package of build.sh's holds what `cmake --install` installs of its component, and says what it
# needs. Usage: packaging/rpm/check.sh FOLDER
set -euo pipefail
out=$(realpath "${1:?usage: packaging/rpm/check.sh FOLDER}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
while read -r component name; do
  DESTDIR=$scratch/$component cmake --install build/package/rpm-build --component "$component" >/dev/null
  (cd "$scratch/$component" && find . -not -type d | sed 's/^\.//' | sort) >"$scratch/installed"
  rpm -qp --qf '[%{FILENAMES} %{FILEMODES:perms}\n]' "$out/$name"-[0-9]*.rpm |
    sed -n 's/^\(.*\) [^d][^ ]*$/\1/p' | sed 's/\(\/man\/.*\)\.gz$/\1/' | sort >"$scratch/packaged"
  if ! diff -u "$scratch/installed" "$scratch/packaged" || ! [ -s "$scratch/packaged" ]; then
    echo "$name does not hold what is installed as $component." >&2
    status=1
  fi
done <<'COMPONENTS'
libivmq0 ivmq-libs
libivmq-dev ivmq-devel
protobuf-compiler-ivmq protobuf-compiler-ivmq
ivmq-tools ivmq-tools
ivmqd ivmqd
ivmq-dkms ivmq-dkms
COMPONENTS
rpm -qp --provides "$out"/ivmq-libs-*.rpm | grep -q '^libivmq\.so\.0(IVMQ_0)(64bit)' || {
  echo "ivmq-libs does not provide libivmq.so.0." >&2
  status=1
}
rpm -qp --configfiles "$out"/ivmqd-*.rpm | grep -qx /etc/ivmq/ivmqd.conf || {
  echo "ivmqd does not have /etc/ivmq/ivmqd.conf as its configuration." >&2
  status=1
}
exit $status
