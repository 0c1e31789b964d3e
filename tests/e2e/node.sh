#!/usr/bin/env bash
# `shelflife node`: two servers and two workers, the same bits as `shelflife train`, whoever says which process is which; bad environments are refused by name.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
small_dataset "$dir/d"
sed -i "s/^epochs: .*/epochs: 100/" "$dir/d/config.yaml" # long enough for every task to be there in time
config=$dir/d/config.yaml
servers=${SHELFLIFE_TEST_SERVERS:-2}
# as users start it: with threads of OpenBLAS's own, these would take signals that are not theirs
unset OPENBLAS_NUM_THREADS OMP_NUM_THREADS SHELFLIFE_ROLE SHELFLIFE_RANK SHELFLIFE_SERVERS SHELFLIFE_COORDINATOR "${!SLURM_@}" "${!OMPI_@}" "${!PMI_@}" JOB_COMPLETION_INDEX

refuses 2 "nothing says which process this is" "$shelflife" node "$config"
refuses 2 "SHELFLIFE_ROLE boss" env SHELFLIFE_ROLE=boss "$shelflife" node "$config"
refuses 2 "nothing says where the coordinator listens" "$shelflife" node "$config" --rank 0
refuses 2 "contradicts" "$shelflife" node "$config" --rank 0 --coordinator n1:5 --port 6
refuses 2 "SLURM_JOB_NODELIST" env SLURM_PROCID=0 SLURM_JOB_NODELIST='n[1' "$shelflife" node "$config"
refuses 2 "expected one CONFIG" "$shelflife" node

env SLURM_PROCID=3 SLURM_NTASKS=4 SLURM_JOB_ID=7 SLURM_JOB_NODELIST='n[01-03]' "$shelflife" node "$config" --print --set seed=9 >"$dir/print.json"
python3 - "$dir/print.json" "$config" <<'PYTHON' || fail "--print says $(cat "$dir/print.json")"
import json, sys
said = json.load(open(sys.argv[1]))
assert said["source"] == "slurm" and said["role"] == "worker" and said["rank"] == 2, said
assert said["coordinator"] == "tcp://n01:20112", said
assert said["command"] == ["shelflife", "worker", sys.argv[2], "--coordinator", "tcp://n01:20112", "--name", "w2",
                           "--set", "cluster.servers=1", "--set", "seed=9"], said
PYTHON

# A whole cluster as mpirun would start it: the port is taken, not asked for, so another one is tried when somebody else has it.
must "$shelflife" train "$config" --set snapshots.dir="$dir/plain"
start() { # rank
    env OMPI_COMM_WORLD_RANK="$1" OMPI_COMM_WORLD_SIZE=$((servers + 2)) SHELFLIFE_COORDINATOR=127.0.0.1:$port \
        "$shelflife" node "$config" --servers "$servers" --threads 1 --set snapshots.dir="$dir/node" >"$dir/node.$1.log" 2>&1 &
    pids+=($!)
}
for ((try = 0; try < 4; try++)); do
    port=$((19100 + RANDOM % 2800)) # below those that the kernel gives away and those of other tests
    rm -rf "$dir/node"
    pids=()
    for ((rank = 0; rank < servers + 2; rank++)); do start "$rank"; done
    code=0
    wait "${pids[0]}" || code=$?
    [ $code != 0 ] && grep -q "Address already in use" "$dir/node.0.log" || break
    kill "${pids[@]:1}" 2>/dev/null || true
done
[ $code = 0 ] || fail "the server exits $code: $(tail -n 20 "$dir/node.0.log")"
for pid in "${pids[@]:1}"; do wait "$pid" || fail "a task fails: $(tail -n 5 "$dir"/node.*.log)"; done
grep -q "role-found source=openmpi role=server rank=0" "$dir/node.0.log" || fail "the log does not say who it is: $(cat "$dir/node.0.log")"
[ "$(tensors "$dir/plain")" = "$(tensors "$dir/node")" ] || fail "node changes the parameters"

