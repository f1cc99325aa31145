#!/usr/bin/env bash
# The API reference shows each public header, and what its comments say.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
api=build/docs/site/api
[ -d "$api" ] || { echo "There is no $api: run tools/docs/build.sh." >&2; exit 1; }
status=0
while IFS= read -r header; do
  page=${header##*/} && page=${page%.h}
  page=$api/${page//_/__}_8h.html
  if ! grep -q 'name="details" id="details"' "$page"; then
    echo "$page does not show what $header is for." >&2
    status=1
  fi
done < <(find core transports proto -path '*/include/ivmq/*.h' -not -path '*/internal/*')
# Of a comment before a function, behind an enumerator, over several lines behind a member.
for text in 'Joining takes' 'the arena has no room for a ring' 'finding it costs a read of the peer table'; do
  if ! grep -qF "$text" "$api"/*.html; then
    echo "No page of $api says \"$text\", as a header does." >&2
    status=1
  fi
done
exit $status
