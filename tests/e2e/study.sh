#!/usr/bin/env bash
# The study in seconds: a few arms on drawn data, resumed, and what its arms rest on, bit for bit. Then each form of balancing: the same bits for any number of workers and servers.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
root=$(cd "$(dirname "$0")/../.." && pwd)
/usr/bin/python3 -c 'import numpy' 2>/dev/null || { echo "skipped: python3-numpy is not installed"; exit 77; }
export PYTHONDONTWRITEBYTECODE=1

study() {
    must "$root/tests/study/run" --shelflife "$shelflife" --work "$dir/w" --results "$dir/results" --shared "$dir/nothing" --rate 2e-3 --epochs 2 --seeds 2 "$@"
}

study --sets synthetic --arms joint,none,excess,shuffled
lines=$dir/results/synthetic.jsonl
[ "$(wc -l <"$lines")" = 8 ] || fail "4 arms and 2 seeds gave $(wc -l <"$lines") lines"
cp "$lines" "$dir/before.jsonl"
truncate -s -40 "$lines" # cut off by a crash: that run is done again, and no other
study --sets synthetic,avmnist --arms joint,none,excess,shuffled
/usr/bin/python3 - "$lines" "$dir/before.jsonl" <<'END' || fail "a resumed study is another one"
import json, sys
now, before = ([{**json.loads(line), "seconds": 0} for line in open(path)] for path in sys.argv[1:])
sys.exit(0 if len(now) == 8 and now == before else 1)
END
grep -q "avmnist: left out" "$dir/out.txt" || fail "a set that is not there is not named: $(cat "$dir/out.txt")"
refuses 2 "there is no fashion" "$root/tests/study/run" --sets fashion
refuses 2 "shuffled replays excess" "$root/tests/study/run" --arms none,shuffled

config=$dir/w/sets/synthetic/config.yaml
train() { # name, KEY=VALUE or OPTION…
    local name=$1 words=()
    shift
    for word in "$@"; do
        case $word in -*) words+=("${word%%=*}" "${word#*=}") ;; *) words+=(--set "$word") ;; esac
    done
    must "$shelflife" train "$config" --threads 1 --set epochs=2 --set snapshots.dir="$dir/$name" "${words[@]}"
}
# same A B WORDS [PREFIX]: the parameters whose names begin with PREFIX are the same bits.
same() {
    /usr/bin/python3 - "$dir/$1" "$dir/$2" "${4:-}" <<'END' || fail "$3"
import json, sys
def read(run):
    data = open(f"{run}/snapshots/latest/model.safetensors", "rb").read()
    size = int.from_bytes(data[:8], "little")
    return {name: data[8 + size:][slice(*t["data_offsets"])] for name, t in json.loads(data[8:8 + size]).items() if name != "__metadata__" and name.startswith(tuple(sys.argv[3].split(",")))}
a, b = read(sys.argv[1]), read(sys.argv[2])
sys.exit(0 if a and a == b else 1)
END
}
modulated=optimiser.second_moment=modulated
train joint $modulated modulation.form=constant 'modulation.constant=[0, 0]'
train unweighted $modulated loss.visual=0 loss.text=0
same joint unweighted "k = 0 does not train extractors and fusion as loss weights of 0 do" extractor,fusion
train whole $modulated modulation.alpha=2 batch.slots=1 batch.slot_size=64
train slot $modulated modulation.alpha=2 batch.slots=1 batch.slot_size=64 modulation.statistics=slot
same whole slot "one slot's own scores do not do what the whole batch's do when it is one slot"
train excess modulation.alpha=2
/usr/bin/python3 - "$dir" <<'END'
import json, sys
import numpy as np
steps = [json.loads(line) for line in open(f"{sys.argv[1]}/excess/metrics.jsonl") if '"kind":"step"' in line]
k = np.array([list(s["coefficient"].values()) for s in steps])
assert k.min() < 0.99, k.min()  # else replaying it would show nothing
np.save(f"{sys.argv[1]}/k.npy", k)
END
train replay modulation.alpha=2 modulation.form=replay modulation.replay="$dir/k.npy"
same excess replay "coefficients that are replayed do not do what they did"
refuses 1 "k2.npy" "$shelflife" train "$config" --set snapshots.dir="$dir/none" --set modulation.form=replay --set modulation.replay="$dir/k2.npy"

i=0
for form in "modulation.form=mlb modulation.alpha=2" "modulation.form=pareto" "modulation.form=mlb modulation.scale=gradient" "modulation.scale=update modulation.alpha=2" "modulation.statistics=slot"; do
    i=$((i + 1))
    # shellcheck disable=SC2086 # words on purpose
    train "one$i" $form
    # shellcheck disable=SC2086
    train "many$i" $form --servers=2 --workers=3
    same "one$i" "many$i" "$form: 2 servers and 3 workers give other parameters than one process"
done
