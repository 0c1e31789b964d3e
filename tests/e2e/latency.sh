#!/usr/bin/env bash
# Workers behind a proxy that delays each connection by another time and cuts some: two servers, three workers, the same bits as a quiet run.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
here=$(dirname "$0")
small_dataset "$dir/d"
config=$dir/d/config.yaml
options=(--set epochs=20 --set cluster.servers=2 --set cluster.status=none --set cluster.resend_ms=300 --set cluster.timeout_ms=3000)
must "$shelflife" train "$config" --set epochs=20 --set snapshots.dir="$dir/quiet"

proxy() { # name, file with the endpoint
    python3 "$here/proxy.py" "$2" "$RANDOM" >"$dir/$1.port" 2>"$dir/$1.log" &
    pids+=($!)
    wait_for 20 test -s "$dir/$1.port" || fail "the proxy does not start: $(cat "$dir/$1.log")"
}
RANDOM=${SEED:-1}
"$shelflife" server "$config" --set snapshots.dir="$dir/run" "${options[@]}" --ready-fd 3 3>"$dir/endpoint" 2>"$dir/s0.log" &
coordinator=$!
pids+=("$coordinator")
wait_for 30 test -s "$dir/endpoint" || fail "the server does not start: $(cat "$dir/s0.log")"
proxy front "$dir/endpoint"
front=tcp://127.0.0.1:$(cat "$dir/front.port")
: >"$dir/s1.endpoint" # the server must know the proxy's port before it has one
proxy second "$dir/s1.endpoint"
"$shelflife" server "$config" --rank 1 --coordinator "$front" --bind "tcp://127.0.0.1:0" --advertise "tcp://127.0.0.1:$(cat "$dir/second.port")" "${options[@]}" --ready-fd 3 3>"$dir/s1.endpoint" 2>"$dir/s1.log" &
pids+=($!)
for w in 0 1 2; do
    "$shelflife" worker "$config" --coordinator "$front" --threads 1 --name "w$w" "${options[@]}" 2>"$dir/w$w.log" &
    pids+=($!)
done
code=0
timeout 150 tail --pid="$coordinator" -f /dev/null || fail "the run does not end: $(tail -n 3 "$dir"/*.log)"
wait "$coordinator" || code=$?
[ $code = 0 ] || fail "the coordinator exits $code: $(tail -n 20 "$dir/s0.log")"
[ "$(tensors "$dir/run")" = "$(tensors "$dir/quiet")" ] || fail "the parameters differ from those of the quiet run"
echo "$(grep -c joining-again "$dir"/w*.log "$dir/s1.log" | awk -F: '{n += $2} END {print n}') times joined again, the same bits"
