#!/bin/bash
# shelflife import and inspect on real mp4 files: the same records for any number of jobs and after kill -9, rejects listed, one clear line and
# the right exit code for each kind of bad input.
set -eu
program="$SHELFLIFE_BIN/shelflife"
for needed in shelflife shelflife-decode shelflife-sample; do
    [ -x "$SHELFLIFE_BIN/$needed" ] || { echo "skipped: $needed is not built"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "FAILED: $*"; exit 1; }
# expect CODE TEXT ARGUMENT...: the command ends with CODE and says TEXT
expect() {
    local code=$1 text=$2 got=0
    shift 2
    "$program" "$@" >out 2>err </dev/null || got=$?
    [ "$got" = "$code" ] || fail "$*: exit code $got, expected $code: $(cat out err)"
    grep -qF -- "$text" out err || fail "$*: expected \"$text\", got: $(cat out err)"
    [ "$code" = 0 ] || [ "$(grep -c . err)" = 1 ] || fail "$*: more than one line: $(cat err)"
}
fingerprints() { "$program" inspect "$1" --json | grep -o '"fingerprint":"[0-9a-f]*"'; }

"$program" sample clips --clips 40 --seed 7 >sample.log 2>&1 || fail "sample: $(cat sample.log)"
"$program" vocab clips/manifest.jsonl --out vocab.txt --min-count 1 >vocab.log 2>&1 || fail "vocab: $(cat vocab.log)"
cat >config.yaml <<'YAML'
labels:
  - {name: hours, duration: 6h}
  - {name: half_day, duration: 12h}
  - {name: day, duration: 24h}
  - {name: three_days, duration: 72h}
  - {name: week, duration: 7d}
  - {name: evergreen, duration: inf}
dataset: {train: data/train, validation: data/validation}
modalities:
  - {name: visual, kind: vit, image: 32, patch: 8, frames: 3, hidden: 16, layers: 1, heads: 2, mlp: 32}
  - {name: text, kind: bert, vocab: vocab.txt, max_tokens: 24, hidden: 16, layers: 1, heads: 2, mlp: 32}
fusion: {dim: 16, heads: 2, layers: 1, mlp: 32}
batch: {slots: 2, slot_size: 2}
epochs: 1
snapshots: {dir: run}
YAML

