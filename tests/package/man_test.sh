# shellcheck shell=bash disable=SC2164,SC2317 # in_root.sh runs it with set -e
# Each program, command and configuration file has a manual page, and none has a mistake.
apt-get -q -y --no-install-recommends --no-download install man-db mandoc >/dev/null
# A bare Debian leaves pages out of packages when it is that of a container; ours are what is tested.
mkdir /tmp/pages
for deb in /debs/*.deb; do dpkg-deb -x "$deb" /tmp/pages; done
cd /tmp/pages/usr/share/man
export MANPATH=$PWD
for command in $(ivmq --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
  test -e "man1/ivmq-$command.1.gz" || { echo "ivmq $command has no page." && exit 1; }
done
for page in 1/ivmq 8/ivmqd 5/ivmqd.conf 7/ivmq 4/ivmq 1/protoc-gen-ivmq; do
  man --warnings "${page%%/*}" "${page#*/}" >/dev/null
done
count=0
for page in man?/*.gz; do
  gunzip -c "$page" >/tmp/page
  mistakes=$(
    man --warnings -E UTF-8 -l -Tutf8 -Z /tmp/page 2>&1 >/dev/null
    mandoc -Tlint -W warning /tmp/page || true
  )
  [ -z "$mistakes" ] || { printf '%s:\n%s\n' "$page" "$mistakes" && exit 1; }
  # What it refers to is there.
  for other in $(mandoc -Tutf8 /tmp/page | col -b | sed -n '/^SEE ALSO/,$p' |
    grep -o '[a-z.-]*ivmq[a-z.-]*([0-9])'); do
    test -e "man${other: -2:1}/${other%(*}.${other: -2:1}.gz" ||
      { echo "$page refers to $other, which is not there." && exit 1; }
  done
  count=$((count + 1))
done
echo "$count pages"
