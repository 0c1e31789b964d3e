#!/usr/bin/env bash
# Watching a real run: shelflife status and top, the example subscriber of docs/status.md, TensorBoard's event files by an independent reader; a run that ends, dies
# (kill -9) and comes back; hostile subscribers while it trains.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/e2e/common.bash
. "$here/common.bash"
python=/usr/bin/python3 # Debian's, which has Debian's modules
"$python" -c 'import zmq, pyte, google.protobuf' 2>/dev/null && command -v protoc >/dev/null ||
    { echo "skipped: needs python3-zmq, python3-pyte, python3-protobuf and protobuf-compiler"; exit 77; }
small_dataset "$dir/data"
root=$here/../..
run=$dir/runs/first
train=("$shelflife" train "$dir/data/config.yaml" --workers 2 --set epochs=100000 --set snapshots.tensorboard=true
    --set snapshots.every_steps=200 --set "snapshots.dir=$run")

# begins the run in the background: $launcher, and its servers' pid in status.json
begin() {
    "${train[@]}" >"$dir/train.log" 2>&1 &
    launcher=$!
    trap 'kill "$launcher" 2>/dev/null || true; rm -rf "$dir"' EXIT
}
is_running() { "$shelflife" status "$run"; }
field() { "$python" -c 'import json,sys; print(json.load(open(sys.argv[1])).get(sys.argv[2]))' "$run/status.json" "$1"; }

# nothing there
cd "$dir"
mkdir -p runs "$dir/empty"
"$shelflife" status >"$dir/out.txt" 2>&1 && fail "status finds a run where none is"
grep -q "no run in this folder" "$dir/out.txt" || fail "status without a run says: $(cat "$dir/out.txt")"
refuses 2 "neither a run's folder nor an endpoint" "$shelflife" status "$dir/nowhere"
refuses 2 "unknown option" "$shelflife" top --colour

# a run that goes
begin
wait_for 60 is_running || fail "the run does not come up: $(cat "$dir/train.log")"
trains() { "$shelflife" status | grep -q '^training\|^validating\|^saving'; } # finds runs/first by itself
wait_for 60 trains || fail "status says: $("$shelflife" status 2>&1)"
wait_for 60 bash -c "'$shelflife' status '$run' | grep -q 'validation after step'" || fail "status shows no validation"
told() { # one worker may have trained alone before the other was up
    "$shelflife" status "$(field endpoint)" --json >"$dir/out.txt" && [ "$("$python" -c 'import json,sys; print(len(json.load(open(sys.argv[1]))["status"]["workers"]))' "$dir/out.txt")" = 2 ]
}
wait_for 60 told || fail "status does not show two workers: $(cat "$dir/out.txt")"
"$python" - "$dir/out.txt" <<'END' || fail "the JSON: $(cat "$dir/out.txt")"
import json, sys
x = json.load(open(sys.argv[1]))
assert x["life"] == "live" and x["status"]["run"]["branches"] == ["visual", "text", "fused"], x
step = x["status"]["last_step"]
assert len(step["loss"]) == 3 and len(step["ratio"]) == 2 and len(x["status"]["workers"]) == 2, x
END
must env TERM=dumb "$shelflife" status "$run"

# the example of docs/status.md, as it stands there
mkdir -p "$dir/example"
sed -n '/^```python/,/^```/p' "$root/docs/status.md" | sed '1d;$d' >"$dir/example/watch.py"
protoc -I "$root" --python_out="$dir/example" proto/status.proto proto/tensorboard.proto
(cd "$dir/example" && must "$python" watch.py "$run" 5)
grep -q "^step .* visual .* text .* fused" "$dir/out.txt" || fail "the example prints: $(cat "$dir/out.txt")"

# top in a terminal
"$python" "$here/status_top.py" "$shelflife" "$run" || fail "top"

# strangers: garbage, floods, somebody who never reads; the run goes on and is watched as before
"$python" "$here/status_hostile.py" "$(field endpoint)" || fail "hostile subscribers"
before=$("$shelflife" status "$run" --json | "$python" -c 'import json,sys; print(json.load(sys.stdin)["status"]["step"])')
further() { [ "$("$shelflife" status "$run" --json | "$python" -c 'import json,sys; print(json.load(sys.stdin)["status"]["step"])')" -gt "$before" ]; }
wait_for 30 further || fail "the run does not go on after strangers were there"

# it dies without a word; everybody is told so; started again, watchers find it
server=$(field pid)
kill -9 "$launcher" "$server" # the launcher would start it again
wait "$launcher" 2>/dev/null || true
got=0
"$shelflife" status "$run" >"$dir/out.txt" 2>&1 || got=$?
[ $got = 1 ] || fail "status of a dead run exits $got"
grep -q "this run is gone: its process $server on .* ended without a word (last heard 2" "$dir/out.txt" || fail "status of a dead run says: $(cat "$dir/out.txt")"
begin
wait_for 60 is_running || fail "the run does not come back: $(cat "$dir/train.log")"
wait_for 60 bash -c "'$shelflife' status '$run' | grep -q '^step '" || fail "no step after the run came back"

# it is asked to end
kill "$launcher"
got=0
wait "$launcher" || got=$?
[ $got = 143 ] || fail "the run exits $got"
got=0
"$shelflife" status "$run" >"$dir/out.txt" 2>&1 || got=$?
[ $got = 1 ] || fail "status of an ended run exits $got"
grep -q "finished: .*SIGTERM" "$dir/out.txt" && grep -q "exit code 143" "$dir/out.txt" || fail "status of an ended run says: $(cat "$dir/out.txt")"
mkdir -p runs/second && cp "$run/status.json" runs/second/
refuses 2 "holds 2 runs; say which: " "$shelflife" status

# the event files hold every step of metrics.jsonl
"$python" "$here/tensorboard_read.py" "$dir/example" "$run" || fail "event files"

# nothing is published where nothing shall be
must timeout 100 "$shelflife" train "$dir/data/config.yaml" --set epochs=1 --set cluster.status=none --set "snapshots.dir=$dir/quiet"
[ ! -e "$dir/quiet/status.json" ] || fail "cluster.status: none writes a status.json"
refuses 5 "cluster.status tcp://0.0.0.0:0 can be reached from other machines" "$shelflife" server "$dir/data/config.yaml" --set cluster.status=tcp://0.0.0.0:0 --set "snapshots.dir=$dir/open"
echo "watched"
