#!/usr/bin/env bash
# The demo: see `./dev demo`, which builds what is needed and calls this.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
guest=$(cd "$here/../../tools/guest" && pwd)

usage() {
  cat <<'EOT'
usage: run.sh [--host] [--count N] [--keep]

Boots three guests under QEMU: vm1 and vm2 on an ivshmem-doorbell device served by ivmqd, with the
driver ivmq.ko, vm3 on an ivshmem-plain device. Peers in them and on this host send each other
messages and check every byte; then the host calls vm1, whose handler calls vm2, and vm1 calls vm2,
the latter also by gRPC over virtio-net if demo_grpc is built (IVMQ_WITH_GRPC).

  --host     instead, three processes of this host: no QEMU, some seconds
  --count N  small messages in each direction, and calls (default 300)
  --keep     keeps the folder with the logs

Environment: IVMQ_BUILD_DIR, where ivmq was built; IVMQ_ACCEL=tcg|kvm; IVMQ_DEMO_LIMIT, seconds to
wait for a guest to boot or for a message (default 90); IVMQ_GUEST_KERNEL, an image of your own,
which has no driver: then the guests look by themselves.
Ends with 0 if every message arrived whole, in every direction.
EOT
}

mode=guests count=300 keep=
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --host) mode=host ;;
    --keep) keep=1 ;;
    --count)
      count=${2:-}
      [[ $count =~ ^[1-9][0-9]{0,6}$ ]] || { echo "demo: --count needs a number" >&2 && exit 2; }
      shift
      ;;
    *)
      echo "demo: unknown option $1; see --help" >&2
      exit 2
      ;;
  esac
  shift
done

build=${IVMQ_BUILD_DIR:?must name the folder where ivmq was built; use ./dev demo}
limit=${IVMQ_DEMO_LIMIT:-90}
accel=${IVMQ_ACCEL:-tcg}
ivmqd=$build/tools/ivmqd
ivmq=$build/tools/ivmq/ivmq
demo_peer=$build/examples/demo/demo_peer
demo_rpc=$build/examples/demo/demo_rpc
demo_grpc=$build/examples/demo/demo_grpc # may be missing
for program in "$ivmqd" "$ivmq" "$demo_peer" "$demo_rpc"; do
  [ -x "$program" ] || {
    echo "demo: $program is not built; use ./dev demo" >&2
    exit 1
  }
done

# ---- processes -----------------------------------------------------------------------------------

work=$(mktemp -d "${TMPDIR:-/tmp}/ivmq-demo.XXXXXX")
plain=  # the folder of the plain region
started=()
vms=()
declare -A peers=() # pid of each peer

say() { printf '%s\n' "$*"; }

# start LOG COMMAND...: runs a command in the background; its pid is in $pid. It is told to end when
# this script does, however that happens.
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
  # The newest first: peers, then guests, then their server.
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do
    kill -TERM "${started[i]}" 2>/dev/null || true
  done
  for i in "${started[@]}"; do
    finished "$i" 5 || kill -KILL "$i" 2>/dev/null || true
    wait "$i" 2>/dev/null || true
  done
  [ -z "$plain" ] || rm -rf "$plain"
  if [ -n "$keep" ]; then
    say "Logs are in $work"
  else
    rm -rf "$work"
  fi
}
trap end_all EXIT
trap 'echo; echo "Interrupted: ending what was started."; exit 130' INT
trap 'exit 143' TERM

# finished PID SECONDS: waits until the process has ended; false if it has not by then.
finished() {
  local end=$((SECONDS + $2))
  while running "$1"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.05
  done
}

running() { # not: a zombie, which only waits to be waited for
  local state=
  { read -r _ _ state _ <"/proc/$1/stat"; } 2>/dev/null || return 1
  [ "$state" != Z ]
}