# broken files among the good ones
video=$(ls clips/videos/*.mp4 | head -n 1)
: >clips/videos/empty.mp4
head -c 20000 "$video" >clips/videos/cut.mp4
echo "not a video" >clips/videos/text.mp4
{
    cat clips/manifest.jsonl
    for bad in empty cut text absent; do
        echo "{\"id\":\"$bad\",\"video\":\"videos/$bad.mp4\",\"title\":\"x\",\"label\":\"day\"}"
    done
    echo '{"id":"label","video":"videos/text.mp4","title":"x","label":"dya"}'
    echo 'no json'
} >clips/mixed.jsonl

expect 0 "40 of 46 lines imported" import clips/mixed.jsonl --out one --config config.yaml --jobs 1 --shard-size 9
for reason in 'empty.mp4: is empty' 'cut.mp4: not a video' 'text.mp4: not a video' 'absent.mp4: cannot be opened' 'is \"day\" meant' 'not JSON'; do
    grep -qF "$reason" one/rejects.jsonl || fail "rejects.jsonl lacks $reason: $(cat one/rejects.jsonl)"
done
[ "$(wc -l <one/rejects.jsonl)" = 6 ] || fail "rejects.jsonl: $(cat one/rejects.jsonl)"
expect 0 '"imported":40' import clips/mixed.jsonl --out two --config config.yaml --jobs 2 --shard-size 9 --json
[ "$(fingerprints one)" = "$(fingerprints two)" ] || fail "two jobs gave other records"
expect 3 "(13.0 %), --max-rejects allows 5.0 %" import clips/mixed.jsonl --out two --config config.yaml --max-rejects 0.05 --shard-size 9

# kill -9 at several moments, decoders included, then go on
for pause in 0.05 0.15 0.3 0.1; do
    "$program" import clips/mixed.jsonl --out killed --config config.yaml --jobs 2 --shard-size 9 --commit-rows 3 >/dev/null 2>&1 &
    pid=$!
    timeout "$pause" tail --pid=$pid -f /dev/null || true
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
done
expect 0 "40 of 46 lines imported" import clips/mixed.jsonl --out killed --config config.yaml --shard-size 9
[ "$(fingerprints one)" = "$(fingerprints killed)" ] || fail "the resumed import has other records"
cmp one/rejects.jsonl killed/rejects.jsonl || fail "the resumed import lists other rejects"

# a full disk: told, resumable
mkdir small
if mount -t tmpfs -o size=200k tmpfs small 2>/dev/null; then
    got=0
    "$program" import clips/mixed.jsonl --out small --config config.yaml --shard-size 9 >out 2>err || got=$?
    mount -o remount,size=16m small
    again=0
    "$program" import clips/mixed.jsonl --out small --config config.yaml --shard-size 9 >out2 2>err2 || again=$?
    same=no
    [ "$(fingerprints one)" = "$(fingerprints small)" ] && same=yes
    umount small
    [ $got = 7 ] || fail "full disk: exit code $got: $(cat out err)"
    grep -q "full" err || fail "full disk: $(cat err)"
    [ $again = 0 ] && [ $same = yes ] || fail "not resumed after the full disk: $(cat out2 err2)"
fi

# looking at it
expect 0 "all checksums right" inspect one --verify
expect 0 '"split":"train"' inspect one/train --json
id=$(head -n 1 clips/manifest.jsonl | sed 's/.*"id":"\([^"]*\)".*/\1/')
expect 0 "3 frames of 32x32" inspect one --sample "$id" --png frames
[ "$(file -b frames/*-0.png 2>/dev/null | grep -c 'PNG image data, 32 x 32')" = 1 ] || [ -s "frames/$id-visual-0.png" ] || fail "no PNG"
expect 0 '[CLS]' inspect one --sample "$id" --json
expect 1 "no sample \"nobody\"" inspect one --sample nobody
expect 3 "does not exist" inspect nowhere
expect 3 "not a dataset" inspect clips
expect 2 "expected a DATASET" inspect

# wrong usage
expect 2 "--out is missing" import clips/mixed.jsonl --config config.yaml
expect 2 "--config is missing" import clips/mixed.jsonl --out x
expect 2 "expected one MANIFEST" import --out x --config config.yaml
expect 2 "there is no such flag" import clips/mixed.jsonl --out x --config config.yaml --jbos 2
expect 2 "--jobs 0" import clips/mixed.jsonl --out x --config config.yaml --jobs 0
expect 2 "--max-rejects 2" import clips/mixed.jsonl --out x --config config.yaml --max-rejects 2
expect 2 "image was 32, now it is 48" import clips/mixed.jsonl --out one --config config.yaml --shard-size 9 --set modalities.visual.image=48
expect 2 "is not empty" import clips/mixed.jsonl --out clips --config config.yaml
expect 1 "absent.jsonl" import absent.jsonl --out x --config config.yaml
printf '\n' >blank.jsonl
expect 3 "has no lines" import blank.jsonl --out x --config config.yaml
grep text.mp4 clips/mixed.jsonl >useless.jsonl
expect 3 "none of the 2 lines" import useless.jsonl --out y --config config.yaml
[ ! -e x ] || fail "a failed start left a folder"

# a damaged shard is named, not used
place=$(grep -abom1 clip- one/train/shard-00000/data.mdb | head -n 1 | cut -d: -f1)
printf 'X' | dd of=one/train/shard-00000/data.mdb bs=1 seek="$place" conv=notrunc 2>/dev/null
"$program" inspect one --verify >out 2>err && fail "a changed byte was not noticed"
grep -q "shard-00000" err || fail "damage: $(cat err)"
truncate -s -4096 two/train/shard-00001/data.mdb
expect 3 "its manifest says" inspect two
echo passed
