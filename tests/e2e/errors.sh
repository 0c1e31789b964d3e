#!/usr/bin/env bash
# Bad input: one clear line, the right exit code, nothing half-written.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
small_dataset "$dir/d"
config=$dir/d/config.yaml
manifest=$dir/d/clips/manifest.jsonl

with() { # sed script → a changed config beside the good one
    sed -E "$1" "$config" >"$dir/d/bad.yaml"
    echo "$dir/d/bad.yaml"
}

# the command line
refuses 2 "no command" "$shelflife" nonsense
refuses 2 "CONFIG" "$shelflife" train
refuses 2 "unknown option" "$shelflife" train --nonsense "$config"
refuses 2 "--workers" "$shelflife" train "$config" --workers zero

# configs
refuses 2 "missing.yaml" "$shelflife" train "$dir/missing.yaml"
refuses 2 "epochz" "$shelflife" train "$(with 's/^epochs/epochz/')"
refuses 2 "epochs" "$shelflife" train "$(with 's/^epochs: 4/epochs: many/')"
refuses 2 "patch" "$shelflife" train "$(with 's/patch: 16/patch: 15/')"
refuses 2 "heads" "$shelflife" train "$(with 's/heads: 2, mlp: 64, dropout: 0.1, lower/heads: 5, mlp: 64, dropout: 0.1, lower/')"
refuses 2 "labels" "$shelflife" train "$(with 's/^labels:.*/labels: []/')"
refuses 2 "modalities" "$shelflife" train "$(with '/name: visual/d')"
refuses 2 "vocab" "$shelflife" train "$(with 's/vocab.txt/missing.txt/')"
refuses 2 "duration" "$shelflife" train "$(with 's/duration: 12h/duration: 1h/')"
refuses 2 "modulation.alpha" "$shelflife" train "$config" --set modulation.alpha=x
refuses 5 "can be reached from other machines" "$shelflife" train "$config" --workers 1 --set "cluster.coordinator=tcp://0.0.0.0:0" --set snapshots.dir="$dir/open"
[ ! -e "$dir/d/run" ] || fail "a refused config leaves a run folder"

# datasets
refuses 3 "missing" "$shelflife" train "$(with 's#dataset/train#dataset/missing#')"
cp -r "$dir/d/dataset/train" "$dir/d/dataset/bare"
rm "$dir/d/dataset/bare/manifest.json"
refuses 3 "manifest" "$shelflife" train "$(with 's#dataset/train#dataset/bare#')"
cp -r "$dir/d/dataset/train" "$dir/d/dataset/cut"
truncate -s -4096 "$(find "$dir/d/dataset/cut" -name data.mdb | head -n 1)"
refuses 3 "data.mdb" "$shelflife" train "$(with 's#dataset/train#dataset/cut#')"
printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\nother\n' >"$dir/d/other.txt"
refuses 3 "vocab" "$shelflife" train "$(with 's#vocab.txt#other.txt#')"
refuses 3 "image" "$shelflife" train "$(with 's/image: 32/image: 48/')"

