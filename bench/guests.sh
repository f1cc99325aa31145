#!/usr/bin/env bash
# Measures round trips between two guests; `./dev bench guests` builds what is needed and calls this.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
guest=$(cd "$here/../tools/guest" && pwd)

usage() {
  cat <<'EOT'
usage: guests.sh [ARGUMENT...]

Boots two guests with the driver, an ivshmem-doorbell device served by ivmqd, an ivshmem-plain one
and a virtio-net card each, and runs guest_bench in them; arguments (--rounds N, --slot MS) go to it.

Environment: IVMQ_BUILD_DIR, where ivmq was built; IVMQ_ACCEL=tcg|kvm; IVMQ_BENCH_LIMIT, seconds
that the measurement may take (default 600).
EOT
}

case ${1:-} in -h | --help)
  usage
  exit 0
  ;;
esac

build=${IVMQ_BUILD_DIR:?must name the folder where ivmq was built; use ./dev bench guests}
limit=${IVMQ_BENCH_LIMIT:-600}
accel=${IVMQ_ACCEL:-tcg}
work=$(mktemp -d "${TMPDIR:-/tmp}/ivmq-bench.XXXXXX")
scratch=$(mktemp /dev/shm/ivmq-bench.XXXXXX)
started=()

# start LOG COMMAND...: in the background; its pid is in $pid. Ends with this script.
start() {
  local log=$1
  shift
  setpriv --pdeathsig TERM "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  started+=("$pid")
}

# shellcheck disable=SC2317 # called by the trap
end_all() {
  local i
  trap '' INT TERM
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do
    kill -TERM "${started[i]}" 2>/dev/null || true
  done
  wait
  rm -rf "$work" "$scratch"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
  printf 'bench: %s\n' "$@" >&2
  tail -n 10 "$work"/*.log "$work"/*/console.log >&2 2>/dev/null || true
  exit 1
}

run_in() { "$guest/run-in.sh" --timeout "$limit" "$work/$1" "$2"; }

# ---- the guests ----------------------------------------------------------------------------------

kernel=$("$guest/fetch-kernel.sh")
driver=$("$guest/build-driver.sh" 2>"$work/driver.log") || fail "the driver does not build."
net_modules=$("$guest/net-modules.sh" "$kernel") || fail "no virtio-net."
files=(--file "$driver:/lib/bench/ivmq.ko") load='insmod /lib/bench/ivmq.ko'
for module in $net_modules; do
  files+=(--file "$module:/lib/bench/${module##*/}")
  load+=" && insmod /lib/bench/${module##*/}"
done
"$guest/make-initrd.sh" "${files[@]}" "$work/initrd.cpio" "$build/bench/guest_bench"

start "$work/ivmqd.log" "$build/tools/ivmqd" --socket "$work/ivmq.sock" --size 64M
truncate -s 2M "$scratch"
until [ -S "$work/ivmq.sock" ]; do
  kill -0 "$pid" 2>/dev/null || fail "ivmqd has ended."
  sleep 0.05
done

boot() { # boot VM OTHER NUMBER
  mkdir "$work/$1"
  start "$work/$1.log" "$guest/boot.sh" --dir "$work/$1" --name "$1" --kernel "$kernel" \
    --initrd "$work/initrd.cpio" --accel "$accel" --doorbell "$work/ivmq.sock,8" \
    --plain "$scratch,2M" -- \
    -netdev "dgram,id=net,local.type=unix,local.path=$work/$1.net,remote.type=unix,remote.path=$work/$2.net" \
    -device "virtio-net-pci,netdev=net,mac=52:54:00:00:00:0$3"
}
boot vm1 vm2 1
boot vm2 vm1 2
for number in 1 2; do
  run_in "vm$number" "$load && ip addr add 10.0.0.$number/24 dev eth0 && ip link set eth0 up" \
    >"$work/setup.log" 2>&1 || fail "vm$number does not come up."
done

# ---- the measurement -----------------------------------------------------------------------------

case $accel in
  tcg) machine="emulated (TCG): ratios of one run mean something, microseconds little" ;;
  *) machine="with $accel" ;;
esac
echo "# ivmq between guests"
echo
echo "- host: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores," \
  "$(uname -sr); two guests, $machine"
echo "- guests: Linux $(run_in vm1 'uname -r'); date: $(date -u '+%F %H:%M') UTC"
echo
start "$work/server.log" "$guest/run-in.sh" --timeout "$limit" "$work/vm1" \
  "guest_bench server 10.0.0.1 $*"
server=$pid
start "$work/client.log" "$guest/run-in.sh" --timeout "$limit" "$work/vm2" \
  "guest_bench client 10.0.0.1 $*"
client=$pid
# When one side fails the other would wait for it.
wait -n "$client" "$server" || fail "the measurement failed."
wait "$server" || fail "the server failed."
wait "$client" || fail "the client failed."
cat "$work/client.log"
