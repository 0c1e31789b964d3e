#!/usr/bin/env bash
# modulation.exchange early: the same bits from any cluster, with and without room for activations, with a worker killed and with audits; near the tagged exchange to rounding; what it cannot do is
# refused; ssp and asp finish.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
small_dataset "$dir/d"
config=$dir/d/config.yaml
fits=(--set optimiser.second_moment=modulated --set optimiser.clip_by=modulated)
early=(--set modulation.exchange=early "${fits[@]}")

train() { # run folder, arguments
    local run=$1
    shift
    "$shelflife" train "$config" --set snapshots.dir="$run" "$@" >"$run.log" 2>&1 || fail "$run: $(tail -n 20 "$run.log")"
}
same() { # run, reference run
    [ "$(tensors "$dir/$1")" = "$(tensors "$dir/$2")" ] || fail "the parameters of run '$1' differ from those of '$2'"
}

refuses 2 "optimiser.second_moment bound needs the unmodulated one" "$shelflife" train "$config" --set snapshots.dir="$dir/no" --set modulation.exchange=early
refuses 2 "set optimiser.clip_by to modulated" "$shelflife" train "$config" --set snapshots.dir="$dir/no" --set modulation.exchange=early --set optimiser.second_moment=modulated

train "$dir/alone" "${early[@]}"
train "$dir/cluster" "${early[@]}" --servers 2 --workers 3 --set cluster.threads=2
same cluster alone
train "$dir/nothing_kept" "${early[@]}" --workers 2 --set cluster.activations_mb=0
same nothing_kept alone
train "$dir/audit" "${early[@]}" --servers 2 --workers 2 --set cluster.audit=1
same audit alone
if grep -q 'audit:' "$dir/audit.log"; then fail "an audit finds a difference: $(grep 'audit:' "$dir/audit.log")"; fi
train "$dir/sgd" --set modulation.exchange=early --set optimiser.kind=sgd --set optimiser.clip_norm=none --workers 2
steps=$(grep -c '"kind":"step"' "$dir/sgd/metrics.jsonl")
[ "$steps" = 12 ] || fail "sgd made $steps steps instead of 12"

# where the time goes: a table, a line for each step, the same bits
train "$dir/profile" "${early[@]}" --workers 2 --profile
same profile alone
grep -q 'profile of 12 steps' "$dir/profile.log" || fail "no table of the profile: $(tail -n 20 "$dir/profile.log")"
python3 - "$dir/profile" "$dir/alone" <<'END' || fail "the profile of the steps"
import json, sys

def steps(run):
    return [line for line in map(json.loads, open(f"{run}/metrics.jsonl")) if line["kind"] == "step"]

assert all("profile" not in step for step in steps(sys.argv[2]))
for step in steps(sys.argv[1]):
    spent = step["profile"]
    assert set(spent) == {"data", "forward", "backward", "join", "compute", "push", "pull", "wait", "update"}, spent
    assert all(value >= 0 for value in spent.values()) and spent["forward"] > 0 and spent["backward"] > 0, spent
    assert spent["forward"] + spent["backward"] <= spent["compute"] * 1.5, spent
END

# the same training, to rounding; with another exchange than a snapshot's it is refused
train "$dir/tagged" "${fits[@]}"
python3 - "$dir/tagged" "$dir/alone" <<'END' || fail "early and tagged differ"
import json, math, struct, sys

def parameters(run):
    data = open(f"{run}/snapshots/latest/model.safetensors", "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    for name in sorted(header):
        if name != "__metadata__":
            begin, end = header[name]["data_offsets"]
            yield from struct.unpack(f"<{(end - begin) // 4}f", data[8 + size + begin:8 + size + end])

def steps(run):
    return [line for line in map(json.loads, open(f"{run}/metrics.jsonl")) if line["kind"] == "step"]

a, b = list(parameters(sys.argv[1])), list(parameters(sys.argv[2]))
relative = math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b)) / sum(x * x for x in a))
assert len(a) == len(b) and 0 < relative < 1e-4, relative
k = 1.0
for x, y in zip(steps(sys.argv[1]), steps(sys.argv[2])):
    k = min([k] + list(x["coefficient"].values()))
    for key in ("loss", "coefficient", "ratio", "score"):
        for branch in x[key]:
            assert abs(x[key][branch] - y[key][branch]) <= 1e-4 * abs(x[key][branch]), (key, branch, x, y)
    assert abs(x["clip"] - y["clip"]) <= 1e-4 * x["clip"], (x["clip"], y["clip"])
assert k < 1, "nothing was modulated"
print(f"early differs from tagged by {relative:.2g}, the least coefficient is {k:.3f}")
END
refuses 6 "config" "$shelflife" train "$config" --set snapshots.dir="$dir/alone" "${fits[@]}" --set epochs=5

# a worker is killed in the middle, the other one goes on: the same bits
long=(--set epochs=150)
lines() { [ "$(wc -l <"$1/metrics.jsonl")" -ge "$2" ]; }
train "$dir/quiet" "${early[@]}" "${long[@]}"
"$shelflife" train "$config" --set snapshots.dir="$dir/killed" "${early[@]}" "${long[@]}" --workers 2 >"$dir/killed.log" 2>&1 &
pid=$!
wait_for 60 lines "$dir/killed" 20 || fail "the run does not start: $(cat "$dir/killed.log")"
victim=$(pgrep -P $pid -f 'shelflife worker' | head -n 1)
kill -9 "$victim"
wait $pid || fail "a dead worker stops training: $(tail -n 20 "$dir/killed.log")"
same killed quiet

for mode in ssp asp; do
    train "$dir/$mode" "${early[@]}" --set consistency.mode=$mode --set consistency.staleness=2 --servers 2 --workers 3
    steps=$(grep -c '"kind":"step"' "$dir/$mode/metrics.jsonl")
    [ "$steps" = 12 ] || fail "$mode made $steps steps instead of 12"
done
echo "all runs agree"
