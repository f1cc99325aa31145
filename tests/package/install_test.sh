# shellcheck shell=bash disable=SC2164,SC2317 # in_root.sh runs it with set -e
# The packages are installed beside each other, and have no file that Debian's ivshmem-tools have.
apt-get -q -y -o APT::Sandbox::User=root --no-install-recommends install /debs/*.deb 2>&1 |
  tee /tmp/install.log
if grep -E '^(W|E|dpkg): |warning:' /tmp/install.log; then
  echo "The installation complains."
  exit 1
fi
[ -z "$(dpkg --audit)" ]
for package in libivmq0 libivmq-dev protobuf-compiler-ivmq ivmq-tools ivmqd ivmq-dkms ivmq-doc; do
  [ "$(dpkg-query -W -f '${db:Status-Abbrev}' $package)" = "ii " ] || {
    echo "$package is not installed."
    exit 1
  }
  dpkg --verify $package
done
if dpkg -L ivmqd ivmq-tools | grep -E '/ivshmem-(server|client)'; then
  echo "Debian's ivshmem-tools have such a file."
  exit 1
fi
getent group kvm ivmq
test -d /run/ivmq
