#!/usr/bin/env bash
# Checks the models of this folder with Spin. See --help and docs/models.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'END'
usage: run.sh [--list | --trace NAME | NAME...]
  Checks every model, and that each mutation of one is found; one line each. With names only those.
  --list         the names
  --trace NAME   the steps to the fault, for a mutation or a model that fails
Status 1 if a model fails or a mutation is not found. $CC compiles (gcc), at most $IVMQ_MODEL_JOBS run
at once (one for each processor).
END
}

# NAME | model | holds, or what a mutation brings about | -D of the model | what was changed
table() {
  local race='ONE_DIES COARSE LIVES=2 QUICK=1' mortal='MORTAL ONE_DIES COARSE'
  local room='PRODUCERS=1 MESSAGES=3 ROOM=2 STEP=2' wake='a lost wake-up' stray='a write into units of another ring'
  local two='two live peers of one name'
  local twice='a unit of two rings'
  cat <<END
claim|claim|holds||
claim-fence|claim|$two|NO_FENCE|without the fence
claim-wait|claim|$two|NO_WAIT|without waiting for the claims in higher slots
claim-late|claim|$two|NAME_LATE|with the name written behind the look
claim-unchecked|claim|$two|ENDS_UNCHECKED|with a claim that becomes live unchecked
life|life|holds||
life-reconnect|life|holds|RECONNECTS|
life-accused|life|holds|WRONG|
life-both|life|$stray|WRONG STOPPED|with a live peer marked dead that is stopped behind its look as well
life-proof|life|$stray|SOCKET_END|with a peer taken for dead when its socket ends
life-look|life|$stray|WRONG NO_LOOK|with a live peer marked dead that does not look
life-restores|life|a life over another's|WRONG RESTORES|with a life word that its owner puts right whatever it says
life-lock|life|$stray|EARLY_LOCK|with a lock that goes before the last store
life-remap|life|$stray|RECONNECTS REMAPS_FIRST|with a lock that goes before the life names the next one
life-marks|life|$stray|RECONNECTS MARKS_UNCHECKED|with a life marked dead unchecked
wake|wake|holds|STOP|
wake-producer-fence|wake|$wake|STOP NO_WAKER_FENCE|without the producer's fence
wake-consumer-fence|wake|$wake|STOP NO_SLEEPER_FENCE|without the consumer's fence
wake-recheck|wake|$wake|STOP NO_RECHECK|without the second look
wake-early|wake|$wake|STOP EARLY_LOST|with doorbells forgotten that come before the sleep
wake-flag|wake|$wake|STOP CLEARED_FLAG|with a flag that producers clear
wake-shared|wake|$wake|STOP SHARED_RUNG|with one memory of the value rung for
wake-same|wake|$wake|STOP SAME_VALUE|with the same odd value for each sleep
wake-memory|wake|a second ring for one value|STOP NO_RUNG|without a memory of the value rung for
wake-room|wake|holds|$room|
wake-room-producer-fence|wake|$wake|$room NO_WAITER_FENCE|for room, without the waiting producer's fence
wake-room-consumer-fence|wake|$wake|$room NO_RELEASER_FENCE|for room, without the consumer's fence
wake-room-recheck|wake|$wake|$room NO_ROOM_RECHECK|for room, without the second look
wake-room-lazy|wake|$wake|$room LAZY|for room, without a look for waiting producers before the sleep
sleeper|sleeper|holds||
sleeper-senders|sleeper|holds|SENDERS=2 MESSAGES=0|
sleeper-event-loop|sleeper|holds|EVENT_LOOP|
sleeper-one-epoll|sleeper|$wake|EVENT_LOOP ONE_EPOLL|with one epoll set for Fd() and for threads
sleeper-ticket|sleeper|$wake|LATE_TICKET|with the ticket taken after the look
sleeper-notify|sleeper|$wake|NO_NOTIFY|without a word to the other threads
sleeper-disarm|sleeper|$wake|SENDERS=2 MESSAGES=0 FIRST_DISARMS|with a sender that disarms for all
leader|leader|holds||
leader-deadline|leader|holds|IMPATIENT CALLERS=3|
leader-loop|leader|holds|LOOP|
leader-request|leader|holds|LOOP REQUEST|
leader-loop-comes|leader|holds|LOOP COMES|
leader-look|leader|$wake|LISTED_ONLY|with a follower that looks for no leader
leader-looks-first|leader|$wake|LOOKS_FIRST|with a follower that looks for a leader before it is listed
leader-promotion|leader|$wake|NO_PROMOTION|with a lead that is given back to nobody
leader-late|leader|$wake|IMPATIENT CALLERS=3 KEEPS_PROMOTION|with a thread that is promoted at its deadline and goes
leader-arm|leader|$wake|LOOP UNARMED|without arming for the loop
leader-note|leader|$wake|LOOP FORGETS_LOOP|with a leader that does not look for the loop's note
leader-note-late|leader|$wake|LOOP PASSES_LATE|with a loop that leaves its note behind its look
leader-note-taken|leader|$wake|LOOP TAKES_NOTE|with the note taken by a thread that leads no more
leader-tasks|leader|$wake|LOOP TASKS_UNSEEN|with a thread that arms in spite of tasks
carve|carve|holds|ONE_DIES|
carve-unchecked|carve|$twice|ONE_DIES OWNER_UNCHECKED|with owner words stored unchecked
carve-owners-first|carve|$twice|ONE_DIES OWNERS_FIRST|with the units claimed before the cell names them
carve-live-first|carve|$twice|ONE_DIES LIVE_FIRST|with the cell live before its units are claimed
carve-header|carve|a live ring without a header|ONE_DIES LATE_HEADER|with the header written last
carve-successor|carve|holds|$race|
carve-generation|carve|a live ring reclaimed|$race FORGETS_GENERATION|with generations that begin anew
carve-free|carve|a live ring reclaimed|$race FREE_UNCHECKED|with cells emptied unchecked
carve-judges-first|carve|a live ring reclaimed|$race JUDGES_FIRST|with lives judged before the cell is read
carve-consumer|carve|holds|$mortal|
carve-consumer-fence|carve|a ring to nobody|$mortal CELL_UNFENCED|with the cell stored without a fence
carve-consumer-look|carve|a ring to nobody|$mortal CONSUMER_UNCHECKED|without the look at the consumer's life
handover|handover|holds||
handover-ring|handover|$stray|CLOSES_IN_RING|with a ring that its consumer closes in the ring as well
handover-once|handover|a wait without an end|ANSWERS_ONCE|with an answer of the consumer that is not given again
handover-disarm|handover|$stray|DISARMS_LATE|with a sender that disarms a freed ring
handover-withdrawn|handover|$stray|CARVES_AT_ONCE|with a withdrawn ring replaced at once
handover-silence|handover|a lost wake-up|ADOPTS_IN_SILENCE|with a ring adopted in silence
END
}

