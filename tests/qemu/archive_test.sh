#!/usr/bin/env bash
# Which archive tools/guest/debian.sh takes packages from, for what apt says of the machine's own
# sources. Status 0: all is as it should be.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=/dev/null
. "$root/tools/guest/debian.sh"

status=0
sources=
# In place of apt: label and address of each source, as `apt-get indextargets` prints them here.
# shellcheck disable=SC2317 # archive() calls it
apt-get() { printf '%s\n' "$sources"; }

expect() { # expect WANTED machine|default SUITE
  local got
  got=$(archive "$2" "$3")
  [ "$got" = "$1" ] && return
  echo "archive_test: $2 $3 is at $got, not at $1; the sources are:" "$sources" >&2
  status=1
}

sources='Debian http://mirror.example/debian/
Debian-Security http://security.example/debian-security/'
expect http://mirror.example/debian/ machine trixie-backports
expect http://security.example/debian-security/ machine bullseye-security
expect http://deb.debian.org/debian default trixie

# A list of mirrors, whose path says nothing, behind other sources and a disc.
sources='Other https://other.example/debian/
Debian cdrom:[Debian 12]/
Debian mirror+file:/etc/apt/mirrors/debian.list'
expect mirror+file:/etc/apt/mirrors/debian.list machine trixie
expect http://deb.debian.org/debian-security machine bookworm-security

# Before the first update no label is known.
sources=' http://mirror.example/pub/debian
 http://mirror.example/pub/debian-security/'
expect http://mirror.example/pub/debian machine trixie
expect http://mirror.example/pub/debian-security/ machine bookworm-security

# No source at all.
sources=
expect http://deb.debian.org/debian machine trixie
exit $status
