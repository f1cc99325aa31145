#!/usr/bin/env bash
# A machine that libvirt makes of packaging/libvirt/ has ivmq's region: its guest and the host ping
# each other through ivmqd, and through a plain device. Status 0: all is as it should be.
#
# libvirtd is started by hand, without systemd and with nothing of this machine's configuration:
# this script runs itself once more with file systems of its own in the places that libvirt writes,
# and with processes and a network of its own, so that nothing is left when it ends, however it ends.
#   IVMQ_BIN     folders of ivmq and ivmqd, as in PATH
#   IVMQ_INITRD  of the test guests
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

fail() {
  echo "libvirt_test: $*" >&2
  exit 1
}

if [ "${1:-}" != inside ]; then
  [ "$(id -u)" = 0 ] || fail "libvirtd runs machines of the system as root only: run this test as root."
  for program in libvirtd virsh qemu-img unshare; do
    command -v $program >/dev/null || fail "$program is missing:" \
      "apt-get install libvirt-daemon-system libvirt-clients qemu-utils"
  done
  exec unshare --mount --net --pid --fork --kill-child=KILL --mount-proc "${BASH_SOURCE[0]}" inside
fi

for folder in /run /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
  mkdir -p "$folder"
  mount -t tmpfs -o mode=755 ivmq-test "$folder"
done
mount -t tmpfs -o mode=1777 ivmq-test /dev/shm
if [ -e /dev/kvm ]; then
  # libvirt would ask QEMU about it again at each step where it is there and cannot be used.
  install -m 000 /dev/null /run/no-kvm
  mount --bind /run/no-kvm /dev/kvm
fi
export PATH=$IVMQ_BIN:$PATH LIBVIRT_DEFAULT_URI=qemu:///system
log=/run/test.log
: >"$log"

