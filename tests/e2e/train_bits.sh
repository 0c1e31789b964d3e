#!/usr/bin/env bash
# The same bits, whatever computed them: 1 to 3 workers, 1 to 3 servers, one process, 1 or 2 threads, stopped and resumed, killed and resumed, a worker killed in the middle.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
small_dataset "$dir/d"
config=$dir/d/config.yaml
long=(--set epochs=400) # 1200 steps of some milliseconds: long enough to be interrupted

train() { # run folder, arguments
    local run=$1
    shift
    "$shelflife" train "$config" --set snapshots.dir="$run" "$@" >"$run.log" 2>&1
}

train "$dir/one" --workers 1 --threads 1 || fail "one worker: $(tail -n 20 "$dir/one.log")"
train "$dir/two" --workers 2 --threads 1 || fail "two workers: $(tail -n 20 "$dir/two.log")"
train "$dir/threads" --workers 1 --threads 2 || fail "two threads: $(tail -n 20 "$dir/threads.log")"
train "$dir/many" --workers 3 --threads 2 || fail "three workers: $(tail -n 20 "$dir/many.log")"
train "$dir/alone" || fail "one process: $(tail -n 20 "$dir/alone.log")"
train "$dir/servers2" --servers 2 --workers 3 --threads 1 || fail "two servers: $(tail -n 20 "$dir/servers2.log")"
train "$dir/servers3" --servers 3 --workers 1 || fail "three servers: $(tail -n 20 "$dir/servers3.log")"
for run in two threads many alone servers2 servers3; do
    [ "$(tensors "$dir/one")" = "$(tensors "$dir/$run")" ] || fail "the parameters of run '$run' differ from those of one worker with one thread"
done
steps=$(grep -c '"kind":"step"' "$dir/one/metrics.jsonl")
[ "$steps" = 12 ] || fail "expected 12 steps in metrics.jsonl, found $steps"

# another seed must differ, or the comparison above says nothing
train "$dir/other" --workers 2 --set seed=8 || fail "another seed: $(tail -n 20 "$dir/other.log")"
[ "$(tensors "$dir/one")" != "$(tensors "$dir/other")" ] || fail "another seed gives the same parameters"

train "$dir/quiet" --workers 2 "${long[@]}" || fail "a long run: $(tail -n 20 "$dir/quiet.log")"
reference=$(tensors "$dir/quiet")

lines() { [ "$(wc -l <"$1/metrics.jsonl")" -ge "$2" ]; }
start() { # run folder, arguments: in the background, $pid
    local run=$1
    shift
    "$shelflife" train "$config" --set snapshots.dir="$run" "${long[@]}" "$@" >"$run.log" 2>&1 &
    pid=$!
}

# SIGTERM: a snapshot, exit code 143; the same command goes on
start "$dir/term" --workers 2
wait_for 60 lines "$dir/term" 20 || fail "the run does not start: $(cat "$dir/term.log")"
kill -TERM $pid
code=0
wait $pid || code=$?
[ $code = 143 ] || fail "SIGTERM exits $code: $(tail -n 20 "$dir/term.log")"
[ "$(tensors "$dir/term")" != "$reference" ] || fail "the run was over before SIGTERM came"
train "$dir/term" --workers 2 "${long[@]}" || fail "resume after SIGTERM: $(tail -n 20 "$dir/term.log")"
[ "$(tensors "$dir/term")" = "$reference" ] || fail "stopping and resuming changes the parameters"
steps=$(grep -c '"kind":"step"' "$dir/term/metrics.jsonl")
[ "$steps" = 1200 ] || fail "a resumed run has $steps steps in metrics.jsonl instead of 1200"

# SIGUSR1: the same with 138
start "$dir/usr1" --workers 1
wait_for 60 lines "$dir/usr1" 10 || fail "the run does not start: $(cat "$dir/usr1.log")"
kill -USR1 $pid
code=0
wait $pid || code=$?
[ $code = 138 ] || fail "SIGUSR1 exits $code: $(tail -n 20 "$dir/usr1.log")"

# kill -9 of everything: goes on from the last snapshot; the newest one damaged: from the one before, and says so
start "$dir/kill" --workers 2
ready() { lines "$dir/kill" 100 && [ "$(snapshots "$dir/kill" | wc -l)" -ge 2 ]; } # snapshots are written while training goes on
wait_for 60 ready || fail "the run does not start: $(cat "$dir/kill.log")"
server=$(pgrep -P $pid -f 'shelflife server') || fail "no server process"
kill -9 "$server" $pid
wait $pid || true
gone() { ! pgrep -f "snapshots.dir=$dir/kill"; }
wait_for 30 gone || fail "killing train leaves processes behind: $(pgrep -af "$dir/kill")"
newest=$(snapshots "$dir/kill" | tail -n 1) # the kill may have come before the link "latest" moved on to it
printf '\377' | dd of="$dir/kill/snapshots/$newest/model.safetensors" bs=1 seek=2000 conv=notrunc status=none
train "$dir/kill" --workers 1 "${long[@]}" || fail "resume after kill -9: $(tail -n 20 "$dir/kill.log")"
grep -q "snapshot-damaged.*$newest" "$dir/kill.log" || fail "the damaged snapshot $newest is not named: $(head -n 5 "$dir/kill.log")"
[ "$(tensors "$dir/kill")" = "$reference" ] || fail "kill -9 and a damaged snapshot change the parameters"

# kill -9 of one worker: the other goes on alone
start "$dir/worker" --workers 2
wait_for 60 lines "$dir/worker" 20 || fail "the run does not start: $(cat "$dir/worker.log")"
victim=$(pgrep -P $pid -f 'shelflife worker' | head -n 1)
kill -9 "$victim"
wait $pid || fail "a dead worker stops training: $(tail -n 20 "$dir/worker.log")"
[ "$(tensors "$dir/worker")" = "$reference" ] || fail "a dead worker changes the parameters"

# stopped as threads of one process, resumed as many processes
start "$dir/mixed"
wait_for 60 lines "$dir/mixed" 20 || fail "the run does not start: $(cat "$dir/mixed.log")"
kill -TERM $pid
code=0
wait $pid || code=$?
[ $code = 143 ] || fail "SIGTERM to one process exits $code: $(tail -n 20 "$dir/mixed.log")"
train "$dir/mixed" --servers 3 --workers 2 "${long[@]}" || fail "resume with other numbers: $(tail -n 20 "$dir/mixed.log")"
[ "$(tensors "$dir/mixed")" = "$reference" ] || fail "resuming with other numbers of servers and workers changes the parameters"

# the other modes do every step once
for mode in ssp asp; do
    train "$dir/$mode" --servers 2 --workers 3 --set consistency.mode=$mode || fail "$mode: $(tail -n 20 "$dir/$mode.log")"
    steps=$(grep -c '"kind":"step"' "$dir/$mode/metrics.jsonl")
    [ "$steps" = 12 ] || fail "$mode has $steps steps in metrics.jsonl instead of 12"
done
echo "17 runs agree"
