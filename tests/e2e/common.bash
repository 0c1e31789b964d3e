# What the end-to-end scripts share: sourced, not run. Gives $dir (removed at the end), pids (whoever is in it is killed then), $shelflife, fail, must, refuses, and a small dataset.
SHELFLIFE_BIN=${SHELFLIFE_BIN:-$(dirname "${BASH_SOURCE[0]}")/../../build/release}
export SHELFLIFE_PROGRESS=none
shelflife=$SHELFLIFE_BIN/shelflife
[ -x "$shelflife" ] || { echo "skipped: $shelflife is not built"; exit 77; }
dir=$(mktemp -d)
pids=()
clean() {
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap clean EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# must COMMAND…: runs it quietly, fails with what it printed.
must() {
    "$@" >"$dir/out.txt" 2>"$dir/err.txt" || fail "$* exits $?: $(tail -n 20 "$dir/err.txt")"
}

# refuses CODE WORDS COMMAND…: it must exit with CODE and say WORDS in one line of standard error.
refuses() {
    local code=$1 words=$2 got=0
    shift 2
    "$@" >"$dir/out.txt" 2>"$dir/err.txt" || got=$?
    [ "$got" = "$code" ] || fail "$* exits $got instead of $code: $(cat "$dir/err.txt")"
    grep -qF -- "$words" "$dir/err.txt" || fail "$* does not say '$words' but: $(cat "$dir/err.txt")"
}

# npm_install FOLDER PACKAGE.JSON FILE…: copies them there and installs what the first one names. Without npm or its registry it says so and gives 1; if the registry can be
# reached, not being able to install fails the test.
npm_install() {
    local folder=$1
    shift
    command -v npm >/dev/null || { echo "npm is not installed"; return 1; }
    mkdir -p "$folder"
    cp "$@" "$folder/"
    (cd "$folder" && ONNXRUNTIME_NODE_INSTALL=skip npm install --ignore-scripts --no-audit --no-fund) >"$dir/npm.txt" 2>&1 && return
    ! npm ping >/dev/null 2>&1 || fail "npm cannot install $1: $(tail -n 5 "$dir/npm.txt")"
    echo "the npm registry cannot be reached: $(tail -n 1 "$dir/npm.txt")"
    return 1
}

# small_config FILE: two modalities, quick to train; paths beside FILE.
small_config() {
    cat >"$1" <<'END'
labels: [{name: hours, duration: 6h}, {name: half_day, duration: 12h}, {name: day, duration: 24h}, {name: three_days, duration: 72h}, {name: week, duration: 7d}, {name: evergreen, duration: inf}]
dataset: {train: dataset/train, validation: dataset/validation}
modalities:
  - {name: visual, kind: vit, image: 32, patch: 16, frames: 2, hidden: 32, layers: 1, heads: 2, mlp: 64, dropout: 0.1}
  - {name: text, kind: bert, vocab: vocab.txt, max_tokens: 24, hidden: 32, layers: 1, heads: 2, mlp: 64, dropout: 0.1, lower_case: true}
fusion: {dim: 32, heads: 2, layers: 1, mlp: 64}
modulation: {form: excess, alpha: 0.5, statistics: mean, decay: 0.9}
optimiser: {kind: adamw, lr: 1.0e-3, weight_decay: 0.05, clip_norm: 1.0, schedule: cosine, warmup_steps: 5}
batch: {slots: 5, slot_size: 2}
epochs: 4
seed: 7
snapshots: {dir: run, every_steps: 5, keep: 3, keep_best: fused.accuracy}
END
}

# small_dataset FOLDER: 36 clips, a vocabulary, a config, imported.
small_dataset() {
    mkdir -p "$1"
    small_config "$1/config.yaml"
    must "$shelflife" sample "$1/clips" --clips 36 --seed 5
    must "$shelflife" vocab "$1/clips/manifest.jsonl" --out "$1/vocab.txt" --size 600 --lower-case
    must "$shelflife" import "$1/clips/manifest.jsonl" --out "$1/dataset" --config "$1/config.yaml"
}

# tensors RUN: the hashes of its newest snapshot's tensors.
tensors() {
    (cd "$1/snapshots/latest" && sha256sum model.safetensors optimiser.safetensors)
}

# numbers RUN: the same without the files' notes, which name the config: for runs whose configs differ and whose numbers must not.
numbers() {
    python3 -c 'import hashlib, struct, sys
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    print(hashlib.sha256(data[8 + struct.unpack("<Q", data[:8])[0]:]).hexdigest())' "$1/snapshots/latest/model.safetensors" "$1/snapshots/latest/optimiser.safetensors"
}

# snapshots RUN: the names of its whole snapshots, the oldest first; a writer that was killed leaves a folder step-….tmp-….
snapshots() {
    find "$1/snapshots" -maxdepth 1 -name 'step-*' ! -name '*.tmp-*' -printf '%f\n' | sort
}

# wait_for SECONDS COMMAND…: until it succeeds.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}
