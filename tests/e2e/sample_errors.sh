#!/usr/bin/env bash
# shelflife-sample answers wrong use with one clear line and the right exit code, and writes nothing then.
set -euo pipefail
sample=$SHELFLIFE_BIN/shelflife-sample
[ -x "$sample" ] || { echo "skipped: $sample is not built"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

# expect CODE TEXT ARGUMENTS…: the exit code, and one line on standard error that holds the text
expect() {
    local code=$1 text=$2 status=0
    shift 2
    "$sample" "$@" >"$dir/out.txt" 2>"$dir/err.txt" || status=$?
    [ "$status" = "$code" ] || fail "$*: expected exit code $code, found $status: $(cat "$dir/err.txt")"
    [ "$(wc -l <"$dir/err.txt")" = 1 ] || fail "$*: expected one line, found: $(cat "$dir/err.txt")"
    grep -qF -- "$text" "$dir/err.txt" || fail "$*: expected \"$text\", found: $(cat "$dir/err.txt")"
    [ ! -s "$dir/out.txt" ] || fail "$*: wrote to standard output: $(cat "$dir/out.txt")"
}

expect 2 "give one folder"
expect 2 "give one folder" "$dir/a" "$dir/b"
expect 2 "give one folder" ""
expect 2 "--frames is not an option" "$dir/a" --frames 3
expect 2 "--clips needs a value" "$dir/a" --clips
for bad in 0 -1 1.5 ten 1000001 99999999999999999999 ""; do
    expect 2 "--clips: \"$bad\" is not a whole number" "$dir/a" --clips "$bad"
done
expect 2 "--seed: \"18446744073709551616\" is not a whole number" "$dir/a" --seed 18446744073709551616
expect 2 "--jobs: \"0\" is not a whole number" "$dir/a" --jobs 0
expect 2 "summary.json does not exist" "$dir/a" --summary
[ ! -e "$dir/a" ] || fail "wrong use made a folder"

touch "$dir/file"
expect 1 "$dir/file" "$dir/file/below" --clips 1

mkdir "$dir/theirs"
echo '{"id":"mine"}' >"$dir/theirs/manifest.jsonl"
expect 2 "was not written by shelflife sample" "$dir/theirs" --clips 1
echo '{"format":"other"}' >"$dir/theirs/summary.json"
expect 2 "was not written by shelflife sample" "$dir/theirs" --clips 1
expect 3 "was not written by shelflife sample" "$dir/theirs" --summary
[ "$(cat "$dir/theirs/manifest.jsonl")" = '{"id":"mine"}' ] || fail "a foreign manifest was changed"
[ ! -e "$dir/theirs/videos" ] || fail "clips were drawn into a foreign folder"

# a disk that is full, here a limit on file sizes: exit code 7, nothing half-written
status=0
(ulimit -f 8 && exec "$sample" "$dir/full" --clips 4 --jobs 1) >"$dir/out.txt" 2>"$dir/err.txt" || status=$?
[ "$status" = 7 ] || fail "file size limit: expected exit code 7, found $status: $(cat "$dir/err.txt")"
[ -z "$(ls "$dir/full/videos")" ] || fail "a file was left half-written: $(ls "$dir/full/videos")"
[ ! -e "$dir/full/manifest.jsonl" ] || fail "a manifest without clips was left"

"$sample" --help | grep -q '^usage: shelflife sample' || fail "--help prints no usage"
echo ok
