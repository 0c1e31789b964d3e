#!/usr/bin/env bash
# Who dies is started again and the result is the same: a worker, a server, the coordinator's server; who dies again and again is given up; who cannot start is not started again.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
small_dataset "$dir/d"
config=$dir/d/config.yaml
long=(--set epochs=300 --set snapshots.every_steps=40)

start() { # run folder, arguments: in the background, $pid
    local run=$1
    shift
    "$shelflife" train "$config" --set snapshots.dir="$run" "${long[@]}" "$@" >"$run.log" 2>&1 &
    pid=$!
}
lines() { [ "$(wc -l <"$1/metrics.jsonl")" -ge "$2" ]; }
process() { pgrep -P $pid -f -- "$1" | head -n 1; } # of the run's, whose command line has this
told() { grep -qF -- "$2" "$1.log"; }

start "$dir/quiet" --servers 2 --workers 2
wait $pid || fail "a quiet run: $(tail -n 20 "$dir/quiet.log")"
reference=$(tensors "$dir/quiet")

# kill -9, and SIGTERM, which says goodbye
for victim in "worker=--name w1" "rank=--rank 1" "coordinator=--resume"; do
    run=$dir/${victim%%=*}
    start "$run" --servers 2 --workers 2
    wait_for 60 lines "$run" 100 || fail "$victim: the run does not start: $(cat "$run.log")"
    kill -9 "$(process "${victim#*=}")"
    wait $pid || fail "$victim killed: $(tail -n 20 "$run.log")"
    told "$run" "starting it again" || fail "$victim was killed and train says nothing: $(cat "$run.log")"
    [ "$(tensors "$run")" = "$reference" ] || fail "killing $victim changes the parameters"
    steps=$(grep -c '"kind":"step"' "$run/metrics.jsonl")
    [ "$steps" = 900 ] || fail "killing $victim leaves $steps steps in metrics.jsonl instead of 900"
done
start "$dir/bye" --servers 2 --workers 2
wait_for 60 lines "$dir/bye" 100 || fail "the run does not start: $(cat "$dir/bye.log")"
kill -TERM "$(process "--rank 1")"
wait $pid || fail "SIGTERM to a server: $(tail -n 20 "$dir/bye.log")"
told "$dir/bye" "s1 has died with exit code 143" || fail "SIGTERM to a server does not end it with 143: $(cat "$dir/bye.log")"
[ "$(tensors "$dir/bye")" = "$reference" ] || fail "SIGTERM to a server changes the parameters"

# a server that dies whenever it comes: given up, with the reason. The program that train starts is a stand-in which, once told, kills itself in place of server 1
mkdir "$dir/bin"
cp "$shelflife" "$dir/bin/train"
cp "$SHELFLIFE_BIN/shelflife-decode" "$dir/bin/" 2>/dev/null || true
cat >"$dir/bin/shelflife" <<END
#!/bin/sh
case "\$*" in *"--rank 1"*) [ ! -e "$dir/doomed" ] || kill -9 \$\$ ;; esac
exec "$(realpath "$shelflife")" "\$@"
END
chmod +x "$dir/bin/shelflife"
"$dir/bin/train" train "$config" --set snapshots.dir="$dir/loop" "${long[@]}" --servers 2 --workers 1 >"$dir/loop.log" 2>&1 &
pid=$!
wait_for 60 lines "$dir/loop" 20 || fail "the run does not start: $(cat "$dir/loop.log")"
touch "$dir/doomed"
kill -9 "$(process "--rank 1")"
code=0
wait $pid || code=$?
[ $code = 8 ] || fail "a server that always dies ends train with $code instead of 8: $(tail -n 20 "$dir/loop.log")"
told "$dir/loop" "died 4 times with hardly a new step in between" || fail "train does not say why it gives up: $(tail -n 20 "$dir/loop.log")"

# the same command once all is done: nothing more happens, whoever comes first
for how in "" "--servers 2 --workers 2"; do
    for _ in 1 2 3; do
        code=0
        # shellcheck disable=SC2086
        "$shelflife" train "$config" --set snapshots.dir="$dir/quiet" "${long[@]}" $how >"$dir/done.log" 2>&1 || code=$?
        [ $code = 0 ] || fail "train $how on a finished run exits $code: $(cat "$dir/done.log")"
        told "$dir/done" "all steps are done" || fail "train $how on a finished run does not say so: $(cat "$dir/done.log")"
    done
done
[ "$(tensors "$dir/quiet")" = "$reference" ] || fail "training a finished run changes it"

# what cannot start is not started again
refuses 3 "dataset" "$shelflife" train "$config" --servers 2 --workers 2 --set snapshots.dir="$dir/bad" --set dataset.train="$dir/none"
if grep -q "starting it again" "$dir/err.txt"; then fail "a worker without data is started again: $(cat "$dir/err.txt")"; fi
refuses 2 "cluster.servers" "$shelflife" server "$config" --rank 3 --coordinator tcp://127.0.0.1:1
refuses 142 "no answer from the coordinator" "$shelflife" worker "$config" --coordinator tcp://127.0.0.1:1 --set cluster.join_ms=300
echo "training goes on"
