#!/usr/bin/env bash
# The accuracies that shelflife-sample says can be reached follow from what it drew: recomputed here from summary.json and signs.jsonl, by
# enumerating all signs. Also: labels balanced, splits stratified, titles free of grammar marks, labels as deploy/quickstart.yaml has them.
set -euo pipefail
sample=$SHELFLIFE_BIN/shelflife-sample
[ -x "$sample" ] || { echo "skipped: $sample is not built"; exit 77; }
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

"$sample" "$dir/a" --clips 42 --seed 9 >"$dir/table.txt" 2>/dev/null || fail "shelflife-sample exits $?"
"$sample" "$dir/a" --clips 42 --seed 9 --json >"$dir/summary.txt" 2>/dev/null
"$sample" "$dir/a" --summary >"$dir/again.txt"
[ "$(head -n -1 "$dir/table.txt")" = "$(cat "$dir/again.txt")" ] || fail "--summary prints another table than the run did"

# a number of the summary, by its path: number attainable text
number() { tr -d ' \n' <"$dir/a/summary.json" | grep -o "\"$1\":{[^}]*}" | head -n 1 | grep -o "\"$2\":[0-9.e-]*" | cut -d: -f2; }
shares=$(tr -d ' \n' <"$dir/a/summary.json" | grep -o '"shares":{"text":{[^}]*},"picture":{[^}]*}}')
share() { grep -o "\"$1\":{[^}]*}" <<<"$shares" | grep -o "\"$2\":[0-9.]*" | cut -d: -f2; }

awk -v to="$(share text own)" -v tn="$(share text neighbour)" -v t0="$(share text none)" \
    -v po="$(share picture own)" -v pn="$(share picture neighbour)" -v p0="$(share picture none)" \
    -v text="$(number attainable text)" -v picture="$(number attainable picture)" -v both="$(number attainable both)" '
function near(label, sign) { return label - sign == 1 || sign - label == 1 }
function chance(label, sign, own, neighbour, none) {
    if (sign < 0) return none
    if (sign == label) return own
    return near(label, sign) ? neighbour / (label == 0 || label == 5 ? 1 : 2) : 0
}
# the mass of the most likely label of each pair of signs: what the best reader gets right
function best(use_text, use_picture,   t, p, y, sum, most, mass) {
    sum = 0
    for (t = -1; t < 6; t++) for (p = -1; p < 6; p++) {
        if ((!use_text && t >= 0) || (!use_picture && p >= 0)) continue
        most = 0
        for (y = 0; y < 6; y++) {
            mass = (use_text ? chance(y, t, to, tn, t0) : 1) * (use_picture ? chance(y, p, po, pn, p0) : 1) / 6
            if (mass > most) most = mass
        }
        sum += most
    }
    return sum
}
function same(name, said, found) {
    if (said == "" || found - said > 1e-9 || said - found > 1e-9) { printf "%s: said %s, recomputed %.12f\n", name, said, found; bad = 1 }
}
BEGIN {
    same("text", text, best(1, 0)); same("picture", picture, best(0, 1)); same("both", both, best(1, 1))
    if (!(text >= 0.75 && text <= 0.82 && picture >= 0.75 && picture <= 0.85 && both >= 0.94)) { print "out of range:", text, picture, both; bad = 1 }
    exit bad
}' || fail "the attainable accuracies do not follow from the shares"

# the text column by split, from the signs: a plain title is right one time in six, a sign is right when it is the label
for split in train validation test; do
    said=$(tr -d ' \n' <"$dir/a/summary.json" | grep -o "\"$split\":{.*" | grep -o '"ideal":{"text":[0-9.e-]*' | head -n 1 | grep -o '[0-9.e-]*$')
    awk -F'"' -v split_name="$split" -v said="$said" '$8 == split_name {
        n++
        match($0, /"text":("[a-z_]*"|null)/); sign = substr($0, RSTART + 7, RLENGTH - 7); gsub(/"/, "", sign)
        sum += sign == "null" ? 1 / 6 : sign == $12
    }
    END { if (n == 0 || sum / n - said > 1e-9 || said - sum / n > 1e-9) { printf "%s: said %s, recomputed %.12f\n", split_name, said, sum / n; exit 1 } }' \
        "$dir/a/signs.jsonl" || fail "the accuracy by the draws of $split is wrong"
done

# 42 clips: each label 7 times, 5 to train, 1 to validate, 1 to test
counts=$(grep -o '"label":"[a-z_]*"\|"split":"[a-z]*"' "$dir/a/manifest.jsonl" | paste - - | sort | uniq -c | awk '{print $1}' | tr '\n' ' ')
[ "$counts" = "1 5 1 1 5 1 1 5 1 1 5 1 1 5 1 1 5 1 " ] || fail "labels and splits are not stratified: $counts"
! grep -q '[{}].*[{}].*[{}]' "$dir/a/manifest.jsonl" || fail "a title holds marks of the grammar"
labels=$(tr -d ' \n' <"$dir/a/summary.json" | grep -o '{"name":"[a-z_]*","duration":"[0-9a-z]*"}' | tr -d '{}"' | sed 's/name:\(.*\),duration:\(.*\)/\1 \2/')
config=$(sed -n 's/^ *- {name: \([a-z_]*\), duration: \([0-9a-z]*\)}$/\1 \2/p' "$root/deploy/quickstart.yaml")
[ "$labels" = "$config" ] || fail "deploy/quickstart.yaml has other labels"
echo ok