# import: bad lines are listed with reasons, the others go in
cat >"$dir/d/clips/bad.jsonl" <<END
{"id": "good", "video": "$(sed -n 's/.*"video": *"\([^"]*\)".*/\1/p' "$manifest" | head -n 1)", "title": "Live now", "label": "hours"}
{"id": "label", "video": "videos/clip-000001.mp4", "title": "x", "label": "fortnight"}
{"id": "gone", "video": "videos/none.mp4", "title": "x", "label": "day"}
{"id": "text", "video": "manifest.jsonl", "title": "x", "label": "day"}
{"id": "key", "video": "videos/clip-000001.mp4", "tittle": "x", "label": "day"}
not json
END
must "$shelflife" import "$dir/d/clips/bad.jsonl" --out "$dir/rejects" --config "$config"
[ "$(wc -l <"$dir/rejects/rejects.jsonl")" = 5 ] || fail "expected 5 rejects, found: $(cat "$dir/rejects/rejects.jsonl")"
for word in fortnight none.mp4 tittle; do
    grep -q "$word" "$dir/rejects/rejects.jsonl" || fail "no reject names $word: $(cat "$dir/rejects/rejects.jsonl")"
done
refuses 1 "missing.jsonl" "$shelflife" import "$dir/missing.jsonl" --out "$dir/none" --config "$config"

# a snapshot to evaluate and predict with
must "$shelflife" train "$config" --workers 1 --set epochs=1
refuses 2 "holds" "$shelflife" train "$config" --workers 1 --set epochs=1 --resume never
refuses 6 "another config" "$shelflife" train "$config" --workers 1 --set epochs=2
refuses 3 "manifest.json" "$shelflife" evaluate "$dir/d/clips" "$dir/d/dataset/test"
cp -r "$dir/d/run" "$dir/flipped"
printf '\377' | dd of="$(readlink -f "$dir/flipped/snapshots/latest")/model.safetensors" bs=1 seek=3000 conv=notrunc status=none
refuses 3 "model.safetensors" "$shelflife" evaluate "$dir/flipped/snapshots/latest" "$dir/d/dataset/test"
must "$shelflife" evaluate "$dir/d/run" "$dir/d/dataset/test" --json
python3 - "$dir/out.txt" <<'END' || fail "the JSON of evaluate: $(cat "$dir/out.txt")"
import json, sys
r = json.load(open(sys.argv[1]))
for branch in ("visual", "text", "fused"):
    b = r["branches"][branch]
    assert 0 <= b["accuracy"] <= 1 and 0 <= b["macro_f1"] <= 1 and b["count"] == r["samples"] > 0, b
    assert sum(map(sum, b["confusion"])) == r["samples"], b
    hits = sum(b["confusion"][k][k] for k in range(6))
    assert abs(hits / r["samples"] - b["accuracy"]) < 1e-9, b
END

# predict: each bad line has its own error, the others their prediction, exit code 3
code=0
"$shelflife" predict "$dir/d/run" "$dir/d/clips/bad.jsonl" --json >"$dir/out.txt" 2>"$dir/err.txt" || code=$?
[ $code = 3 ] || fail "predict of bad lines exits $code: $(cat "$dir/err.txt")"
python3 - "$dir/out.txt" <<'END' || fail "the JSON of predict: $(cat "$dir/out.txt")"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
assert len(rows) == 6 and "error" not in rows[0] and all("error" in r for r in rows[1:]), rows
total = sum(rows[0]["branches"]["fused"]["probabilities"].values())
assert abs(total - 1) < 1e-5, total
END
video=$(find "$dir/d/clips/videos" -name '*.mp4' | sort | head -n 1)
must "$shelflife" predict "$dir/d/run" "$video" --title "Live: storm" --published 2026-01-01T00:00:00Z --json
python3 - "$dir/out.txt" <<'END' || fail "expiry: $(cat "$dir/out.txt")"
import datetime, json, sys
r = json.loads(open(sys.argv[1]).read())
start = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
if r["evergreen"]:
    assert r["expires"] is None and r["duration_s"] is None, r
else:
    assert datetime.datetime.fromisoformat(r["expires"].replace("Z", "+00:00")) - start == datetime.timedelta(seconds=r["duration_s"]), r
END
code=0
"$shelflife" predict "$dir/d/run" "$video" >"$dir/out.txt" 2>&1 || code=$?
[ $code = 3 ] && grep -q "error:" "$dir/out.txt" || fail "a video without text: $code $(cat "$dir/out.txt")"
head -n 2 "$manifest" | sed "s#\"videos/#\"$dir/d/clips/videos/#" | must "$shelflife" predict "$dir/d/run" - --json
[ "$(wc -l <"$dir/out.txt")" = 2 ] || fail "two lines on standard input give: $(cat "$dir/out.txt")"

# a feature that is not a number
mkdir -p "$dir/f"
cat >"$dir/f/config.yaml" <<'END'
labels: [{name: a, duration: 1h}, {name: b, duration: inf}]
dataset: {train: dataset/train}
modalities: [{name: left, kind: features, in: 3, hidden: 8}, {name: right, kind: features, in: 2, hidden: 8}]
fusion: {dim: 8, heads: 2, layers: 1}
batch: {slots: 2, slot_size: 2}
epochs: 1
snapshots: {dir: run}
END
python3 - "$dir/f" <<'END'
import json, struct, sys
d = sys.argv[1]

def save(path, shape, values):
    head = ("{'descr': '<f4', 'fortran_order': False, 'shape': %r, }" % (shape,)).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + struct.pack("<%df" % len(values), *values))

with open(d + "/m.jsonl", "w") as f:
    for i in range(6):
        left = [float(i)] * 6
        if i == 3:
            left[4] = float("nan")
        save(f"{d}/l{i}.npy", (2, 3), left)
        save(f"{d}/r{i}.npy", (2,), [1.0, 1.0])
        f.write(json.dumps({"id": str(i), "label": "ab"[i % 2], "features": {"left": f"l{i}.npy", "right": f"r{i}.npy"}}) + "\n")
END
must "$shelflife" import "$dir/f/m.jsonl" --out "$dir/f/dataset" --config "$dir/f/config.yaml"
grep -q '"id": *"3"' "$dir/f/dataset/rejects.jsonl" || fail "a NaN is not rejected: $(cat "$dir/f/dataset/rejects.jsonl")"
must "$shelflife" train "$dir/f/config.yaml" --workers 1
echo "every bad input has its line"