fail() {
  local vm
  printf 'demo: %s\n' "$@" >&2
  for vm in "${vms[@]}"; do
    echo "---- the end of the console of $vm ----" >&2
    tail -n 20 "$work/$vm/console.log" >&2 2>/dev/null || echo "(nothing)" >&2
  done
  if [ -s "$work/ivmqd.log" ]; then
    echo "---- the end of the log of ivmqd ----" >&2
    tail -n 10 "$work/ivmqd.log" >&2
  fi
  exit 1
}

# ---- steps ---------------------------------------------------------------------------------------

serve() {
  start "$work/ivmqd.log" "$ivmqd" --socket "$work/ivmq.sock" --size 16M
  local server=$pid end=$((SECONDS + limit))
  until [ -S "$work/ivmq.sock" ]; do
    running "$server" || fail "ivmqd has ended:" "$(cat "$work/ivmqd.log")"
    [ $SECONDS -lt $end ] || fail "ivmqd does not listen at $work/ivmq.sock after $limit s"
    sleep 0.05
  done
}

boot() { # boot VM DEVICE_OPTION VALUE
  local vm=$1
  shift
  mkdir "$work/$vm"
  vms+=("$vm")
  start "$work/$vm/qemu.log" "$guest/boot.sh" --dir "$work/$vm" --name "$vm" \
    --kernel "$kernel" --initrd "$work/initrd.cpio" "$@"
}

await_boot() { # await_boot VM BEGIN
  start "$work/$1/boot.log" "$guest/run-in.sh" --timeout "$limit" "$work/$1" "uname -r"
  wait "$pid" || fail "$1 has not come up within $limit s:" "$(cat "$work/$1/qemu.log")"
  say "    $1 is up after $((SECONDS - $2)) s (Linux $(cat "$work/$1/boot.log"))"
}

peer_on_host() { # peer_on_host NAME ADDRESS
  start "$work/peer-$1.log" "$demo_peer" --name "$1" --address "$2" --limit "$limit"
  peers[$1]=$pid
}

peer_in_guest() { # peer_in_guest VM OPTION...
  local vm=$1
  shift
  start "$work/peer-$vm.log" "$guest/run-in.sh" --timeout $((limit * 20)) "$work/$vm" \
    "demo_peer --name $vm --limit $limit $*"
  peers[$vm]=$pid
}

load_driver() { # load_driver VM
  start "$work/$1/driver.log" "$guest/run-in.sh" --timeout "$limit" "$work/$1" \
    "insmod /lib/ivmq.ko && ls /dev/ivmq0"
  wait "$pid" || fail "the driver does not load in $1:" "$(cat "$work/$1/driver.log")"
}

await_peers() { # await_peers NAME...: until each has said how it reaches the region
  local name end=$((SECONDS + limit))
  say ""
  for name in "$@"; do
    until [ -s "$work/peer-$name.log" ]; do
      running "${peers[$name]}" || fail "the peer $name has ended at once"
      [ $SECONDS -lt $end ] || fail "the peer $name says nothing for $limit s"
      sleep 0.05
    done
    sed 's/^/    /' "$work/peer-$name.log"
  done
}

# show_idle VM...: what the waiting peers cost their guests.
show_idle() {
  local vm seconds=3 nanoseconds permille
  # The time that all threads of the process have had on a processor.
  local spent="cat /proc/\$(pidof demo_peer)/task/*/schedstat | { s=0; while read -r t _; do s=\$((s + t)); done; echo \$s; }"
  say ""
  for vm in "$@"; do
    start "$work/$vm/idle.log" "$guest/run-in.sh" --timeout "$limit" "$work/$vm" \
      "a=\$($spent); sleep $seconds; b=\$($spent); echo \$((b - a))"
    wait "$pid" || fail "the peer's time in $vm cannot be measured:" "$(cat "$work/$vm/idle.log")"
    nanoseconds=$(cat "$work/$vm/idle.log")
    permille=$((nanoseconds / seconds / 1000000))
    printf '    %s waits for messages: %d.%d %% of its processor over %d s\n' "$vm" \
      $((permille / 10)) $((permille % 10)) "$seconds"
  done
}