# shellcheck disable=SC2317 # called by the trap
show() { # what happened, when the test fails
  local status=$?
  [ $status != 0 ] || return 0
  tail -n 40 "$log" /var/log/libvirt/qemu/*.log /run/vm/console.log >&2 || true
  grep ': error :' /run/libvirtd.log | grep -v Ethtool | tail -n 20 >&2 || true
}
trap show EXIT

# wait_for WHAT COMMAND...: until the command is true.
wait_for() {
  local what=$1 deadline=$((SECONDS + 30))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || fail "not within 30 s: $what"
    sleep 0.05
  done
}

virsh_says() { # virsh_says COMMAND...: it has to work
  timeout 60 virsh "$@" >>"$log" 2>&1 || fail "'virsh $*' fails."
}

in_guest() { # in_guest COMMAND: prints its output
  "$root/tools/guest/run-in.sh" --timeout 100 /run/vm "$1" || fail "in the guest: '$1' fails."
}

pings() { # pings OUTPUT: all of them came back
  grep -q ': 100 round trips of ' <<<"$1" || fail "not all pings came back: $1"
}

# ---- a server as packaging/libvirt/README.md wants it, a region in shm, and libvirtd ----------------
mkdir /run/ivmq
start_ivmqd() { # start_ivmqd GROUP
  ivmqd --socket /run/ivmq/ivmq.sock --size 64M --group "$1" >>"$log" 2>&1 &
  server=$!
  wait_for "ivmqd serves /run/ivmq/ivmq.sock" ivmq server status unix:/run/ivmq/ivmq.sock
}
start_ivmqd root
ivmq format shm:/ivmq --size 64M --group kvm >>"$log"
{ ivmq recv shm:/ivmq --name plain-host --echo || true; } >/dev/null 2>>"$log" &

# Whoever runs this test may have no control groups to give, and /dev has been changed above.
echo 'cgroup_controllers = []
namespaces = []
stdio_handler = "file"' >/etc/libvirt/qemu.conf
echo 'log_outputs = "2:file:/run/libvirtd.log"' >/etc/libvirt/libvirtd.conf
libvirtd >>"$log" 2>&1 &
wait_for "libvirtd answers" virsh version

# ---- the machine: the shipped one, emulated, with the kernel and the agent of the test guests --------
mkdir /run/vm
mkfifo /run/vm/agent.in
touch /run/vm/agent.out
declare -a qemu # boot.sh knows the words for the kernel
eval "qemu=($("$root/tools/guest/boot.sh" --print --accel tcg --dir /run/vm --initrd "$IVMQ_INITRD"))"
for i in "${!qemu[@]}"; do
  case ${qemu[i]} in
    -append) words=${qemu[i + 1]} ;;
    # Copies: libvirt gives them to QEMU's user.
    -kernel) cp "${qemu[i + 1]}" /run/vm/vmlinuz ;;
    -initrd) cp "${qemu[i + 1]}" /run/vm/initrd.cpio ;;
  esac
done
mkdir -p /var/lib/libvirt/images
qemu-img create -q -f qcow2 /var/lib/libvirt/images/ivmq-example.qcow2 1M
sed -e "s|<domain type='kvm'|<domain type='qemu'|" \
  -e "s|<boot dev='hd'/>|<kernel>/run/vm/vmlinuz</kernel><initrd>/run/vm/initrd.cpio</initrd><cmdline>$words</cmdline>|" \
  -e "s|</devices>|<serial type='file'><source path='/run/vm/console.log'/></serial><serial type='pipe'><source path='/run/vm/agent'/><target port='1'/></serial>&|" \
  "$root/packaging/libvirt/example.xml" >/run/vm/domain.xml
virsh_says define --validate /run/vm/domain.xml
virsh_says attach-device --config ivmq-example "$root/packaging/libvirt/plain.xml"

# ---- who may not use the socket is told so, and the server goes on ---------------------------------
if virsh start ivmq-example >>"$log" 2>/run/error; then
  fail "the machine starts, although QEMU's user is not in the group of the socket."
fi
grep -q "'/run/ivmq/ivmq.sock': Permission denied" /run/error || fail "unexpected: $(cat /run/error)"
kill "$server"
wait "$server"
start_ivmqd kvm
{ ivmq recv unix:/run/ivmq/ivmq.sock --name host --echo || true; } >/dev/null 2>>"$log" &

# ---- guest and host ping each other -----------------------------------------------------------------
start_machine() {
  : >/run/vm/agent.out
  virsh_says start ivmq-example
  cp /run/libvirt/qemu/ivmq-example.pid /run/vm/pid
  in_guest 'insmod /lib/ivmq/6.1/ivmq.ko'
}
start_machine
# shellcheck disable=SC2016 # for the guest
device=$(in_guest 'for d in /sys/class/ivmq/*; do [ ! -e $d/device/msi_irqs ] || basename $d; done')
# shellcheck disable=SC2016 # likewise
plain=$(in_guest 'for d in /sys/class/ivmq/*; do [ -e $d/device/msi_irqs ] || basename $d; done')
pings "$(in_guest "ivmq ping ivmq:/dev/$device host --count 100 --await 60s --timeout 60s")"
pings "$(in_guest "ivmq ping ivmq:/dev/$plain plain-host --count 100 --await 60s --timeout 60s")"
in_guest "(ivmq recv ivmq:/dev/$device --name vm --echo >/dev/null 2>&1 &)"
pings "$(timeout 100 ivmq ping unix:/run/ivmq/ivmq.sock vm --count 100 --await 60s --timeout 60s)"
# What the example's port is for.
if in_guest "ivmq doctor ivmq:/dev/$device" | grep 'uncached' >&2; then
  fail "the region is uncached in the guest."
fi

# ---- a device is plugged in and out while the machine runs ------------------------------------------
sed "s|</shmem>|<address type='pci' bus='11' slot='0'/>&|" "$root/packaging/libvirt/doorbell.xml" >/run/vm/second.xml
virsh_says attach-device --live ivmq-example /run/vm/second.xml
wait_for "the guest has the device" "$root/tools/guest/run-in.sh" /run/vm '[ -e /dev/ivmq2 ]'
pings "$(in_guest 'ivmq ping ivmq:/dev/ivmq2 host --count 100 --await 60s --timeout 60s')"
virsh_says detach-device --live ivmq-example /run/vm/second.xml

# ---- and when it is off and on again, it is there again ----------------------------------------------
virsh_says destroy ivmq-example
start_machine
pings "$(in_guest "ivmq ping ivmq:/dev/$device host --count 100 --await 60s --timeout 60s")"
virsh_says destroy ivmq-example
virsh_says undefine ivmq-example
