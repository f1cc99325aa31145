#!/usr/bin/env bash
# run_page.sh [--keep] PAGE.md [FOLDER]: does what a page of the documentation tells its reader to do.
#
# In the order of the page, in FOLDER (default: a new one, which is removed), by one shell:
#   ```LANGUAGE title="FILE"   writes FILE
#   ```sh run                  runs the commands; the first one that fails ends the page
#   ```text prints             waits until these lines were printed since the block before; within a
#                              line, ... stands for anything
# Other blocks are for the reader only. Needs bash, awk and what the page itself calls.
set -euo pipefail

if [ "${1:-}" = --keep ]; then
  keep=1
  shift
fi
if [ $# != 1 ] && [ $# != 2 ]; then
  sed -n '2,/^[^#]/{/^[^#]/d;s/^# \{0,1\}//;p}' "$0" >&2
  exit 2
fi
[ -f "$1" ] || { echo "run_page.sh: there is no page $1" >&2 && exit 2; }
page=$(realpath "$1")
work=$(mktemp -d "${TMPDIR:-/tmp}/ivmq-run-page.XXXXXX")
folder=${2:-$work/page}
shell=

# shellcheck disable=SC2317 # called by the trap
leave() {
  # What the page left running is in the group of the shell that ran it.
  [ -z "$shell" ] || kill -TERM -- "-$shell" 2>/dev/null || true
  if [ -n "${keep:-}" ]; then echo "run_page.sh: left $work"; else rm -rf "$work"; fi
}
trap leave EXIT

# The page as a script.
awk '
  function quoted(text) { gsub(/\047/, "\047\\\047\047", text); return "\047" text "\047" }
  function fail(what) {
    print "run_page.sh: line " NR ": " what > "/dev/stderr"
    failed = 1
    exit 2
  }
  !inside && /^```/ {
    inside = 1
    kind = ""
    if (match($0, / title="[^"]+"/)) {
      kind = "file"
      print "writes " quoted(substr($0, RSTART + 8, RLENGTH - 9)) " <<\047END OF BLOCK\047"
    } else if ($0 ~ /^```sh run$/) {
      kind = "run"
      print "begins " NR
    } else if ($0 ~ /^```text prints$/) {
      kind = "prints"
      print "prints " NR " <<\047END OF BLOCK\047"
    } else if ($0 ~ / (run|prints)$/) {
      fail("a block of an unknown kind: " $0)
    }
    blocks[kind]++
    next
  }
  inside && /^```$/ {
    if (kind == "file" || kind == "prints") print "END OF BLOCK"
    inside = 0
    next
  }
  inside && kind != "" { print }
  END {
    if (failed) exit 2
    if (inside) fail("the last block has no end")
    if (!blocks["run"]) fail("the page has no block to run")
  }' "$page" >"$work/page.sh"

cat >"$work/words.sh" <<'EOF'
seen=0
writes() { mkdir -p "$(dirname "$1")" && cat >"$1"; }
begins() { # what is printed from here on is what the block prints
  seen=$(stat -c %s "$log")
  echo "-- line $1"
}
prints() {
  local expected tries
  expected=$(cat)
  for ((tries = 0; tries < tries_limit; tries++)); do
    if tail -c "+$((seen + 1))" "$log" | tr -d '\r' | expected=$expected awk '
      BEGIN { count = split(ENVIRON["expected"], line, "\n"); at = 1 }
      function matches(text, pattern,   parts, n, i, where) {
        n = split(pattern, parts, "\\.\\.\\.")
        if (n == 1) return text == pattern
        if (substr(text, 1, length(parts[1])) != parts[1]) return 0
        text = substr(text, length(parts[1]) + 1)
        for (i = 2; i < n; i++) {
          where = index(text, parts[i])
          if (!where) return 0
          text = substr(text, where + length(parts[i]))
        }
        return length(text) >= length(parts[n]) &&
          substr(text, length(text) - length(parts[n]) + 1) == parts[n]
      }
      at <= count && matches($0, line[at]) { at++ }
      END { exit at <= count }'; then
      return 0
    fi
    sleep 0.1 # between two looks at what was printed
  done
  printf 'run_page.sh: line %s: these lines were not printed:\n%s\n' "$1" "$expected" >&2
  return 1
}
EOF

: >"$work/log"
mkdir -p "$folder"
cd "$folder"
set -m # a group of its own
log=$work/log tries_limit=${IVMQ_PAGE_TRIES:-300} \
  bash -c 'set -euo pipefail; . "$1"; . "$2"' run_page "$work/words.sh" "$work/page.sh" \
  >>"$work/log" 2>&1 </dev/null &
shell=$!
set +m
status=0
wait "$shell" || status=$?
cat "$work/log"
if [ "$status" != 0 ]; then
  echo "run_page.sh: ${page##*/} does not hold: status $status in what begins at the last line named" >&2
  exit 1
fi
echo "run_page.sh: ${page##*/} holds"
