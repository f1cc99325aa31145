#!/bin/sh
# What ./dev says to those who ask for help, or mistype a word.
set -eu
dev=$1/dev

expect() { # expect STATUS TEXT WORD...: ./dev WORD... ends with STATUS and prints TEXT
  wanted=$1 text=$2 status=0
  shift 2
  printed=$("$dev" "$@" 2>&1 </dev/null) || status=$?
  case $printed in *"$text"*) found=1 ;; *) found=0 ;; esac
  if [ "$status" != "$wanted" ] || [ "$found" = 0 ]; then
    echo "./dev $*: status $status, not $wanted with '$text': $printed"
    exit 1
  fi
}

for command in demo test campaign bench lint; do
  expect 0 "  $command " $command --help
done
expect 0 "usage: ./dev" --help
expect 0 "without QEMU" demo --host --help
expect 2 "did you mean test?" tset
expect 2 "there is no command 'frobnicate'; see" frobnicate
expect 2 "did you mean --host?" demo --hots
expect 2 "did you mean unit?" test unti
expect 2 "did you mean kill?" campaign kil
expect 2 "did you mean --fix?" lint --fxi