# talk ADDRESS NAME...: starts a peer on the host that has all of them talk; the others were started
# before. All must end with 0.
talk() {
  local address=$1 names name
  shift
  names=$(IFS=, && echo "$*")
  setpriv --pdeathsig TERM "$demo_peer" --name host --address "$address" --with "$names" \
    --count "$count" --limit "$limit" </dev/null 2>&1 &
  started+=("$!")
  wait $! || fail "not every message arrived." "$(tail -n 3 "$work"/peer-*.log)"
  for name in "$@"; do
    finished "${peers[$name]}" "$limit" || fail "the peer $name has not ended within $limit s"
    wait "${peers[$name]}" || fail "the peer $name failed:" "$(cat "$work/peer-$name.log")"
  done
}

call_heading() {
  printf '\n  %-20s %-22s %7s   %29s\n  %-20s %-22s %7s   %9s %9s %9s\n' \
    "" "" "" "microseconds" "one after the other" "over" "right" p50 p99 max
}

call_on_host() { # call_on_host SERVER,SERVER
  start "$work/calls.log" "$demo_rpc" --name host --address "unix:$work/ivmq.sock" --call "$1" \
    --count "$count" --limit "$limit"
  wait "$pid" || fail "a call failed:" "$(cat "$work/calls.log")"
  cat "$work/calls.log"
}

call_in_guest() { # call_in_guest VM COMMAND
  start "$work/calls.log" "$guest/run-in.sh" --timeout $((limit * 20)) "$work/$1" "$2"
  wait "$pid" || fail "a call failed:" "$(cat "$work/calls.log")"
  cat "$work/calls.log"
}

serve_in_guest() { # serve_in_guest NAME VM COMMAND: until the end of the demo
  start "$work/peer-$1.log" "$guest/run-in.sh" --timeout $((limit * 20)) "$work/$2" "$3"
  peers[$1]=$pid
}

# ---- the demo ------------------------------------------------------------------------------------

say "==> ivmqd serves a region of 16 MiB"
serve

if [ $mode = host ]; then
  say "==> Three processes of this host talk through it"
  peer_on_host app1 "unix:$work/ivmq.sock"
  peer_on_host app2 "unix:$work/ivmq.sock"
  await_peers app1 app2
  talk "unix:$work/ivmq.sock" app1 app2
  say ""
  say "==> The host calls app1 by its name, whose handler calls app2 before it answers"
  for name in app1 app2; do
    start "$work/peer-$name-calls.log" "$demo_rpc" --name "$name" \
      --address "unix:$work/ivmq.sock" --limit "$limit"
    peers[$name-calls]=$pid
  done
  await_peers app1-calls app2-calls
  call_heading
  call_on_host app2
  call_on_host app1,app2
  say ""
  say "Every message arrived whole, in every direction, and every call was answered. With virtual"
  say "machines: ./dev demo"
  exit 0
fi

case $accel in
  tcg) machine="emulated (TCG)" ;;
  *) machine="with $accel" ;;
esac
kernel=$("$guest/fetch-kernel.sh")
driver='' files=()
if [ -z "${IVMQ_GUEST_KERNEL:-}" ]; then
  driver=$("$guest/build-driver.sh" 2>"$work/driver.log") ||
    fail "the driver does not build:" "$(tail -n 20 "$work/driver.log")"
  files=(--file "$driver:/lib/ivmq.ko")
fi
programs=("$demo_peer" "$demo_rpc")
# gRPC between vm1 and vm2 goes over a network of their own; a kernel of the user's has no modules.
load_net=''
if [ -n "$driver" ] && [ -x "$demo_grpc" ]; then
  programs+=("$demo_grpc")
  net_modules=$("$guest/net-modules.sh" "$kernel") || fail "the guests' kernel has no virtio-net"
  for module in $net_modules; do
    files+=(--file "$module:/lib/net/${module##*/}")
    load_net+="insmod /lib/net/${module##*/} && "
  done
