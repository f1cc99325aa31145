# shellcheck shell=bash disable=SC2164,SC2317 # in_root.sh runs it with set -e
# DKMS builds the driver for a kernel whose headers are installed.
apt-get -q -y --no-install-recommends --no-download install linux-headers-cloud-amd64 >/dev/null
kernel=$(cd /lib/modules && echo *-cloud-amd64)
version=$(dkms status ivmq | sed -n 's,^ivmq/\([^,:]*\).*,\1,p' | head -n 1)
dkms install "ivmq/$version" -k "$kernel" ||
  { cat "/var/lib/dkms/ivmq/$version/build/make.log" && exit 1; }
dkms status ivmq | grep -q "$kernel.*: installed"
modinfo -k "$kernel" ivmq | grep '^alias: .*v00001AF4d00001110'
grep -q 'GROUP="ivmq"' /lib/udev/rules.d/99-ivmq.rules
