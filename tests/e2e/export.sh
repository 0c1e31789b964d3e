#!/usr/bin/env bash
# Exports of a model with all three kinds of modality: the ONNX file passes the checker and gives our own logits in numpy (python3-onnx) and, where
# npm can install it, in onnxruntime; the safetensors file has every parameter; bad input and a full disk leave nothing behind.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
here=$(cd "$(dirname "$0")" && pwd)
small_dataset "$dir/d"

# a third modality: rows of numbers, one to four a clip
python3 - "$dir/d" <<'END'
import json, os, random, struct, sys
d = sys.argv[1]
random.seed(3)
os.mkdir(d + "/rows")
with open(d + "/clips/manifest.jsonl") as lines, open(d + "/clips/three.jsonl", "w") as out:
    for number, line in enumerate(lines):
        row = json.loads(line)
        count = 1 + number % 4
        head = ("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 5), }" % count).encode()
        head += b" " * (-(len(head) + 11) % 64) + b"\n"
        with open(f"{d}/rows/{number}.npy", "wb") as f:
            f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
            f.write(struct.pack("<%df" % (5 * count), *(random.gauss(0, 1) for _ in range(5 * count))))
        row["features"] = {"audio": f"{d}/rows/{number}.npy"}
        out.write(json.dumps(row) + "\n")
END
sed -E 's#^fusion:.*#  - {name: audio, kind: features, in: 5, hidden: 24, max_items: 4}\nfusion: {dim: 24, heads: 3, layers: 2, mlp: 40}#; s#dataset/#three/#g; s#dir: run#dir: three-run#' \
    "$dir/d/config.yaml" >"$dir/d/three.yaml"
must "$shelflife" import "$dir/d/clips/three.jsonl" --out "$dir/d/three" --config "$dir/d/three.yaml"
must "$shelflife" train "$dir/d/three.yaml" --workers 1 --set epochs=6 --set optimiser.lr=1.0e-2 # far from the initial values
run=$dir/d/three-run/snapshots/latest
mkdir "$dir/x"

# ONNX, the oldest and the newest operator set, tensors inside and outside
must "$shelflife" export "$run" --format onnx --opset 13 --out "$dir/x/old.onnx" --check 100
must "$shelflife" export "$run" --out "$dir/x/new.onnx" --external-data --check 100 --json
grep -q '"path":"[^"]*new.onnx.data"' "$dir/out.txt" || fail "the report does not name new.onnx.data: $(cat "$dir/out.txt")"
for file in old.onnx old.onnx.json old.onnx.vocab-text.txt old.onnx.check.safetensors new.onnx new.onnx.data; do
    [ -s "$dir/x/$file" ] || fail "$file is missing: $(ls "$dir/x")"
done
cmp "$dir/d/vocab.txt" "$dir/x/old.onnx.vocab-text.txt" || fail "the vocabulary beside the export is another"
onnx_python=
for python in python3 /usr/bin/python3; do
    if [ -z "$onnx_python" ] && "$python" -c 'import onnx, numpy' 2>/dev/null; then
        onnx_python=$python
    fi
done
if [ -n "$onnx_python" ]; then
    for opset in 14 15 16; do
        must "$shelflife" export "$run" --opset $opset --out "$dir/x/opset$opset.onnx" --check 10
    done
    for model in old opset14 opset15 opset16 new; do
        must "$onnx_python" "$here/onnx_numpy.py" "$dir/x/$model.onnx"
        cat "$dir/out.txt"
    done
else
    echo "skipped: the checker and numpy, for python3-onnx is not installed"
fi

# the sidecar and the metadata agree, and name no path of this machine
python3 - "$dir/x/old.onnx" "$dir" <<'END' || fail "the sidecar: $(cat "$dir/x/old.onnx.json")"
import json, sys
side = json.load(open(sys.argv[1] + ".json"))
assert [i["name"] for i in side["inputs"]] == ["visual", "text", "audio"], side
assert [o["logits"] for o in side["outputs"]] == ["logits.visual", "logits.text", "logits.audio", "logits.fused"], side
assert side["labels"][0] == {"name": "hours", "duration_s": 21600} and side["labels"][-1]["duration_s"] is None, side
assert side["inputs"][0]["image"] == 32 and side["inputs"][1]["tokenizer"]["vocabulary"] == "old.onnx.vocab-text.txt", side
assert sys.argv[2].encode() not in open(sys.argv[1], "rb").read()
END

