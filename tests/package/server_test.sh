# shellcheck shell=bash disable=SC2164,SC2317 # in_root.sh runs it with set -e
# Without systemd, the server is started as its README.Debian says, and peers talk.
address=unix:/run/ivmq/ivmq.sock
ivmqd --config /etc/ivmq/ivmqd.conf 2>/tmp/ivmqd.log &
server=$!
until ivmq info "$address" >/dev/null 2>&1; do
  kill -0 $server || { cat /tmp/ivmqd.log && exit 1; }
  sleep 0.1
done

as_guest() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
as_member() { setpriv --reuid nobody --regid nogroup --groups "$(getent group kvm | cut -d: -f3)" "$@"; }
as_member ivmq recv "$address" --name bob --count 1 >/tmp/received &
receiver=$!
ivmq send "$address" --await 30 bob 'hello there'
wait $receiver
grep -q 'hello there' /tmp/received
ivmq ls "$address"
ivmq doctor "$address"
# Others may not.
if as_guest ivmq ls "$address"; then
  echo "Everybody may connect."
  exit 1
fi
kill $server
wait $server
