#!/usr/bin/env bash
# shelflife-sample is repeatable: the same seed gives the same bytes whatever the number of threads, in one run or several, and fewer clips
# are the beginning of more; another seed gives other clips.
set -euo pipefail
sample=$SHELFLIFE_BIN/shelflife-sample
[ -x "$sample" ] || { echo "skipped: $sample is not built"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
draw() { "$sample" "$@" >"$dir/out.txt" 2>"$dir/err.txt" || fail "$* exits $?: $(cat "$dir/err.txt")"; }

draw "$dir/a" --clips 24 --seed 3 --jobs 2
draw "$dir/b" --clips 24 --seed 3 --jobs 1
diff -r "$dir/a" "$dir/b" || fail "the same seed gives other files with another number of threads"

draw "$dir/c" --clips 6 --seed 3
draw "$dir/d" --clips 6 --seed 4
[ "$(head -n 6 "$dir/a/manifest.jsonl")" = "$(cat "$dir/c/manifest.jsonl")" ] || fail "6 clips are not the beginning of 24"
for video in "$dir"/c/videos/*.mp4; do
    name=$(basename "$video")
    cmp "$video" "$dir/a/videos/$name" || fail "$name depends on the number of clips"
    ! cmp -s "$video" "$dir/d/videos/$name" || fail "$name is the same for seeds 3 and 4"
done
! cmp -s "$dir/c/manifest.jsonl" "$dir/d/manifest.jsonl" || fail "seeds 3 and 4 have the same manifest"

# broken, missing and foreign files are drawn again, right ones are kept, leftovers of a killed run go
truncate -s 3000 "$dir/a/videos/clip-000002.mp4"
: >"$dir/a/videos/clip-000003.mp4"
rm "$dir/a/videos/clip-000004.mp4"
cp "$dir/d/videos/clip-000005.mp4" "$dir/a/videos/clip-000005.mp4"
touch "$dir/a/videos/clip-000009.mp4.tmp-abcdef"
draw "$dir/a" --clips 24 --seed 3
grep -q "^4 clips drawn, 20 were there" "$dir/out.txt" || fail "expected 4 clips drawn again, found: $(tail -n 1 "$dir/out.txt")"
diff -r "$dir/a" "$dir/b" || fail "a repaired folder differs from a new one"

# a stop by SIGTERM exits 143 and leaves no manifest; the next run goes on
"$sample" "$dir/e" --clips 24 --seed 3 --jobs 1 >"$dir/out.txt" 2>"$dir/err.txt" &
pid=$!
until compgen -G "$dir/e/videos/clip-*.mp4" >/dev/null; do
    kill -0 "$pid" || fail "shelflife-sample ended early: $(cat "$dir/err.txt")"
    read -rt 0.05 <> <(:) || true
done
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
[ "$status" = 143 ] || fail "SIGTERM: expected exit code 143, found $status"
[ ! -e "$dir/e/manifest.jsonl" ] || fail "an unfinished folder has a manifest"
draw "$dir/e" --clips 24 --seed 3
diff -r "$dir/e" "$dir/b" || fail "a resumed folder differs from one drawn in one run"
echo ok
