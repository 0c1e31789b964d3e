#!/usr/bin/env bash
# Features and token ids that others have made: from arrays to a trained model, and what is wrong with an array is said. With ../shared the public sets that are quick to import are, by
# the commands of docs/examples/sets/README.md.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
here=$(cd "$(dirname "$0")" && pwd)
sets=$here/../../docs/examples/sets
python=
for candidate in python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$candidate" -c 'import numpy' 2>/dev/null; then
        python=$candidate
    fi
done
[ -n "$python" ] || { echo "skipped: python3-numpy is not installed"; exit 77; }
manifest() { "$python" "$sets/manifest.py" "$@"; }
cd "$dir"

"$python" - <<'END'
import json, struct
import numpy as np
rng = np.random.default_rng(1)
n = 120
label = rng.integers(0, 2, n).astype("u1")
np.save("label.npy", label)
np.save("split.npy", np.repeat(np.array([0, 1, 2], "u1"), [80, 20, 20]))
np.save("pixels.npy", (rng.integers(0, 100, (n, 4, 3)) + 100 * label[:, None, None]).astype("u1"))
ids = np.zeros((n, 6), "u2")
ids[:, 0], ids[:, 1], ids[:, 2], ids[:, 3] = 2, 4 + label, rng.integers(4, 7, n), 3
np.save("ids.npy", ids)
np.save("short.npy", ids[:100])
np.save("big.npy", np.zeros((n, 12), ">f4"))
np.save("fortran.npy", np.asfortranarray(np.zeros((n, 12), "f4")))
bad = np.zeros((n, 12), "f4")
bad[7, 3] = np.nan
np.save("nan.npy", bad)
np.save("wide.npy", np.zeros((n, 13), "f4"))
np.save("other_ids.npy", ids + np.uint16(5))
data = np.ascontiguousarray(np.load("pixels.npy")).tobytes()
head = json.dumps({"all": {"dtype": "U8", "shape": [n, 4, 3], "data_offsets": [0, len(data)]}}).encode()
open("all.safetensors", "wb").write(struct.pack("<Q", len(head)) + head + data)
open("vocab.txt", "w").write("[PAD]\n[UNK]\n[CLS]\n[SEP]\nnews\nrecipe\nmore\n")
END
cat >config.yaml <<'END'
labels: [{name: day, duration: 1d}, {name: evergreen, duration: inf}]
dataset: {train: data/train, validation: data/validation}
modalities:
  - {name: picture, kind: features, in: 12, max_items: 1, hidden: 16}
  - {name: text, kind: bert, vocab: vocab.txt, max_tokens: 6, hidden: 16, layers: 1, heads: 2, mlp: 32}
fusion: {dim: 16, heads: 2, layers: 1, mlp: 32}
optimiser: {kind: adamw, lr: 1.0e-2, clip_norm: 1.0}
batch: {slots: 2, slot_size: 8}
epochs: 10
snapshots: {dir: run, keep: 1}
END
common=(--label label.npy --labels "day,evergreen" --split split.npy)

must manifest --out m.jsonl --features "picture=pixels.npy*0.004" --tokens text=ids.npy "${common[@]}"
must "$shelflife" import m.jsonl --out data --config config.yaml
grep -q "120 of 120 lines imported (train 80, validation 20, test 20)" out.txt || fail "the import: $(cat out.txt)"
must "$shelflife" train config.yaml
must "$shelflife" evaluate run/snapshots/latest data/test --json
"$python" -c 'import json, sys
for line in open("out.txt"):
    r = json.loads(line)
    assert all(b["accuracy"] == 1.0 for b in r["branches"].values()), line' || fail "what is easy is not learned: $(cat out.txt)"

# one row of (4, 3) is one of 12 numbers or four of 3; a stack may lie in a safetensors file
sed 's/"path": "[^"]*picture.npy"/"path": "all.safetensors", "name": "all"/' m.jsonl >tensors.jsonl
must "$shelflife" import tensors.jsonl --out tensors --config config.yaml
must "$shelflife" inspect tensors/train --sample 0000007
grep -q "picture *1 rows of 12 numbers" out.txt || fail "inspect: $(cat out.txt)"
must "$shelflife" import tensors.jsonl --out rows --config config.yaml --set modalities.picture.in=3 --set modalities.picture.max_items=4
must "$shelflife" inspect rows/train --sample 0000007
grep -q "picture *4 rows of 3 numbers" out.txt || fail "inspect: $(cat out.txt)"

# bad arrays: the manifest's maker or the import says what, where and what to do
refuses 1 "ids.npy has 120 rows, the others have 100" manifest --out x.jsonl --tokens text=short.npy --tokens more=ids.npy "${common[@]}"
refuses 1 "expected one whole number a sample" manifest --out x.jsonl --tokens text=ids.npy --label pixels.npy --labels day,evergreen
number=0
rejected() { # features, words, token ids: an import in which all lines or some are rejected with the words
    number=$((number + 1))
    local name=bad-$number
    must manifest --out "$name.jsonl" --features "picture=$1" --tokens "text=${3:-ids.npy}" "${common[@]}"
    "$shelflife" import "$name.jsonl" --out "$name" --config config.yaml >out.txt 2>err.txt || [ $? = 3 ] || fail "import of $1: $(cat err.txt)"
    grep -qF "$2" "$name/rejects.jsonl" err.txt || fail "$1 is not said to be '$2' but: $(head -n 2 "$name/rejects.jsonl" err.txt)"
}
rejected big.npy "not little-endian"
rejected fortran.npy "is in Fortran order"
rejected nan.npy "number 3 of the array is not finite"
rejected wide.npy "no dimensions at its end make up the config's"
rejected pixels.npy "were the ids made with another one?" other_ids.npy
[ "$(wc -l <bad-3/rejects.jsonl)" = 1 ] || fail "one value that is not finite costs more than its line: $(cat bad-3/rejects.jsonl)"
sed 's#ids.npy#short.npy#' m.jsonl >shorter.jsonl
refuses 3 "20 of 120 lines were rejected" "$shelflife" import shorter.jsonl --out shorter --config config.yaml --max-rejects 0.1
grep -q "row 100 is asked for, it has 100" shorter/rejects.jsonl || fail "a short array: $(head -n 1 shorter/rejects.jsonl)"

if [ ! -d "${SHELFLIFE_SHARED:-}/data" ]; then
    echo "skipped: the public sets, for there is no ../shared"
    exit 0
fi
S=$SHELFLIFE_SHARED/data
must manifest --out avmnist.jsonl --features "image=$S/avmnist_fsdd/image_u8.npy*0.00392157" --features "audio=$S/avmnist_fsdd/audio_logmel_20x24.npy" \
    --label "$S/avmnist_fsdd/labels.npy" --labels 0,1,2,3,4,5,6,7,8,9 --split "$S/avmnist_fsdd/split.npy"
must "$shelflife" import avmnist.jsonl --out avmnist --config "$sets/avmnist.yaml"
grep -q "3000 of 3000 lines imported (train 2520, validation 180, test 300)" out.txt || fail "avmnist: $(cat out.txt)"
cp "$sets/evergreen.yaml" "$S"/vocab/*.txt .
must manifest --out evergreen.jsonl --rows "$S/evergreen_qa/evergreen_qa.jsonl" --text title=english --texts english=english --texts chinese=chinese \
    --label label --labels mutable,evergreen --split split
must "$shelflife" import evergreen.jsonl --out evergreen --config evergreen.yaml
grep -q "5206 of 5206 lines imported (train 3487, validation 449, test 1270)" out.txt || fail "evergreen: $(cat out.txt)"
echo "arrays are datasets"
