#!/usr/bin/env bash
# The one place that knows how a test guest is started. Becomes QEMU, so that the pid of this
# process is QEMU's; QEMU is killed when the process that called boot.sh ends.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: boot.sh --dir DIR --initrd FILE [OPTION...] [-- QEMU_ARGUMENT...]

Starts a guest whose files are in the existing folder DIR: console.log, agent.in and agent.out (commands, see
agent and run-in.sh), qmp.sock, pid.

  --kernel FILE             image (default: build/guest/kernel-6.1/vmlinuz)
  --name NAME               host name in the guest (default: vm)
  --doorbell SOCKET[,N]     an ivshmem-doorbell device with N vectors (default 8), served at SOCKET
  --plain FILE,SIZE[,master]
                            an ivshmem-plain device over FILE of SIZE (as in 8M); only with
                            "master" can the guest's state be saved
  --machine pc|q35          (default: pc, which restores and hot-plugs)
  --memory MIB              (default: 192; at least 96)
  --accel tcg|kvm           (default: $IVMQ_ACCEL or tcg)
  --append WORDS            more words for the kernel command line
  --incoming FILE           goes on from a state saved with `migrate "exec:cat > FILE"`
  --print                   prints the command line and does not run it

example: boot.sh --dir /tmp/vm1 --name vm1 --initrd build/release/guest/initrd.cpio \
                 --doorbell /run/ivmq/ivmq.sock &
         run-in.sh /tmp/vm1 'ivmq ls pci:auto'
EOF
}

fail() {
  printf 'boot: %s\n' "$@" >&2
  exit 1
}

quote() { # a value within a QEMU option: commas are doubled
  printf '%s' "${1//,/,,}"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dir='' initrd='' name=vm machine=pc memory=192 accel=${IVMQ_ACCEL:-tcg} append='' incoming='' print=''
kernel=${IVMQ_GUEST_KERNEL:-$root/build/guest/kernel-6.1/vmlinuz}
devices=()
count=0

while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --print)
      print=1
      shift
      continue
      ;;
    --)
      shift
      break
      ;;
  esac
  [ $# -ge 2 ] || fail "$1 needs a value, or is not an option; see --help."
  case $1 in
    --dir) dir=$2 ;;
    --initrd) initrd=$2 ;;
    --kernel) kernel=$2 ;;
    --name) name=$2 ;;
    --machine) machine=$2 ;;
    --memory) memory=$2 ;;
    --accel) accel=$2 ;;
    --append) append=$2 ;;
    --incoming) incoming=$2 ;;
    --doorbell)
      socket=$2 vectors=8
      if [[ $2 =~ ^(.*),([0-9]+)$ ]]; then
        socket=${BASH_REMATCH[1]} vectors=${BASH_REMATCH[2]}
      fi
      devices+=(-chardev "socket,id=ivmq$count,path=$(quote "$socket")"
        -device "ivshmem-doorbell,chardev=ivmq$count,vectors=$vectors")
      count=$((count + 1))
      ;;
    --plain)
      [[ $2 =~ ^(.*),([0-9]+[KMG]?)(,master)?$ ]] ||
        fail "--plain needs FILE,SIZE[,master], got '$2'."
      [ -n "${BASH_REMATCH[3]}" ] && master=on || master=off
      devices+=(-object
        "memory-backend-file,id=ivmq$count,share=on,mem-path=$(quote "${BASH_REMATCH[1]}"),size=${BASH_REMATCH[2]}"
        -device "ivshmem-plain,memdev=ivmq$count,master=$master")
      count=$((count + 1))
      ;;
    *) fail "unknown option $1; see --help." ;;
  esac
  shift 2
done

[ -n "$dir" ] || fail "--dir is missing; see --help."
[ -d "$dir" ] || fail "--dir $dir: no such folder."
[ -r "$initrd" ] || fail "--initrd '$initrd' cannot be read; make it with make-initrd.sh" \
  "(that of the tests: cmake --build build/release --target guest_image)."
[ -r "$kernel" ] || fail "the kernel $kernel cannot be read; get it with fetch-kernel.sh."
qemu=$(command -v qemu-system-x86_64) ||
  fail "qemu-system-x86_64 is missing: apt-get install qemu-system-x86."
[ ${#dir} -le 90 ] || fail "--dir $dir: too long for the path of a socket; use a shorter one."

words="console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check random.trust_cpu=on"
words+=" cryptomgr.notests mitigations=off nokaslr ivmq.name=$name"
case $accel in
  # The loop count of the delay calibration, which an emulated clock would stretch.
  tcg) cpu=max words+=" lpj=12500000" ;;
  kvm)
    cpu=host
    if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
      fail "--accel kvm: /dev/kvm cannot be used by $(id -un)." \
        "Use --accel tcg (the default), or get access to /dev/kvm."
    fi
    ;;
  *) fail "--accel $accel: use tcg or kvm." ;;
esac

# maxcpus=2: with one possible CPU, TCG does locked instructions and fences without atomicity
# towards other processes, and neither locks nor the sleep protocol would work across the region.
command=("$qemu" -accel "$accel" -M "$machine" -cpu "$cpu" -smp "1,maxcpus=2" -m "$memory"
  -nodefaults -no-user-config -display none -no-reboot
  -kernel "$kernel" -initrd "$initrd" -append "$words${append:+ $append}"
  -chardev "file,id=console,path=$(quote "$dir/console.log")" -device "isa-serial,chardev=console,index=0"
  -chardev "pipe,id=agent,path=$(quote "$dir/agent")" -device "isa-serial,chardev=agent,index=1"
  -qmp "unix:$(quote "$dir/qmp.sock"),server=on,wait=off"
  "${devices[@]}")
if [ -n "$incoming" ]; then
  command+=(-incoming "exec:cat $(printf %q "$incoming")")
fi
command+=("$@")

if [ -n "$print" ]; then
  printf '%q ' "${command[@]}"
  echo
  exit 0
fi

# QEMU opens both ends by name: commands come through a FIFO, answers go to a plain file, which any
# number of readers can follow.
rm -f "$dir/agent.in" "$dir/agent.out" "$dir/qmp.sock"
mkfifo "$dir/agent.in"
: >"$dir/agent.out"
echo $$ >"$dir/pid"
exec setpriv --pdeathsig KILL "${command[@]}" </dev/null
