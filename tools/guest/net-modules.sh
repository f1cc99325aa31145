#!/usr/bin/env bash
# Names the modules that a guest needs for virtio-net, in the order in which they load, one path a line.
set -euo pipefail

if [ $# != 1 ] || [ "$1" = --help ]; then
  echo "usage: net-modules.sh KERNEL, an image of fetch-kernel.sh" >&2
  exit 2
fi
for module in virtio/virtio_ring virtio/virtio virtio/virtio_pci_modern_dev \
  virtio/virtio_pci_legacy_dev virtio/virtio_pci net/core/failover drivers/net/net_failover \
  drivers/net/virtio_net; do
  file=$(find "$(dirname "$1")/lib/modules" -path "*/$module.ko" -print -quit)
  [ -n "$file" ] || {
    echo "net-modules: the kernel $1 has no module $module" >&2
    exit 1
  }
  echo "$file"
done
