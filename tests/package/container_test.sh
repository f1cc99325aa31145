#!/usr/bin/env bash
# container_test.sh ROOT.tar DEBS: the image of packaging/container is built, here on a bare Debian that
# no registry has to be asked for, and serves a process outside. By buildah, whose way to run things
# needs neither namespaces nor a service of containers.
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo "$0" "$@"
tar=$(realpath "$1")
debs=$(realpath "$2")
tree=$(realpath "$(dirname "$0")/../..")
work=$(mktemp -d)
server=
leave() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap leave EXIT
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs HOME=$work
storage=(buildah --root "$work/storage" --runroot "$work/runroot")

base=$("${storage[@]}" from scratch)
"${storage[@]}" add -q "$base" "$tar" / >/dev/null
"${storage[@]}" commit -q --rm "$base" localhost/debian >/dev/null
"${storage[@]}" build -q --build-arg BASE=localhost/debian --pull-never -t localhost/ivmqd \
  -f "$tree/packaging/container/Containerfile" "$debs"

# What the engine would start.
mapfile -t command < <("${storage[@]}" inspect --type image \
  --format '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}{{range .OCIv1.Config.Cmd}}{{println .}}{{end}}' \
  localhost/ivmqd | sed '/^$/d')
container=$("${storage[@]}" from --pull-never localhost/ivmqd)
mkdir "$work/run"
"${storage[@]}" run -v "$work/run:/run/ivmq" "$container" "${command[@]}" 2>"$work/log" &
server=$!
dpkg-deb -x "$debs"/ivmq-tools_*.deb "$work/tools"
until "$work/tools/usr/bin/ivmq" info "unix:$work/run/ivmq.sock" 2>/dev/null; do
  kill -0 "$server" 2>/dev/null || { cat "$work/log" && exit 1; }
  sleep 0.1
done
