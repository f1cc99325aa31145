#!/usr/bin/env bash
# AppArmor lets ivmqd serve, and a machine of libvirt use what is served, with the rules that
# packaging/apparmor/ has: in a guest whose kernel enforces them. Status 0: all is as it should be.
#   IVMQ_BIN  folders of ivmq and ivmqd, as in PATH
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PATH=$IVMQ_BIN:$PATH

fail() {
  echo "apparmor_test: $*" >&2
  exit 1
}

for file in /usr/sbin/apparmor_parser /usr/bin/aa-exec /etc/apparmor.d/abstractions/libvirt-qemu; do
  [ -e "$file" ] || fail "$file is missing: apt-get install apparmor libvirt-daemon-system"
done

dir=$(mktemp -d)
guest=
# shellcheck disable=SC2317 # called by the trap
clean() {
  if [ -n "$guest" ]; then
    kill -KILL "$guest" 2>/dev/null || true
    wait "$guest" 2>/dev/null || true
  fi
  rm -rf "$dir"
}
trap clean EXIT

# ---- a guest with the profile of ivmqd, and one as libvirt makes it for a machine, here for the tool
cp -rL /etc/apparmor.d "$dir/apparmor.d"
mkdir -p "$dir/apparmor.d/local/abstractions"
cp "$root/packaging/apparmor/libvirt-qemu" "$dir/apparmor.d/local/abstractions/"
cp "$root/packaging/apparmor/usr.bin.ivmqd" "$dir/apparmor.d/"
cat >"$dir/apparmor.d/machine" <<'END'
#include <tunables/global>
profile machine flags=(attach_disconnected) {
  #include <abstractions/libvirt-qemu>
  /bin/ivmq mr,
}
END
"$root/tools/guest/make-initrd.sh" --file "$dir/apparmor.d:/etc/apparmor.d" \
  --file /etc/apparmor:/etc/apparmor --file /usr/share/apparmor-features:/usr/share/apparmor-features \
  "$dir/initrd.cpio" "$(command -v ivmq)" "$(command -v ivmqd)" /usr/sbin/apparmor_parser /usr/bin/aa-exec
"$root/tools/guest/boot.sh" --dir "$dir" --initrd "$dir/initrd.cpio" --memory 384 --accel tcg &
guest=$!

in_guest() { # in_guest COMMAND: prints its output
  "$root/tools/guest/run-in.sh" --timeout 100 "$dir" "$1" || {
    "$root/tools/guest/run-in.sh" "$dir" 'dmesg | grep DENIED; cat /tmp/log' >&2 || true
    fail "in the guest: '$1' fails."
  }
}

# AppArmor looks at no file of the first file system that a kernel has.
in_guest 'mkdir -p /run/ivmq /usr/bin && mount -t tmpfs tmpfs /run/ivmq && mount -t tmpfs tmpfs /usr/bin && cp /bin/ivmqd /usr/bin && mount -t securityfs securityfs /sys/kernel/security && apparmor_parser -a /etc/apparmor.d/usr.bin.ivmqd /etc/apparmor.d/machine && echo 4 >/proc/sys/vm/nr_hugepages'
in_guest 'grep -q "^ivmqd (enforce)" /sys/kernel/security/apparmor/profiles'

# ---- a machine has the region, and the next server goes on with it
confined='aa-exec -p machine -- ivmq'
address=unix:/run/ivmq/ivmq.sock
server="\$(ivmq server status $address | sed -n 's/^pid *//p')"
for pages in none 2M; do
  serve="(/usr/bin/ivmqd --socket /run/ivmq/ivmq.sock --size 8M --hugepages $pages >/tmp/log 2>&1 </dev/null &)"
  serve+="; until ivmq server status $address >/dev/null 2>&1; do usleep 20000; done"
  ping="ivmq ping $address vm --count 100 --await 60s --timeout 60s"
  in_guest "$serve; ($confined recv $address --name vm --echo >/dev/null 2>&1 </dev/null &); $ping" |
    grep -q '100 round trips' || fail "a machine cannot use a region with --hugepages $pages."
  in_guest "grep -q '^ivmqd (enforce)' /proc/$server/attr/current"
  in_guest "kill -KILL $server; $serve; grep -q 'went on where' /tmp/log; $ping" |
    grep -q '100 round trips' || fail "the next server does not go on with --hugepages $pages."
  in_guest "kill \$(pidof ivmq) $server; while pidof ivmq ivmqd; do usleep 20000; done" >/dev/null
done

# ---- a plain device's memory, and nobody else's
in_guest 'ivmq format shm:/ivmq-plain --size 1M && ivmq format shm:/other --size 1M' >/dev/null
in_guest "$confined ls shm:/ivmq-plain"
in_guest "! $confined ls shm:/other 2>/dev/null"
denied=$(in_guest "dmesg | grep 'DENIED.*profile=\"ivmqd\"' || true")
[ -z "$denied" ] || fail "ivmqd was denied something: $denied"
