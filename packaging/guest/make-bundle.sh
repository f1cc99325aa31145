#!/usr/bin/env bash
# Makes ivmq-guest-VERSION.sh: the installer for guests (install.sh) with the static tool and the
# driver's source in it.
set -euo pipefail

usage() {
  cat <<'END'
usage: make-bundle.sh [--tool FILE] [FOLDER]

Writes FOLDER/ivmq-guest-VERSION.sh (default: build/package) and prints its path. FILE is a statically
linked ivmq; by default it is built (CMake preset static).
END
}

fail() {
  printf 'make-bundle: %s\n' "$@" >&2
  exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tool='' out=$root/build/package
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --tool)
      tool=${2:-}
      shift
      ;;
    -*) fail "unknown option $1; see --help." ;;
    *) out=$1 ;;
  esac
  shift
done
version=$(sed -n 's/^project(ivmq VERSION \([0-9.]*\) .*/\1/p' "$root/CMakeLists.txt")

if [ -z "$tool" ]; then
  (cd "$root" && cmake --preset static && cmake --build --preset static --target ivmq) >&2
  tool=$root/build/static/tools/ivmq/ivmq
fi
[ -x "$tool" ] || fail "$tool is not there, or not executable."
! readelf -lW "$tool" | grep -q INTERP || fail "$tool is not linked statically (IVMQ_STATIC)."

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/driver"
strip -o "$tree/ivmq" "$tool"
chmod 755 "$tree/ivmq"
cp -r "$root"/driver/{Makefile,dkms.conf,99-ivmq.rules,README.md,uapi,*.[ch]} "$tree/driver"
mkdir -p "$out"
bundle=$out/ivmq-guest-$version.sh
{
  sed "s/@VERSION@/$version/" "$root/packaging/guest/install.sh"
  echo
  echo "payload() { cat <<'END_OF_PAYLOAD'"
  tar -C "$tree" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c driver ivmq |
    gzip -9n | base64
  echo END_OF_PAYLOAD
  echo '}'
  echo
  echo 'main "$@" </dev/null' # the input may be this script
} >"$bundle.new"
chmod 755 "$bundle.new"
mv "$bundle.new" "$bundle"
echo "$bundle"
