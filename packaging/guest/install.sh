#!/bin/sh
# The installer of ivmq for guests. make-bundle.sh puts the files behind it, so that the whole is one
# text that a shell reads from a file, or from its standard input, to its end before it does anything.
set -eu

version=@VERSION@
release=$(uname -r)
source=/usr/src/ivmq-$version
tool=/usr/local/bin/ivmq
rule=/etc/udev/rules.d/99-ivmq.rules
missing='' # what the driver lacks; the tool polls without it

usage() {
  cat <<END
Installs ivmq $version in this virtual machine: the command ivmq, and the driver by
which processes sleep until they are woken. Without the driver they poll.

usage: sh ivmq-guest-$version.sh [--no-driver | --uninstall]
       ssh root@GUEST 'sh -s -- --no-driver' < ivmq-guest-$version.sh

  --no-driver   only the command, a single static file
  --uninstall   removes what this script installed

Installs, as root:
  $tool
  $source        the driver's source
  the module ivmq, through DKMS where that is installed, which builds it again for
  each new kernel; else by make, for this kernel only
  $rule  and the group ivmq, whose members
  may use the devices

Status 0: done; 1: failed; 2: wrong usage; 3: installed, but without the driver.
END
}

say() { printf 'ivmq-guest: %s\n' "$*"; }
fail() {
  printf 'ivmq-guest: %s\n' "$@" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
# The driver that the package ivmq-dkms installed is that package's.
is_packaged() { dpkg-query -W -f '${db:Status-Status}' ivmq-dkms 2>/dev/null | grep -q '^installed'; }

# The command that gets what modules are built with, from this machine's distribution.
how_to_build() {
  if have apt-get; then
    echo "apt-get install dkms linux-headers-$release"
  elif have dnf; then
    echo "dnf install make gcc kernel-devel-$release"
  elif have apk; then
    echo "apk add make gcc musl-dev linux-${release##*-}-dev"
  else
    echo "get make, gcc and the headers of the kernel $release from your distribution"
  fi
}

make_group() {
  ! grep -q '^ivmq:' /etc/group || return 0
  if have groupadd; then
    groupadd --system ivmq
  elif have addgroup; then
    addgroup -S ivmq
  else
    say "there is neither groupadd nor addgroup: only root may use the devices."
    return 0
  fi
  say "made the group ivmq; its members may use the devices: usermod -aG ivmq USER"
}

install_tool() {
  mkdir -p "${tool%/*}"
  cp "$files/ivmq" "$tool.new"
  chmod 755 "$tool.new"
  mv "$tool.new" "$tool" # at once, also where the old one runs
  "$tool" --version >/dev/null || fail "$tool does not run on this machine."
  say "installed $tool."
}

# Why the module cannot be built here; nothing if it can.
obstacle() {
  case $release in
    [1-4].* | 5.[0-9].*) echo "the driver needs Linux 5.10 or later, and this is $release" ;;
    *)
      if [ ! -e "/lib/modules/$release/build/Makefile" ]; then
        echo "the headers of the kernel $release are missing: $(how_to_build)"
      elif ! have make || ! { have gcc || have cc || have clang; }; then
        echo "make or a C compiler is missing: $(how_to_build)"
      fi
      ;;
  esac
}

remove_dkms() {
  have dkms || return 0
  # "ivmq/0.1.0, 6.1.0-1-amd64, x86_64: installed", or "ivmq, 0.1.0, ..." before DKMS 3.
  dkms status -m ivmq | sed -n 's,^ivmq[/ ,]*\([^ ,:]*\).*,\1,p' | sort -u | while read -r old; do
    dkms remove -m ivmq -v "$old" --all >/dev/null </dev/null || true
  done
}

