#!/usr/bin/env bash
# shelflife bench: every sub-benchmark runs and says something that can be read. No figure is judged here: that needs a quiet machine.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"

cat >"$dir/config.yaml" <<'END'
labels: [{name: day, duration: 24h}, {name: week, duration: 7d}, {name: evergreen, duration: inf}]
dataset: {train: dataset/train}
modalities:
  - {name: visual, kind: vit, image: 16, patch: 8, frames: 2, hidden: 16, layers: 2, heads: 2, mlp: 32, dropout: 0.1}
  - {name: text, kind: bert, vocab: none.txt, max_tokens: 8, hidden: 16, layers: 1, heads: 2, mlp: 32}
  - {name: audio, kind: features, in: 6, max_items: 3, hidden: 16}
fusion: {dim: 16, heads: 2, layers: 1, mlp: 32}
batch: {slots: 4, slot_size: 2}
epochs: 1
snapshots: {dir: run}
END
mkdir "$dir/files"

# check FILE NAME…: each line is JSON, the numbers are finite and positive, each benchmark has figures, each with a limit has its ratio.
check() {
    python3 - "$@" <<'END' || fail "the rows of $*: $(cat "$1")"
import json, math, sys

rows = [json.loads(line) for line in open(sys.argv[1])]
assert rows[0]["benchmark"] == "machine" and rows[0]["cores"] >= 1, rows[0]
for row in rows[1:]:
    assert row["subject"] and row["figure"] and row["unit"], row
    assert math.isfinite(row["value"]) and row["value"] > 0, row
    if "limit" in row:
        assert math.isfinite(row["limit"]) and row["limit"] > 0 and row["limit_of"], row
        assert math.isclose(row["ratio"], row["value"] / row["limit"]), row
for name in sys.argv[2:]:
    found = [row for row in rows if row["benchmark"] == name]
    assert found and (any("ratio" in row for row in found)), name
END
}

must "$shelflife" bench --config "$dir/config.yaml" --seconds 0.01 --dir "$dir/files" --json --shapes
check "$dir/out.txt" compute step server transport loader snapshot serve
[ -z "$(ls -A "$dir/files")" ] || fail "files are left: $(ls -A "$dir/files")"

# as a table, with values overridden
must "$shelflife" bench server --config "$dir/config.yaml" --set optimiser.kind=sgd --seconds 0.01 --dir "$dir/files"
grep -q "reduce 2 workers" "$dir/out.txt" || fail "no table: $(cat "$dir/out.txt")"

# with real samples
small_dataset "$dir/d"
must "$shelflife" bench compute loader --config "$dir/d/config.yaml" --dataset "$dir/d/dataset/train" --seconds 0.01 --dir "$dir/files" --json
check "$dir/out.txt" compute loader

# bad input
refuses 2 "nonsense" "$shelflife" bench nonsense
refuses 2 "--seconds" "$shelflife" bench compute --seconds -1
refuses 2 "huge" "$shelflife" bench compute --shape huge --dir "$dir/files"
refuses 2 "exclude" "$shelflife" bench compute --shape small --config "$dir/config.yaml"
refuses 2 "--config" "$shelflife" bench loader --dataset "$dir/d/dataset/train"
refuses 2 "missing.yaml" "$shelflife" bench compute --config "$dir/missing.yaml" --dir "$dir/files"
refuses 2 "batch.slots" "$shelflife" bench server --config "$dir/config.yaml" --set batch.slots=1 --dir "$dir/files"
refuses 3 "missing" "$shelflife" bench loader --config "$dir/d/config.yaml" --dataset "$dir/d/missing" --dir "$dir/files"
refuses 1 "$dir/none" "$shelflife" bench compute --dir "$dir/none"
[ -z "$(ls -A "$dir/files")" ] || fail "files are left: $(ls -A "$dir/files")"

# stopped half-way: the exit code of the signal, and nothing left
"$shelflife" bench compute --config "$dir/config.yaml" --seconds 600 --dir "$dir/files" >"$dir/out.txt" 2>"$dir/err.txt" &
process=$!
wait_for 20 grep -q medians "$dir/out.txt" || fail "the benchmark does not begin: $(cat "$dir/err.txt")"
kill -TERM $process
code=0
wait $process || code=$?
[ $code = 143 ] || fail "a stopped benchmark exits $code: $(cat "$dir/err.txt")"
[ -z "$(ls -A "$dir/files")" ] || fail "files are left: $(ls -A "$dir/files")"
echo "all seven benchmarks report"