# Who comes late: the run's folder says that all is done; a server that stays says so by itself, also to those who cannot see the folder.
worker() { # log, options of a worker, which ends well
    local log=$1 code=0
    shift
    "$shelflife" node "$config" --role worker --rank 5 --coordinator 127.0.0.1:$port --servers "$servers" "$@" >"$log" 2>&1 || code=$?
    [ $code = 0 ] || fail "a worker exits $code: $(cat "$log")"
}
worker "$dir/late.log" --set snapshots.dir="$dir/node" --set cluster.join_ms=600000
grep -q "run-over" "$dir/late.log" || fail "it does not say that the run is over: $(cat "$dir/late.log")"
pids=()
for ((rank = 0; rank < servers; rank++)); do
    "$shelflife" node "$config" --stay --role server --rank $rank --coordinator 127.0.0.1:$port --servers "$servers" --set snapshots.dir="$dir/node" >"$dir/stay.$rank.log" 2>&1 &
    pids+=($!)
done
for ((rank = 0; rank < servers; rank++)); do
    wait_for 60 grep -q staying "$dir/stay.$rank.log" || fail "server $rank does not stay: $(cat "$dir/stay.$rank.log")"
done
worker "$dir/late.log" --set snapshots.dir="$dir/elsewhere" --set cluster.join_ms=600000
grep -q 'finished reason="all steps are done"' "$dir/late.log" || fail "the server did not tell it: $(cat "$dir/late.log")"
kill "${pids[@]}"
for pid in "${pids[@]}"; do wait "$pid" || fail "a server that stayed exits $?: $(tail -n 5 "$dir"/stay.*.log)"; done

# two runs in one folder, two servers on one port: the second one is refused, and the first one is not hurt
"$shelflife" node "$config" --role server --coordinator 127.0.0.1:$port --servers 1 --set snapshots.dir="$dir/one" >"$dir/one.log" 2>&1 &
pids=($!)
wait_for 60 grep -q listening "$dir/one.log" || fail "the server does not start: $(cat "$dir/one.log")"
cp "$dir/one/status.json" "$dir/before.json"
refuses 1 "a run is at work in $dir/one (process ${pids[0]} on " "$shelflife" train "$config" --set snapshots.dir="$dir/one"
refuses 1 "a run is at work in $dir/one" "$shelflife" server "$config" --set snapshots.dir="$dir/one" --resume never
refuses 1 "another program has this port" "$shelflife" node "$config" --role server --coordinator 127.0.0.1:$port --servers 1 --set snapshots.dir="$dir/two"
cmp "$dir/one/status.json" "$dir/before.json" || fail "who was refused has changed the run's status.json"
worker "$dir/one.worker.log" --set snapshots.dir="$dir/one" --servers 1 # not late at all: it trains
wait "${pids[0]}" || fail "the first run ends with $?: $(tail -n 5 "$dir/one.log")"

# a lifeline that ends stops the server with a snapshot; a word on it is a signal
for word in "" USR1; do
    rm -rf "$dir/life"
    mkfifo "$dir/line"
    "$shelflife" node "$config" --lifeline --role server --coordinator 127.0.0.1:$port --servers 1 --set snapshots.dir="$dir/life" <"$dir/line" >"$dir/life.log" 2>&1 &
    pids=($!)
    exec 7>"$dir/line"
    wait_for 60 grep -q listening "$dir/life.log" || fail "the server does not start: $(cat "$dir/life.log")"
    [ -z "$word" ] || echo "$word" >&7
    [ -n "$word" ] || exec 7>&-
    code=0
    wait "${pids[0]}" || code=$?
    exec 7>&-
    rm "$dir/line"
    expected=143
    [ -z "$word" ] || expected=138
    [ $code = $expected ] && grep -q "stopping signal=" "$dir/life.log" || fail "lifeline '$word': exit code $code: $(cat "$dir/life.log")"
done
echo "node holds"
