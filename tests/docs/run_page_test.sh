#!/usr/bin/env bash
# What tests/package/run_page.sh does with the blocks of a page, and what it calls a failure.
set -euo pipefail
run_page=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../package/run_page.sh")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch IVMQ_PAGE_TRIES=3
failed=0

# expect STATUS WHAT [PATTERN]: runs the page of standard input.
expect() {
  local status=0
  cat >"$scratch/page.md"
  "$run_page" "$scratch/page.md" >"$scratch/out" 2>&1 || status=$?
  if [ "$status" != "$1" ] || ! grep -q -- "${3:-}" "$scratch/out"; then
    echo "FAILED: $2: status $status, and it said:"
    cat "$scratch/out"
    failed=1
  fi
}

expect 0 "files are written and commands run in the order of the page" <<'EOF'
```cpp title="folder/it's.txt"
$HOME stays as it is
```
```sh run
first=1
cat "folder/it's.txt"
```
```text prints
$HOME stays as it is
```
```sh run
echo "$first"
```
```sh
exit 1 # not marked
```
EOF

expect 0 "lines that come later are waited for, and ... stands for anything" <<'EOF'
```sh run
(until [ -e go ]; do sleep 0.01; done; echo "pid 17 says hello"; echo one 1, two 1; echo end) &
touch go
```
```text prints
pid ... says ...
one ... 1
...nd
```
EOF

expect 1 "a command that fails ends the page" <<'EOF'
```sh run
false
touch "$TMPDIR/went-on"
```
EOF
[ ! -e "$scratch/went-on" ] || failed=1

expect 1 "a line that is not printed is a failure, and named" "^no such line" <<'EOF'
```sh run
echo a line
```
```text prints
no such line
```
EOF

expect 1 "lines in another order are a failure" <<'EOF'
```sh run
echo one; echo two
```
```text prints
two
one
```
EOF

expect 1 "what an earlier block printed does not count" <<'EOF'
```sh run
echo one
```
```sh run
echo two
```
```text prints
one
```
EOF

expect 2 "a block of an unknown kind is a failure" "unknown kind" <<'EOF'
```bash run
true
```
EOF

expect 2 "a page with nothing to run is a failure" "no block to run" <<'EOF'
# Nothing
EOF

expect 0 "a page may leave something running" <<'EOF'
```sh run
sleep 100 &
echo $! >"$TMPDIR/left"
```
EOF
if ! timeout 10 tail --pid="$(cat "$scratch/left")" -f /dev/null; then
  echo "FAILED: what the page left running goes on"
  failed=1
fi

exit $failed
