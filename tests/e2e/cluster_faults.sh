#!/usr/bin/env bash
# Two servers and three workers whose processes are killed, stopped and continued at random: the final parameters are those of a quiet run, bit for bit.
#     FAULTS=40 SEED=3 tests/e2e/cluster_faults.sh      more of them, from another seed
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
faults=${FAULTS:-8}
RANDOM=${SEED:-1}
small_dataset "$dir/d"
config=$dir/d/config.yaml
long=(--set epochs=600 --set snapshots.every_steps=100)

"$shelflife" train "$config" --set snapshots.dir="$dir/quiet" "${long[@]}" >"$dir/quiet.log" 2>&1 || fail "the quiet run: $(tail -n 20 "$dir/quiet.log")"

"$shelflife" train "$config" --set snapshots.dir="$dir/run" --servers 2 --workers 3 "${long[@]}" >"$dir/run.log" 2>&1 &
pid=$!
children() { pgrep -P $pid; }
step() { tail -n 1 "$dir/run/metrics.jsonl" | sed -n 's/.*"step":\([0-9]*\),.*/\1/p'; }
declare -A killed # process → the newest step when it was killed
wait_for 60 grep -q '"kind":"step"' "$dir/run/metrics.jsonl" || fail "the run does not start: $(cat "$dir/run.log")"
done=0
while [ $done -lt "$faults" ] && kill -0 $pid 2>/dev/null; do
    sleep 0.$((RANDOM % 8 + 2)) # how long nothing happens is part of the chance
    mapfile -t processes < <(children || true)
    [ ${#processes[@]} -gt 0 ] || continue
    victim=${processes[$((RANDOM % ${#processes[@]}))]}
    line=$(tr '\0' ' ' <"/proc/$victim/cmdline" 2>/dev/null || true)
    what=$(cut -d' ' -f2 <<<"$line")
    who=$(grep -oE -- '--(rank|name) [^ ]+' <<<"$line" || true)
    if [ $((RANDOM % 3)) = 0 ]; then
        kill -STOP "$victim" 2>/dev/null || continue
        sleep 0.$((RANDOM % 8 + 2))
        kill -CONT "$victim" 2>/dev/null || true
        echo "paused a $what"
    else
        # train gives up who dies four times with hardly a new step in between, and a slow machine makes few
        now=$(step)
        [ "${now:-0}" -ge $((${killed[${who:-coordinator}]:--10} + 10)) ] || continue
        killed[${who:-coordinator}]=$now
        kill -9 "$victim" 2>/dev/null || continue
        echo "killed a $what"
    fi
    done=$((done + 1))
done
[ $done -gt 2 ] || fail "only $done faults happened before the run was over"
code=0
wait $pid || code=$?
[ $code = 0 ] || fail "the disturbed run exits $code: $(tail -n 20 "$dir/run.log")"
[ "$(tensors "$dir/run")" = "$(tensors "$dir/quiet")" ] || fail "after $done faults the parameters differ"
steps=$(grep -c '"kind":"step"' "$dir/run/metrics.jsonl")
[ "$steps" = 1800 ] || fail "metrics.jsonl has $steps steps instead of 1800"
gone() { ! pgrep -f "snapshots.dir=$dir/run"; }
wait_for 15 gone || fail "processes are left: $(pgrep -af "$dir/run")"
echo "$done faults change nothing"