fi
"$guest/make-initrd.sh" "${files[@]}" "$work/initrd.cpio" "${programs[@]}"
# A region without a server: a file that the host maps, and that QEMU shows to vm3 as a device.
plain=/dev/shm/$(basename "$work")
mkdir -m 700 "$plain"
"$ivmq" format "file:$plain/region" --size 16M >"$work/format.log" 2>&1 ||
  fail "no region in $plain:" "$(cat "$work/format.log")"

say "==> Booting three guests under QEMU, $machine: vm1 and vm2 with an ivshmem-doorbell device,"
say "    vm3 with an ivshmem-plain device"
begin=$SECONDS
card() { # card VM OTHER NUMBER: the network card of VM, whose cable ends at OTHER's
  [ -n "$load_net" ] || return 0
  qemu=(-- -netdev
    "dgram,id=net,local.type=unix,local.path=$work/$1.net,remote.type=unix,remote.path=$work/$2.net"
    -device "virtio-net-pci,netdev=net,mac=52:54:00:00:00:0$3")
}
qemu=()
card vm1 vm2 1
boot vm1 --doorbell "$work/ivmq.sock,8" "${qemu[@]}"
card vm2 vm1 2
boot vm2 --doorbell "$work/ivmq.sock,8" "${qemu[@]}"
boot vm3 --plain "$plain/region,16M"
for vm in "${vms[@]}"; do await_boot "$vm" "$begin"; done

say "==> host, vm1 and vm2 talk through ivshmem-doorbell${driver:+, each asleep until an interrupt wakes it}"
for vm in vm1 vm2; do
  [ -z "$driver" ] || load_driver "$vm"
  peer_in_guest "$vm" --spin 0
done
await_peers vm1 vm2
[ -z "$driver" ] || show_idle vm1 vm2
talk "unix:$work/ivmq.sock" vm1 vm2
for vm in vm1 vm2; do tail -n 1 "$work/peer-$vm.log"; done

say ""
say "==> The host calls vm1 by its name, whose handler calls vm2 before it answers; vm1 calls vm2"
for vm in vm1 vm2; do
  serve_in_guest "$vm-calls" "$vm" "demo_rpc --name $vm --limit $limit --spin 0"
done
await_peers vm1-calls vm2-calls
if [ -n "$load_net" ]; then
  for number in 1 2; do
    start "$work/net.log" "$guest/run-in.sh" --timeout "$limit" "$work/vm$number" \
      "${load_net}ip addr add 10.0.0.$number/24 dev eth0 && ip link set eth0 up"
    wait "$pid" || fail "vm$number has no network:" "$(cat "$work/net.log")"
  done
  serve_in_guest vm2-grpc vm2 "demo_grpc serve 10.0.0.2:50051 vm2"
  await_peers vm2-grpc
fi
call_heading
call_on_host vm1,vm2
call_in_guest vm1 "demo_rpc --name vm1-client --call vm2 --count $count --limit $limit --spin 0"
if [ -n "$load_net" ]; then
  call_in_guest vm1 "demo_grpc call 10.0.0.2:50051 vm2 vm1-client $count $limit"
fi

say ""
say "==> host and vm3 talk through ivshmem-plain"
peer_in_guest vm3
await_peers vm3
talk "file:$plain/region" vm3

say ""
say "Every message arrived whole, in every direction, between the host and three virtual machines,"
say "and every call was answered."
if [ "$accel" = tcg ]; then
  say "The times are those of emulated guests (TCG), on $(nproc) processors shared by all of them:"
  say "they show that it works, not how fast it is on hardware. For figures: ./dev bench"
fi
