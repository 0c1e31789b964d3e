#!/usr/bin/env bash
# The same bits from any number of servers and workers, as threads of one process or as processes, with audits, with shards of their own; and what each mode of consistency finishes with.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
small_dataset "$dir/d"
config=$dir/d/config.yaml

train() { # run folder, arguments
    local run=$1
    shift
    "$shelflife" train "$config" --set snapshots.dir="$run" "$@" >"$run.log" 2>&1 || fail "$run: $(tail -n 20 "$run.log")"
}
same() { # run, reference run
    [ "$(tensors "$dir/$1")" = "$(tensors "$dir/$2")" ] || fail "the parameters of run '$1' differ from those of '$2'"
}

train "$dir/inside"
if grep -q 'tcp://' "$dir/inside/metrics.jsonl"; then fail "local mode listens for workers"; fi
for cluster in 1x1 1x3 2x1 2x3 3x2 5x2; do
    train "$dir/$cluster" --servers ${cluster%x*} --workers ${cluster#*x}
    same "$cluster" inside
done
# Processes of one machine share memory, unless they are told not to. They look ten times a second with whom they share, and at the end: this run is longer than it takes to agree.
train "$dir/shared" --servers 2 --workers 2 --set epochs=100
grep -q ' shared-memory peers=' "$dir/shared.log" || fail "no memory is shared: $(cat "$dir/shared.log")"
train "$dir/sockets" --servers 2 --workers 2 --set epochs=100 --set cluster.shared_memory=off
same sockets shared
if grep -q 'shared-memory peers' "$dir/sockets.log"; then fail "memory is shared though cluster.shared_memory is off"; fi
train "$dir/tight" --servers 2 --workers 2 --set cluster.shared_memory_mib=1 # too little: the rest goes through sockets
same tight inside
train "$dir/audit" --servers 2 --workers 3 --set cluster.audit=1
same audit inside
if grep -q 'audit:' "$dir/audit.log"; then fail "an audit finds a difference: $(grep 'audit:' "$dir/audit.log")"; fi

# stopped with two servers, goes on with three
long=(--set epochs=200)
train "$dir/long" "${long[@]}"
"$shelflife" train "$config" --set snapshots.dir="$dir/moving" "${long[@]}" --servers 2 --workers 2 >"$dir/moving.log" 2>&1 &
pid=$!
lines() { [ "$(wc -l <"$1/metrics.jsonl")" -ge "$2" ]; }
wait_for 60 lines "$dir/moving" 20 || fail "the run does not start: $(cat "$dir/moving.log")"
kill -TERM $pid
code=0
wait $pid || code=$?
[ $code = 143 ] || fail "SIGTERM exits $code: $(tail -n 20 "$dir/moving.log")"
[ "$(tensors "$dir/moving")" != "$(tensors "$dir/long")" ] || fail "the run was over before SIGTERM came"
train "$dir/moving" "${long[@]}" --servers 3 --workers 1
same moving long

# each slot from one shard: other slots, so other bits, but the same for every cluster
train "$dir/shards" --set dataset.locality=shards
train "$dir/shards23" --set dataset.locality=shards --servers 2 --workers 3
same shards23 shards
[ "$(tensors "$dir/shards")" != "$(tensors "$dir/inside")" ] || fail "dataset.locality changes nothing"

for mode in ssp asp; do
    train "$dir/$mode" --set consistency.mode=$mode --set consistency.staleness=2 --servers 2 --workers 3
    steps=$(grep -c '"kind":"step"' "$dir/$mode/metrics.jsonl")
    [ "$steps" = 12 ] || fail "$mode made $steps steps instead of 12"
done
refuses 2 "blocks" "$shelflife" train "$config" --set snapshots.dir="$dir/crowd" --servers 9 --workers 1
echo "all runs agree"
