# shellcheck shell=bash disable=SC2164,SC2317 # in_root.sh runs it with set -e
# Of purged packages nothing is left but the groups, which files of users may belong to.
mapfile -t packages < <(dpkg-query -W -f '${Package} ${Source}\n' | awk '$2 == "ivmq" { print $1 } $1 == "ivmqd" { print $1 }' | sort -u)
apt-get -q -y purge "${packages[@]}"
left=$(find / -xdev \( -path /debs -o -path /tmp -o -path /proc -o -path /home -o -path /var/cache/apt \
  -o -path /var/log \) -prune -o -path '*ivmq*' -print)
[ -z "$left" ] || { echo "Left: $left" && exit 1; }
