#!/usr/bin/env bash
# What watching costs training: the median step of a small run without a status socket, with one that nobody hears, with three ordinary watchers, and with hostile ones (a flood of
# subscriptions, somebody who never reads). Runs take turns, three rounds; prints medians and their ratios to the first. Watchers have the lowest priority, so that what they compute
# themselves, on other machines as a rule, counts little. Judges nothing. By hand: tests/bench/status.sh [STEPS [LAYERS]]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/e2e/common.bash
. "$here/../e2e/common.bash"
python=/usr/bin/python3
small_dataset "$dir/data"
steps=${1:-300}
layers=${2:-1} # of both encoders: how long a step is

watch_by() {
    exec nice -n 19 "$python" - "$1" "$dir/run/status.json" <<'END'
import json, os, sys, time

import zmq

kind, path = sys.argv[1:3]
while not os.path.exists(path):
    time.sleep(0.01)
endpoint = json.load(open(path))["endpoint"]
context = zmq.Context()
watchers = [context.socket(zmq.SUB) for _ in range(3)]
for watcher in watchers:
    watcher.subscribe(b"")
    watcher.connect(endpoint)
flood = context.socket(zmq.XSUB)
flood.linger = 0
if kind == "hostile":
    flood.connect(endpoint)
count = 0
while True:
    if kind == "hostile":
        for _ in range(100):
            count += 1
            try:
                flood.send(b"\1topic%d" % count, zmq.DONTWAIT)
            except zmq.Again:
                time.sleep(0.001)
                break
    else:
        for watcher in watchers:
            if watcher.poll(10):
                watcher.recv_multipart()
END
}

measure() {
    rm -rf "$dir/run"
    local endpoint=tcp://127.0.0.1:0 watcher=""
    [ "$1" = none ] && endpoint=none
    case $1 in watched | hostile)
        watch_by "$1" &
        watcher=$!
        ;;
    esac
    must "$shelflife" train "$dir/data/config.yaml" --set epochs=100000 --set "max_steps=$steps" --set snapshots.every_steps=none \
        --set "modalities.visual.layers=$layers" --set "modalities.text.layers=$layers" \
        --set "snapshots.dir=$dir/run" --set "cluster.status=$endpoint"
    [ -z "$watcher" ] || { kill "$watcher" 2>/dev/null || true; wait "$watcher" 2>/dev/null || true; }
    "$python" -c 'import json,statistics,sys; print(statistics.median(x["seconds"] for x in map(json.loads, open(sys.argv[1])) if x["kind"] == "step"))' "$dir/run/metrics.jsonl" >>"$dir/$1.seconds"
}

for _ in 1 2 3; do
    for kind in none alone watched hostile; do
        measure $kind
    done
done
"$python" - "$dir" <<'END'
import statistics, sys
medians = {kind: statistics.median(map(float, open(f"{sys.argv[1]}/{kind}.seconds"))) for kind in ("none", "alone", "watched", "hostile")}
for kind, seconds in medians.items():
    print(f"{kind:8} {seconds * 1e3:8.2f} ms a step  {seconds / medians['none']:.2f}")
END
