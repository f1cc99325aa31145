#!/usr/bin/env bash
# Runs a command in a guest that boot.sh started, shows its output as it comes, and ends with its
# exit status. Several may run at once. Ctrl-C ends the command in the guest as well.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: run-in.sh [--timeout SECONDS] DIR COMMAND

DIR is boot.sh's. COMMAND is one line for the guest's shell. Waits for the guest to come up first.
Status 124: the time is over (default 60 s); 125: the guest is gone.
example: run-in.sh /tmp/vm1 'uname -r'
EOF
}

timeout=60
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --timeout)
      timeout=$2
      shift 2
      ;;
    *) break ;;
  esac
done
if [ $# -ne 2 ] || [[ $2 == *$'\n'* ]]; then
  usage >&2
  exit 2
fi
dir=$1
command=$2
id=$BASHPID-$RANDOM
deadline=$((SECONDS + timeout))

gone() {
  echo "run-in: the guest of $dir is gone. The end of its console:" >&2
  tail -n 20 "$dir/console.log" >&2 2>/dev/null || true
  exit 125
}

late() {
  echo "run-in: not done within $timeout s in the guest of $dir: $command" >&2
  echo "The end of its console:" >&2
  tail -n 20 "$dir/console.log" >&2 2>/dev/null || true
  exit 124
}

# boot.sh may just have been started.
until [ -s "$dir/pid" ] && [ -p "$dir/agent.in" ] && [ -e "$dir/agent.out" ]; do
  [ $SECONDS -lt $deadline ] || late
  sleep 0.05
done
qemu=$(cat "$dir/pid")

coproc FOLLOW { exec tail --pid="$qemu" -s 0.2 -n +1 -f "$dir/agent.out" 2>/dev/null; }
follow=$FOLLOW_PID
exec 7<&"${FOLLOW[0]}" # bash takes the variable away when the process ends
sent=
# Opened for both ways, so that it does not block when QEMU is gone.
tell() { echo "$1" 1<>"$dir/agent.in"; }

# shellcheck disable=SC2317 # called by the trap
stop() {
  [ -z "$sent" ] || tell "kill $id KILL"
  kill "$follow" 2>/dev/null || true
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

while [ $SECONDS -lt $deadline ]; do
  if ! IFS= read -r -t $((deadline - SECONDS)) line <&7; then
    kill -0 "$qemu" 2>/dev/null || gone
    continue
  fi
  case $line in
    "ready "*)
      [ -n "$sent" ] || tell "run $id $command"
      sent=1
      ;;
    "out $id "*) printf '%s\n' "${line#"out $id "}" ;;
    "part $id "*) printf '%s' "${line#"part $id "}" ;;
    "exit $id "*)
      sent=
      exit "${line#"exit $id "}"
      ;;
  esac
done
late
