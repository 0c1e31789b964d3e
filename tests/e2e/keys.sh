#!/usr/bin/env bash
# Encrypted training: the same bits as without keys; who has not the right keys is refused, on both sides, with a reason and exit code 5.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
small_dataset "$dir/d"
config=$dir/d/config.yaml
keys=$dir/keys
must "$shelflife" keygen "$keys" --client second --client stranger
refuses 2 "never overwritten" "$shelflife" keygen "$keys"
refuses 2 "never overwritten" "$shelflife" keygen "$keys" --client second
refuses 2 "client's name" "$shelflife" keygen "$keys" --client ../x
rm "$keys/allowed/stranger.pub"

# the same bits
must "$shelflife" train "$config" --workers 2 --set snapshots.dir="$dir/plain"
"$shelflife" train "$config" --workers 2 --set snapshots.dir="$dir/sealed" --set cluster.keys="$keys" >"$dir/sealed.log" 2>&1 ||
    fail "training with keys: $(tail -n 20 "$dir/sealed.log")"
grep -q "listening.*encrypted=yes" "$dir/sealed.log" || fail "the server does not say that it encrypts: $(cat "$dir/sealed.log")"
[ "$(tensors "$dir/plain")" = "$(tensors "$dir/sealed")" ] || fail "encryption changes the parameters"

# keys that must not be used: refused before anything is written
train=("$shelflife" train "$config" --workers 1 --set snapshots.dir="$dir/none")
refuses 5 "shelflife keygen" "${train[@]}" --set cluster.keys="$dir/missing"
for mode in 644 640; do
    chmod $mode "$keys/server.key"
    refuses 5 "chmod 600" "${train[@]}" --set cluster.keys="$keys"
done
chmod 600 "$keys/server.key"
refuses 5 "server.key" "${train[@]}" --set cluster.keys="$keys/clients/second"
refuses 5 "set cluster.keys" "${train[@]}" --set cluster.coordinator=tcp://0.0.0.0:0
[ ! -e "$dir/none" ] || fail "refused keys leave a run folder"

# one server, and workers that it does not let in
"$shelflife" server "$config" --set snapshots.dir="$dir/served" --set cluster.keys="$keys" --ready-fd 3 3>"$dir/endpoint" 2>"$dir/server.log" &
server=$!
watcher=
trap 'kill -9 $server $watcher 2>/dev/null || true; rm -rf "$dir"' EXIT
wait_for 30 test -s "$dir/endpoint" || fail "the server does not start: $(cat "$dir/server.log")"
endpoint=$(cat "$dir/endpoint")
worker=("$shelflife" worker "$config" --coordinator "$endpoint" --threads 1 --set cluster.heartbeat_ms=200 --set cluster.timeout_ms=3000 --set cluster.join_ms=5000)
refuses 5 "does not let this key in" "${worker[@]}" --set cluster.keys="$keys/clients/stranger"
code=0 # which side hangs up first is chance: the worker knows why, or only that nobody answers
"${worker[@]}" >"$dir/bare.log" 2>&1 || code=$?
[[ $code = 5 || $code = 1 ]] || fail "a worker without keys exits $code: $(cat "$dir/bare.log")"
grep -q "wants keys.*cluster.keys" "$dir/bare.log" || fail "a worker without keys does not hear that it needs them: $(cat "$dir/bare.log")"
must "$shelflife" keygen "$dir/others"
refuses 5 "server.pub" "${worker[@]}" --set cluster.keys="$dir/others"
chmod 644 "$keys/clients/second/client.key"
refuses 5 "chmod 600" "${worker[@]}" --set cluster.keys="$keys/clients/second"
chmod 600 "$keys/clients/second/client.key"
grep -q "key-refused.*not allowed" "$dir/server.log" || fail "the server does not name the key that it refused: $(cat "$dir/server.log")"
grep -q "handshakes-refused" "$dir/server.log" || fail "the server does not count failed handshakes: $(cat "$dir/server.log")"
! grep -q "worker-joined" "$dir/server.log" || fail "a worker without the right keys came in: $(cat "$dir/server.log")"

# those who watch need keys that are allowed too, and are told so
link() { # what the dashboard says of the run: its link, and why
    python3 -c 'import json, sys, urllib.request
run = json.load(urllib.request.urlopen(sys.argv[1] + "/api/runs"))["runs"][0]["name"]
status = json.load(urllib.request.urlopen(sys.argv[1] + "/api/status?run=" + run))
print(status["link"], status.get("link_text"), status.get("status") and status["status"]["state"])' "$(sed 's:/*$::' "$dir/url")" 2>/dev/null
}
shows() { # words
    link | grep -qE -- "$1"
}
watched() { # words, options of the dashboard…
    local words=$1 code=0
    shift
    rm -f "$dir/url"
    "$shelflife" dashboard "$dir/served" --open-file "$dir/url" "$@" >/dev/null 2>"$dir/dashboard.log" &
    watcher=$!
    wait_for 30 test -s "$dir/url" || fail "the dashboard does not start: $(cat "$dir/dashboard.log")"
    wait_for 30 shows "$words" || fail "the dashboard says '$(link)', not '$words'"
    kill -TERM $watcher
    wait $watcher || code=$?
    watcher=
    [ $code = 0 ] && [ ! -s "$dir/dashboard.log" ] || fail "the dashboard exits $code: $(cat "$dir/dashboard.log")"
}
watched "^live .*waiting" --keys "$keys/clients/second"
watched "^refused .*--keys DIR"
watched "^refused .*does not let this key in" --keys "$keys/clients/stranger"
watched "^refused .*has another key" --keys "$dir/others"
must "$shelflife" status "$dir/served" --keys "$keys/clients/second"
refuses 5 "--keys DIR" "$shelflife" status "$dir/served"
refuses 5 "does not let this key in" "$shelflife" status "$dir/served" --keys "$keys/clients/stranger"

# and a worker that it does let in: the training was not hurt
must "${worker[@]}" --set cluster.keys="$keys/clients/second"
wait $server || fail "the server: $(tail -n 20 "$dir/server.log")"
server=
[ "$(tensors "$dir/plain")" = "$(tensors "$dir/served")" ] || fail "refused peers change the parameters"

# a worker with keys, a server without
"$shelflife" server "$config" --set snapshots.dir="$dir/open" --ready-fd 3 3>"$dir/open.endpoint" 2>"$dir/open.log" &
server=$!
wait_for 30 test -s "$dir/open.endpoint" || fail "the server does not start: $(cat "$dir/open.log")"
refuses 5 "use keys" "$shelflife" worker "$config" --coordinator "$(cat "$dir/open.endpoint")" --set cluster.keys="$keys" \
    --set cluster.heartbeat_ms=200 --set cluster.timeout_ms=3000
kill -TERM $server
wait $server || true
server=

# no secret in anything that was written
while read -r secret; do
    ! grep -rqF --exclude='*.key' -- "$secret" "$dir" || fail "a secret key lies in $(grep -rlF --exclude='*.key' -- "$secret" "$dir")"
done < <(grep -hv '^#' "$keys"/*.key "$keys"/clients/*/*.key)
echo "keys hold"
