#!/usr/bin/env bash
# `shelflife serve` asked by many clients at once: the answers of `predict` to the bit, newer snapshots under load, limits, malformed requests, signals:
# tests/e2e/serve/test_serve.py. And `predict` as a stream.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
here=$(cd "$(dirname "$0")" && pwd)
python=/usr/bin/python3 # Debian's, which has Debian's modules
"$python" -c 'import zmq, google.protobuf' 2>/dev/null && command -v protoc promtool >/dev/null ||
    { echo "skipped: needs python3-zmq, python3-protobuf, protobuf-compiler and prometheus"; exit 77; }

small_dataset "$dir/d"
# a model of text and rows of numbers besides
"$python" "$here/serve/rows.py" "$dir/d"
grep -v 'name: visual' "$dir/d/config.yaml" |
    sed -E 's#^fusion:.*#  - {name: audio, kind: features, in: 5, hidden: 24, max_items: 3}\nfusion: {dim: 24, heads: 3, layers: 1, mlp: 40}#; s#dataset/#rows-dataset/#g; s#dir: run#dir: rows-run#' >"$dir/d/rows.yaml"
must "$shelflife" import "$dir/d/clips/rows.jsonl" --out "$dir/d/rows-dataset" --config "$dir/d/rows.yaml"
must "$shelflife" train "$dir/d/rows.yaml" --workers 1 --set epochs=1
must "$shelflife" train "$dir/d/config.yaml" --workers 1 --set epochs=3 --set optimiser.lr=1.0e-2 --set snapshots.every_steps=3
mkdir "$dir/python"
protoc --proto_path="$here/../.." --python_out="$dir/python" proto/serve.proto
export SHELFLIFE=$shelflife DATA=$dir/d PYTHONPATH=$dir/python:$here/../../docs/examples
"$python" -W error::ResourceWarning "$here/serve/test_serve.py"