row() { # row NAME: its line
  table | grep "^$1|" || {
    echo "run.sh: there is no model '$1'; see run.sh --list" >&2
    return 2
  }
}

scratch=
# shellcheck disable=SC2317 # called by the trap
remove_scratch() { [ -z "$scratch" ] || rm -rf "$scratch"; }
trap remove_scratch EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

check() { # check NAME [TRACE]
  local name model expected macros change line what optimize=-O0 start seconds flags=() macro
  line=$(row "$1") || return 2
  IFS='|' read -r name model expected macros change <<<"$line"
  for macro in $macros; do flags+=("-D$macro"); done
  # What Spin writes takes longer to optimise than to run, but for the largest model.
  [ "$name" != wake ] || optimize=-O2
  what=$model${change:+ $change}
  [ -n "$change" ] || what=$name
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/ivmq-model.XXXXXX")
  cd "$scratch"
  start=$(date +%s%N)
  if ! { spin -a "${flags[@]}" "$here/$model.pml" &&
    "${CC:-gcc}" "$optimize" -w -DSAFETY -DNOFAIR -DMEMLIM=900 -o pan pan.c; } >log 2>&1; then
    cat log >&2
    echo "$what: FAILED: it does not compile"
    return 1
  fi
  # In wake.pml a process that waits for ever is a fault; the other models assert what must be.
  local arguments=(-m10000 -w21)
  [ "$model" = wake ] || arguments+=(-E)
  ./pan "${arguments[@]}" >log 2>&1 || true
  seconds=$(awk -v t="$(($(date +%s%N) - start))" 'BEGIN { printf "%.1f", t / 1e9 }')
  if [ -n "${2:-}" ]; then
    spin -t -k "$(echo ./*.trail)" -p -g "${flags[@]}" "$here/$model.pml"
    return
  fi
  local states
  states=$(sed -n 's/^ *\([0-9e+.]*\) states, stored.*/\1/p' log)
  if ! grep -q 'errors: [0-9]' log || grep -qE 'max search depth too small|out of memory|memory limit' log; then
    tail -n 20 log >&2
    echo "$what: FAILED: the search was not completed"
    return 1
  elif [ "$expected" = holds ]; then
    if ! grep -q 'errors: 0$' log || grep -q 'Search not completed' log; then
      grep '^pan:' log >&2 || true
      echo "$what: FAILED, in $states states; see run.sh --trace $name"
      return 1
    fi
    echo "$what: holds, $states states, $seconds s"
  elif grep -qE '^pan:[0-9]*: (assertion violated|invalid end state)' log; then
    echo "$what: $expected is found, as it must be, $seconds s"
  else
    echo "$what: FAILED: $expected should be found, and is not, in $states states"
    return 1
  fi
}

for tool in spin "${CC:-gcc}"; do
  command -v "$tool" >/dev/null || {
    echo "run.sh: there is no '$tool'; install the Debian package ${tool##*/}" >&2
    exit 2
  }
done
case ${1:-} in
  --help | -h) usage ;;
  --list) table | cut -d '|' -f 1 ;;
  --trace) check "${2:?run.sh --trace NAME}" trace ;;
  --*)
    usage >&2
    exit 2
    ;;
  *)
    if [ $# = 1 ]; then
      check "$1"
    else
      { if [ $# = 0 ]; then table | cut -d '|' -f 1; else printf '%s\n' "$@"; fi; } |
        xargs -P "${IVMQ_MODEL_JOBS:-$(nproc)}" -n 1 "$here/run.sh" || exit 1
    fi
    ;;
esac