remove_modules() {
  for module in /lib/modules/*/updates/ivmq.ko; do
    [ -e "$module" ] || continue
    rm "$module"
    of=${module#/lib/modules/}
    depmod "${of%%/*}"
  done
}

build_by_make() {
  cp -r "$source" "$files/build"
  make -C "$files/build" "KDIR=/lib/modules/$release/build" modules >"$files/log" 2>&1 || return 1
  mkdir -p "/lib/modules/$release/updates"
  cp "$files/build/ivmq.ko" "/lib/modules/$release/updates"
  depmod "$release"
}

build_by_dkms() {
  dkms install -m ivmq -v "$version" -k "$release" >"$files/log" 2>&1 || {
    tail -n 20 "/var/lib/dkms/ivmq/$version/build/make.log" >>"$files/log" 2>/dev/null
    return 1
  }
}

install_driver() {
  if is_packaged; then
    say "left the driver to the package ivmq-dkms."
    return 0
  fi
  remove_dkms
  remove_modules
  rm -rf /usr/src/ivmq-*
  mkdir -p "${source%/*}"
  cp -r "$files/driver" "$source"
  say "put the driver's source into $source."
  make_group
  if [ -d /etc/udev ]; then
    mkdir -p "${rule%/*}"
    cp "$source/99-ivmq.rules" "$rule"
    say "installed $rule."
    if have udevadm; then udevadm control --reload 2>/dev/null || true; fi
  else
    say "there is no udev: the devices belong to root, until you change that."
  fi
  missing=$(obstacle)
  [ -z "$missing" ] || return 0
  if have dkms; then how=dkms; else how='make'; fi
  say "builds the module for $release by $how ..."
  if ! "build_by_$how"; then
    tail -n 40 "$files/log" >&2
    missing="the module does not build (see above)"
    return 0
  fi
  say "installed the module ivmq for $release."
  [ "$how" = dkms ] || say "after a new kernel, run this again; with DKMS you need not."
  # An older one may be in use.
  if [ -e /sys/module/ivmq ] && ! modprobe -r ivmq 2>/dev/null; then
    say "an older module ivmq is in use: restart the machine, or end what uses it."
    return 0
  fi
  if ! modprobe ivmq 2>"$files/log"; then
    cat "$files/log" >&2
    missing="the module cannot be loaded (with Secure Boot it must be signed with a key that you enrol: mokutil --import)"
    return 0
  fi
  if have udevadm; then udevadm trigger -s ivmq 2>/dev/null || true; fi
  say "loaded it."
}

uninstall() {
  if [ -e "$tool" ]; then
    rm "$tool"
    say "removed $tool."
  fi
  if is_packaged; then
    say "left the driver to the package ivmq-dkms."
    return 0
  fi
  if [ -e /sys/module/ivmq ] && ! modprobe -r ivmq 2>/dev/null; then
    say "the module ivmq is in use, and stays loaded until the machine restarts."
  fi
  remove_dkms
  remove_modules
  rm -rf /usr/src/ivmq-*
  if [ -e "$rule" ]; then
    rm "$rule"
    if have udevadm; then udevadm control --reload 2>/dev/null || true; fi
  fi
  if grep -q '^ivmq:' /etc/group; then
    delete=delgroup
    ! have groupdel || delete=groupdel
    "$delete" ivmq || say "the group ivmq stays."
  fi
  say "removed the driver, its rule and the group ivmq."
}

main() {
  driver=1 action=install
  for option in "$@"; do
    case $option in
      -h | --help)
        usage
        exit 0
        ;;
      --no-driver) driver='' ;;
      --uninstall) action=uninstall ;;
      *)
        usage >&2
        exit 2
        ;;
    esac
  done
  [ "$(id -u)" = 0 ] || fail "needs to be root: sudo sh ivmq-guest-$version.sh"
  if [ "$action" = uninstall ]; then
    uninstall
    exit 0
  fi
  [ "$(uname -sm)" = "Linux x86_64" ] || fail "is for Linux on x86-64, and this is $(uname -sm)."
  have base64 || fail "needs the command base64, of coreutils or BusyBox."
  files=$(mktemp -d)
  trap 'rm -rf "$files"' EXIT
  payload | base64 -d | tar -xz -C "$files" ||
    fail "the files in this script are damaged: fetch it again."
  install_tool
  [ -z "$driver" ] || install_driver
  if [ -n "$missing" ]; then
    say "NO DRIVER, so processes here poll: $missing"
    case $missing in *" missing: "*) say "then run this again." ;; esac
    exit 3
  fi
  say "next: ivmq doctor"
}
