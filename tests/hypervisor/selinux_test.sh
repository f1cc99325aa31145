#!/usr/bin/env bash
# The rules for SELinux are a module that can be installed. Status 0: they are.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../packaging/selinux" && pwd)
for program in checkmodule semodule_package; do
  command -v $program >/dev/null || {
    echo "selinux_test: $program is missing: apt-get install checkpolicy semodule-utils" >&2
    exit 1
  }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
checkmodule -M -m -o "$dir/ivmq_libvirt.mod" "$folder/ivmq_libvirt.te"
semodule_package -o "$dir/ivmq_libvirt.pp" -m "$dir/ivmq_libvirt.mod" -f "$folder/ivmq_libvirt.fc"
[ -s "$dir/ivmq_libvirt.pp" ]