# safetensors: the snapshot's parameters to the bit, and its metadata
must "$shelflife" export "$run" --out "$dir/x/w.safetensors"
python3 - "$dir/x/w.safetensors" "$run/model.safetensors" <<'END' || fail "the safetensors export: $(cat "$dir/err.txt")"
import json, struct, sys

def read(path):
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        head, data = json.loads(f.read(n)), f.read()
    meta = head.pop("__metadata__", {})
    return meta, {k: (v["dtype"], v["shape"], data[v["data_offsets"][0]:v["data_offsets"][1]]) for k, v in head.items()}

meta, ours = read(sys.argv[1])
assert ours == read(sys.argv[2])[1]
assert meta["format"] == "pt" and json.loads(meta["durations_s"])[-1] is None and "modalities:" in meta["config"], meta
END

# an independent runtime, and the example client in the documentation against our own predictions
npm_folder=$SHELFLIFE_BIN/npm
if npm_install "$npm_folder" "$here/../npm/package.json" "$here/../npm/check_onnx.mjs" "$here/../../docs/examples/predict_onnx.mjs"; then
    for model in old new; do
        must node "$npm_folder/check_onnx.mjs" "$dir/x/$model.onnx"
        cat "$dir/out.txt"
    done
    must "$shelflife" train "$dir/d/config.yaml" --workers 1 --set epochs=3
    must "$shelflife" export "$dir/d/run" --out "$dir/x/two.onnx"
    must python3 "$here/export_client.py" "$shelflife" "$dir/d" "$dir/x/two.onnx" "$npm_folder/predict_onnx.mjs"
    cat "$dir/out.txt"
else
    echo "skipped: onnxruntime"
fi

# bad input
before=$(ls "$dir/x")
refuses 2 "--out" "$shelflife" export "$run"
refuses 2 "expected safetensors or onnx" "$shelflife" export "$run" --format pickle --out "$dir/x/a.bin"
refuses 2 "say --format" "$shelflife" export "$run" --out "$dir/x/a.bin"
refuses 2 "--opset 18" "$shelflife" export "$run" --opset 18 --out "$dir/x/a.onnx"
refuses 2 "--check" "$shelflife" export "$run" --check none --out "$dir/x/a.onnx"
refuses 2 "belong to --format onnx" "$shelflife" export "$run" --external-data --out "$dir/x/a.safetensors"
refuses 2 "is a folder" "$shelflife" export "$run" --format onnx --out "$dir/x"
refuses 2 "snapshot's own folder" "$shelflife" export "$run" --out "$run/a.onnx"
refuses 1 "none/a.onnx" "$shelflife" export "$run" --out "$dir/none/a.onnx"
refuses 3 "manifest.json" "$shelflife" export "$dir/d/clips" --out "$dir/x/a.onnx"
cp -r "$dir/d/three-run" "$dir/flipped"
printf '\377' | dd of="$(readlink -f "$dir/flipped/snapshots/latest")/model.safetensors" bs=1 seek=3000 conv=notrunc status=none
refuses 3 "model.safetensors" "$shelflife" export "$dir/flipped/snapshots/latest" --out "$dir/x/a.onnx"
full() { # a limit of 20 KiB on files stands for a full disk
    (ulimit -f 20; trap '' XFSZ; "$shelflife" export "$run" --out "$dir/x/$1")
}
refuses 7 "a.onnx" full a.onnx
cp "$dir/x/w.safetensors" "$dir/kept"
refuses 7 "w.safetensors" full w.safetensors
cmp "$dir/kept" "$dir/x/w.safetensors" || fail "a failed export has changed the old one"
[ "$(ls "$dir/x")" = "$before" ] || fail "failed exports leave files behind: $(ls "$dir/x")"
echo "exports are what they say"
