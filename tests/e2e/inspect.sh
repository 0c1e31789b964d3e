#!/usr/bin/env bash
# What is in a dataset twice, and in training and elsewhere: found, reported as text, JSON and HTML, kept out by --split; and splits by class, by time, with groups.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
small_dataset "$dir/d"
config=$dir/d/config.yaml
manifest=$dir/d/clips/manifest.jsonl

# every third line comes again elsewhere, under another id and with a mark in its title; one title is hostile
python3 - "$manifest" "$dir/d/clips/leaky.jsonl" <<'END'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
with open(sys.argv[2], "w") as out:
    for i, row in enumerate(rows):
        row["split"] = "train"
        row["_series"] = "s%d" % (i % 12)
        if i == 1:
            row["title"] = "<script>alert(1)</script> & \"quotes\" \u202e turned"
        out.write(json.dumps(row) + "\n")
        if i % 3 == 0:
            row.update(id=row["id"] + "-again", title=row["title"] + "!", split="validation" if i % 2 else "test")
            out.write(json.dumps(row) + "\n")
END
leaky=$dir/d/clips/leaky.jsonl
must "$shelflife" import "$leaky" --out "$dir/leaky" --config "$config"
must "$shelflife" inspect "$dir/leaky" --duplicates
grep -q "alike: 12 of 12 held-out samples (100.00 %) are like one of train" "$dir/out.txt" || fail "inspect: $(cat "$dir/out.txt")"
must "$shelflife" inspect "$dir/leaky" --duplicates --json
python3 - "$dir/out.txt" <<'END' || fail "inspect --json: $(tail -n 1 "$dir/out.txt")"
import json, sys
report = json.loads(open(sys.argv[1]).read().splitlines()[-1])
assert report["held_out"] == report["leaked"] == 12, report
found = {(a["reason"], a["of"], a["in"]): a["count"] for a in report["alike"]}
for reason in ("same content", "near-identical title"):
    assert found[reason, "validation", "train"] == found[reason, "test", "train"] == 6, found
END
refuses 3 "12 of 12 held-out samples (100.00 %) are like one of $dir/leaky/train, --max-leaks allows 50.00 %" \
    "$shelflife" inspect "$dir/leaky" --max-leaks 0.5
refuses 2 "--max-leaks 2: expected a number from 0 to 1" "$shelflife" inspect "$dir/leaky" --max-leaks 2

# whoever writes a dataset has no say over the terminal of those who look at it
cp -r "$dir/leaky" "$dir/loud"
sed -i 's/"hours"/"h\\u001b[2J\\u009b31m"/' "$dir"/loud/*/manifest.json
must "$shelflife" inspect "$dir/loud"
! LC_ALL=C grep -qaP '[\x01-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' "$dir/out.txt" || fail "control characters come through: $(cat -v "$dir/out.txt")"
grep -qF 'h?[2J?31m' "$dir/out.txt" || fail "the label is not shown: $(cat -v "$dir/out.txt")"

# the page is whole, loads nothing, and what a title says stays text
must "$shelflife" inspect "$dir/leaky" --html "$dir/report.html"
python3 - "$dir/report.html" <<'END' || fail "the page: $(head -c 2000 "$dir/report.html")"
import base64, sys
from html.parser import HTMLParser
text = open(sys.argv[1], encoding="utf-8").read()
tags, pictures, words = [], [], []
class Page(HTMLParser):
    def handle_starttag(self, tag, attrs):
        tags.append(tag)
        for key, value in attrs:
            assert key not in ("href", "onload", "onerror"), (tag, key)
            if key == "src":
                assert value.startswith("data:image/jpeg;base64,"), value[:40]
                pictures.append(base64.b64decode(value.split(",")[1]))
    def handle_data(self, data):
        words.append(data)
Page().feed(text)
assert "script" not in tags and "link" not in tags and "http" not in text, tags
assert pictures and all(p[:2] == b"\xff\xd8" and p[-2:] == b"\xff\xd9" for p in pictures), len(pictures)
said = "".join(words)
assert '<script>alert(1)</script> & "quotes"' in said and "\u202e" not in text
for label in ("hours", "half_day", "evergreen"):
    assert label in said
assert "prefers-color-scheme:dark" in text and "12" in said
END
refuses 1 "cannot" "$shelflife" inspect "$dir/leaky" --html "$dir/none/report.html"

# --split: nothing alike is cut apart, every class is in every split, a group stays whole
must "$shelflife" import "$leaky" --out "$dir/clean" --config "$config" --split stratified:60,20,20
must "$shelflife" inspect "$dir/clean" --max-leaks 0
grep -q "alike: 0 of" "$dir/out.txt" || fail "--split leaves leaks: $(cat "$dir/out.txt")"
must "$shelflife" import "$leaky" --out "$dir/seed" --config "$config" --split stratified:60,20,20 --split-seed 2
if diff -q "$dir/clean/train/manifest.json" "$dir/seed/train/manifest.json" >/dev/null; then fail "--split-seed changes nothing"; fi
refuses 2 "split was" "$shelflife" import "$leaky" --out "$dir/clean" --config "$config" --split stratified:60,20,20 --split-seed 3
refuses 2 "was begun with --split" "$shelflife" import "$leaky" --out "$dir/clean" --config "$config"
must "$shelflife" import "$leaky" --out "$dir/series" --config "$config" --split stratified:50,50 --together _series
for split in train validation; do
    for number in $(seq 0 35); do
        row=$(sed -n "$((number + 1))p" "$manifest" | sed 's/.*"id": *"\([^"]*\)".*/\1/')
        if "$shelflife" inspect "$dir/series/$split" --sample "$row" >/dev/null 2>&1; then echo "$((number % 12)) $split"; fi
    done
done | sort -u | cut -d' ' -f1 | uniq -d >"$dir/torn.txt"
[ ! -s "$dir/torn.txt" ] || fail "series that are cut apart: $(cat "$dir/torn.txt")"

# by time: training ends before the rest begins
must "$shelflife" import "$leaky" --out "$dir/time" --config "$config" --split time:70,15,15
must "$shelflife" inspect "$dir/time" --html "$dir/time.html"
if grep -q "accuracy there is not that of predicting the future" "$dir/time.html"; then fail "--split time lets splits overlap in time"; fi
sed 's/"published": *"[^"]*",* *//' "$manifest" >"$dir/d/clips/undated.jsonl"
refuses 3 '--split time needs "published" in every line; line 1' "$shelflife" import "$dir/d/clips/undated.jsonl" --out "$dir/u" --config "$config" --split time
refuses 2 "--split random: expected stratified or time" "$shelflife" import "$leaky" --out "$dir/u" --config "$config" --split random
refuses 2 "give --split too" "$shelflife" import "$leaky" --out "$dir/u" --config "$config" --together titles
echo "datasets are looked after"
