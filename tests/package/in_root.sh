#!/usr/bin/env bash
# in_root.sh ROOT SCRIPT [FILE...]: runs a script in the Debian at ROOT, as root, with nothing of this
# machine but its devices; the files are beside it, in /tmp. All that it starts ends with it.
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo "$0" "$@"
root=$(realpath "$1")
script=$2
shift
cp "$@" "$root/tmp/"
# shellcheck disable=SC2016 # for the other shell
exec unshare --mount --pid --fork --kill-child bash -euc '
  root=$0
  mount --make-rprivate /
  mount -t proc proc "$root/proc"
  mount --rbind -o ro /sys "$root/sys"
  mount --bind /dev "$root/dev"
  mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
  mount --bind "$root/dev/pts/ptmx" "$root/dev/ptmx"
  mount -t tmpfs tmpfs "$root/dev/shm"
  exec chroot "$root" env -i HOME=/root LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -euo pipefail "$1"' \
  "$root" "/tmp/${script##*/}"
