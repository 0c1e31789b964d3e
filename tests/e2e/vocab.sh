#!/bin/bash
# shelflife vocab: the train split alone is read, the same texts give the same file, and bad input gives one clear line and its exit code.
set -eu
program="$SHELFLIFE_BIN/shelflife"
[ -x "$program" ] || { echo "skipped: $program is not built"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "FAILED: $*"; exit 1; }
# expect CODE TEXT ARGUMENT...: the command ends with CODE and says TEXT, in one line
expect() {
    local code=$1 text=$2 got=0
    shift 2
    "$program" vocab "$@" >out 2>err </dev/null || got=$?
    [ "$got" = "$code" ] || fail "vocab $*: exit code $got, expected $code: $(cat err)"
    grep -qF -- "$text" out err || fail "vocab $*: expected \"$text\", got: $(cat out err)"
}

for i in 1 2 3; do
    printf '{"id":"a%d","title":"Harbour news today","ocr":"天气 LIVE","split":"train"}\n' $i
    printf '{"id":"b%d","title":"harbour fire","asr":null}\n' $i
    printf '{"id":"c%d","title":"zeppelin zeppelin","split":"test"}\n\n' $i
done >m.jsonl
expect 0 "6 lines" m.jsonl --out v.txt --size 300 --lower-case
grep -qx harbour v.txt || fail "harbour has no token"
grep -qx 天 v.txt || fail "天 has no token"
grep -qx 'zeppelin\|##ppelin' v.txt && fail "the test split was read"
[ "$(head -n 5 v.txt | tr '\n' ' ')" = "[PAD] [UNK] [CLS] [SEP] [MASK] " ] || fail "special tokens do not come first"
tac m.jsonl >reversed.jsonl
expect 0 '"lines":6' reversed.jsonl --out w.txt --size 300 --lower-case --json
cmp v.txt w.txt || fail "the order of the lines changed the vocabulary"
expect 0 "6 lines" m.jsonl --out cased.txt --min-count 1
grep -qx Harbour cased.txt || fail "without --lower-case, Harbour has no token"

printf '{"title":"fine fine"}\nno json\n{"title":7}\n[]\n{"split":1}\n{"title":"good"}\n' >mixed.jsonl
expect 0 "mixed.jsonl:2: no JSON" mixed.jsonl --out x.txt
expect 0 "mixed.jsonl:3: title: expected a string" mixed.jsonl --out x.txt
expect 0 "4 bad" mixed.jsonl --out x.txt
rm x.txt
printf '{"title":"only","split":"test"}\n' >test.jsonl
: >empty.jsonl
printf '{"title":" "}\n' >blank.jsonl
expect 3 "no line to build from" test.jsonl --out x.txt
expect 3 "no line to build from" empty.jsonl --out x.txt
expect 3 "not one word" blank.jsonl --out x.txt
expect 1 "absent.jsonl" absent.jsonl --out x.txt
expect 1 "no/folder" m.jsonl --out no/folder/x.txt
expect 2 "--out is missing" m.jsonl
expect 2 "expected one MANIFEST" --out x.txt
expect 2 "--size 10" m.jsonl --out x.txt --size 10
expect 2 "--min-count no" m.jsonl --out x.txt --min-count no
expect 2 "no such flag" m.jsonl --out x.txt --wrong
expect 0 "example:" --help
[ ! -e x.txt ] || fail "a failed command left a file"
ls -A | grep -q 'x.txt' && fail "a failed command left a temporary file"
echo "vocab: all as expected"
