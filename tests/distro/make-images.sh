#!/usr/bin/env bash
# make-images.sh OUT NAME...: for each root file system of fetch-root.sh OUT/NAME.cpio, which has also
# what a test guest runs, and the installer for guests, /root/ivmq-guest.sh. For musl, where nothing
# can be built, also the driver for kernel 6.1: /root/ivmq.ko.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$1
shift

extra=$(mktemp -d)
trap 'rm -rf "$extra"' EXIT
mkdir -p "$out" "$extra"/{root,usr/bin}
bundle=$("$root/packaging/guest/make-bundle.sh")
cp "$bundle" "$extra/root/ivmq-guest.sh"
install -m 755 "$root/tools/guest/init" "$extra/init"
install -m 755 "$root/tools/guest/agent" "$extra/usr/bin/ivmq-agent"
for name in "$@"; do
  base=$("$root/tools/guest/fetch-root.sh" "$name")
  rm -f "$extra/root/ivmq.ko"
  if [ "$name" = musl ]; then
    module=$("$root/tools/guest/build-driver.sh" --version 6.1)
    cp "$module" "$extra/root"
  fi
  # The kernel unpacks one archive after the other.
  cp "$base" "$out/$name.cpio.new"
  (cd "$extra" && find . -type f | cpio --quiet -o -H newc -R 0:0) >>"$out/$name.cpio.new"
  mv "$out/$name.cpio.new" "$out/$name.cpio"
done
