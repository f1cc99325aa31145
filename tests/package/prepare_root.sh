#!/usr/bin/env bash
# prepare_root.sh DEBS ROOT.tar: a bare Debian 12, with the packages in DEBS, and what they and the
# tests need, downloaded but not installed: nothing after it needs the network. Made anew when they
# need something else.
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo "$0" "$@"
debs=$(realpath "$1")
tar=$2
# For the tests: two ways to build programs, the shells, a kernel that is not the running one, and what
# the tutorial starts.
wanted=(cmake g++ pkg-config make man-db mandoc bash-completion zsh fish linux-headers-cloud-amd64
  qemu-system-x86 busybox-static cpio)

needs=$(cat "$0" <(for deb in "$debs"/*.deb; do dpkg-deb -f "$deb" Package Depends; done) | sha256sum)
if [ -f "$tar" ] && [ "$(cat "$tar.needs" 2>/dev/null)" = "$needs" ]; then
  echo "$tar has what is needed"
  exit 0
fi
rm -f "$tar" "$tar.needs"
root=$(mktemp -d "$(dirname "$(realpath -m "$tar")")/root.XXXXXX")
trap 'rm -rf "$root"' EXIT

mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
debootstrap --variant=minbase bookworm "$root" "${mirror:-http://deb.debian.org/debian}"
# Gets packages as this machine does.
cp /etc/resolv.conf /etc/hosts "$root/etc/"
if [ -f /etc/apt/sources.list.d/debian.sources ]; then
  rm -f "$root/etc/apt/sources.list"
  cp /etc/apt/sources.list.d/debian.sources "$root/etc/apt/sources.list.d/"
fi
for conf in /etc/apt/apt.conf.d/*; do
  case $conf in
    *docker-clean | *autoremove*) ;; # the one would remove what is downloaded
    *) cp "$conf" "$root/etc/apt/apt.conf.d/" ;;
  esac
done
mkdir "$root/debs"
cp "$debs"/*.deb "$root/debs/"
rm -f "$root"/debs/*-dbgsym_*
apt=(chroot "$root" apt-get -q -y -o APT::Sandbox::User=root --no-install-recommends)
"${apt[@]}" update
chroot "$root" sh -c 'exec apt-get -q -y -o APT::Sandbox::User=root --no-install-recommends \
  --download-only install "$@" /debs/*.deb' sh "${wanted[@]}"
rm -r "$root/debs"
chmod 755 "$root"
tar -C "$root" -cf "$tar.new" .
mv "$tar.new" "$tar"
echo "$needs" >"$tar.needs"
