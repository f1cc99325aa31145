#!/usr/bin/env bash
# site_test.sh DEBS CHECK_LINKS: the documentation in ivmq-doc is a site without a broken link, and
# doc-base knows where it begins.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
dpkg-deb -x "$1"/ivmq-doc_*.deb "$folder"
"$2" "$folder/usr/share/doc/ivmq-doc/site"
index=$(sed -n 's/^Index: //p' "$folder"/usr/share/doc-base/*)
test -f "$folder$index"
