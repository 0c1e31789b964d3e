#!/usr/bin/env bash
# init: a run begins from another's weights; the file is needed once; what does not fit is refused before anything is written.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
small_dataset "$dir/d"
config=$dir/d/config.yaml
train() { # run folder, arguments
    local run=$1
    shift
    "$shelflife" train "$config" --set snapshots.dir="$run" --set epochs=1 "$@"
}
must train "$dir/teacher"
weights=$dir/weights.safetensors
cp "$dir/teacher/snapshots/latest/model.safetensors" "$weights"
begin=(--set "modalities.visual.init=$weights" --set "modalities.text.init=$weights")

# from the file, and on without it
"$shelflife" train "$config" --set snapshots.dir="$dir/run" --set epochs=2 "${begin[@]}" >"$dir/log" 2>&1 || fail "train: $(tail "$dir/log")"
grep -rqs "pretrained-loaded modality=visual" "$dir/log" "$dir/run" || fail "nothing says that visual was loaded: $(cat "$dir/log")"
grep -rqs "pretrained-loaded modality=text" "$dir/log" "$dir/run" || fail "nothing says that text was loaded: $(cat "$dir/log")"
grep -q '^ *init: none' "$dir/run/snapshots/latest/config.yaml" || fail "a snapshot's config still names the file"
mv "$weights" "$weights.away"
must train "$dir/run" --set epochs=2 "${begin[@]}"
refuses 2 "modalities.visual.init: there is no file $weights" train "$dir/gone" "${begin[@]}"

# what does not fit: one line, and no snapshot
printf 'PK\003\004\000\000archive/data.pkl' >"$weights"
refuses 3 "modalities.visual.init: $weights: " train "$dir/pickle" "${begin[@]}"
head -c 20000 "$weights.away" >"$weights"
refuses 3 "modalities.visual.init: $weights: " train "$dir/cut" "${begin[@]}"
mv "$weights.away" "$weights"
refuses 2 "hidden is 32 in the file and 16 in the config" train "$dir/size" "${begin[@]}" --set modalities.text.hidden=16
refuses 2 "layers is 1 in the file and 2 in the config" train "$dir/layers" "${begin[@]}" --set modalities.visual.layers=2
for run in gone pickle cut size layers; do
    [ -z "$(find "$dir/$run" -name '*.safetensors' 2>/dev/null)" ] || fail "the refused run '$run' wrote a snapshot"
done
echo ok
