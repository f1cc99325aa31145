#!/usr/bin/env bash
# The statically linked tool and examples need nothing of the system that they run on: neither files
# nor variables.
set -euo pipefail
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$IVMQ_SOURCE"
cmake --preset static
cmake --build --preset static --target ivmq example_hello_sender example_hello_receiver
new_application static_programs
mkdir root
for program in tools/ivmq/ivmq examples/01_hello/example_hello_{sender,receiver}; do
  ! readelf -lW "$IVMQ_SOURCE/build/static/$program" | grep -q 'INTERP\|DYNAMIC' ||
    fail "$program wants a dynamic linker."
  strip -o "root/${program##*/}" "$IVMQ_SOURCE/build/static/$program"
done
echo "ivmq, stripped: $(stat -c %s root/ivmq) bytes"

# in_root PROGRAM ARGUMENT...: in a root folder that holds these programs alone.
in_root() {
  if [ "$(id -u)" = 0 ]; then
    env -i "$(command -v chroot)" root "$@"
  else
    env -i "$(command -v unshare)" --map-root-user --root=root "$@"
  fi
}
in_root /ivmq --version | grep -q '^ivmq [0-9]' || fail "ivmq does not say its version."
in_root /ivmq format file:/region --size 1M
in_root /example_hello_receiver file:/region >received &
receiver=$!
trap 'kill "$receiver" 2>/dev/null || true' EXIT
in_root /example_hello_sender file:/region "nothing else is here"
wait "$receiver"
grep -q 'nothing else is here' received || fail "The receiver says:" "$(cat received)"
in_root /ivmq ls file:/region
