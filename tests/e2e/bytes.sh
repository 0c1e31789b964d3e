#!/usr/bin/env bash
# What need not travel does not: a frozen extractor is pulled once and never pushed, of a big vocabulary the rows travel that change. The same bits from one process, in which nothing travels, from one
# worker and from three; and the bytes of a server and a worker, which are those of the loopback of a network namespace of its own.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
small_dataset "$dir/d"
config=$dir/d/config.yaml
big=$dir/d/big.yaml
{ cat "$dir/d/vocab.txt" && seq -f 'word%.0f' $((20000 - $(wc -l <"$dir/d/vocab.txt"))); } >"$dir/d/big.txt"
sed 's/vocab: vocab.txt/vocab: big.txt/; s#dataset/#big/#g' "$config" >"$big"
must "$shelflife" import "$dir/d/clips/manifest.jsonl" --out "$dir/d/big" --config "$big"
quiet=(--set epochs=20 --set snapshots.every_steps=100000 --set snapshots.keep_best=none) # 60 steps
frozen=(--set 'modalities.visual.freeze=["*"]')
sgd=(--set optimiser.kind=sgd --set optimiser.momentum=0 --set optimiser.weight_decay=0)
adamw=(--set optimiser.weight_decay=0)

train() { # run, config, arguments
    local run=$1 config=$2
    shift 2
    "$shelflife" train "$config" --set snapshots.dir="$dir/$run" "${quiet[@]}" "$@" >"$dir/$run.log" 2>&1 || fail "$run: $(tail -n 20 "$dir/$run.log")"
}
same() { # run, reference run
    [ "$(tensors "$dir/$1")" = "$(tensors "$dir/$2")" ] || fail "the parameters of run '$1' differ from those of '$2'"
}
agree() { # name, config, arguments
    local name=$1
    shift
    train "$name" "$@"
    train "${name}_one" "$@" --workers 1
    train "${name}_many" "$@" --servers 2 --workers 3 --set cluster.shared_memory=off
    same "${name}_one" "$name"
    same "${name}_many" "$name"
}
agree frozen "$config" "${frozen[@]}"
agree sgd "$big" "${sgd[@]}"
agree adamw "$big" "${adamw[@]}" --set modalities.text.lr_scale='{"bert.embeddings.*": 0.1}'
train ssp "$big" "${sgd[@]}" "${frozen[@]}" --servers 2 --workers 3 --set consistency.mode=ssp
train asp "$big" "${sgd[@]}" "${frozen[@]}" --servers 2 --workers 3 --set consistency.mode=asp

unshare -rn true 2>/dev/null || { echo "the same bits; no network namespace here to count bytes in"; exit 0; }
bytes() { # run, config, arguments: prints how many went over the loopback
    local run=$1 config=$2
    shift 2
    unshare -rn bash -c 'ip link set lo up && "$@" >"$0" 2>&1 && sed -n "s/^ *lo: *\([0-9]*\) .*/\1/p" /proc/net/dev' "$dir/$run.log" \
        "$shelflife" train "$config" --set snapshots.dir="$dir/$run" "${quiet[@]}" --set cluster.shared_memory=off --servers 1 --workers 1 "$@" ||
        fail "$run: $(tail -n 20 "$dir/$run.log")"
}
size_of() { # run, pattern: bytes of the parameters that match, and of all others
    python3 - "$dir/$1/snapshots/latest/model.safetensors" "$2" <<'END'
import fnmatch, json, struct, sys
data = open(sys.argv[1], "rb").read()
head = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
sizes = {name: x["data_offsets"][1] - x["data_offsets"][0] for name, x in head.items() if name != "__metadata__"}
match = sum(size for name, size in sizes.items() if fnmatch.fnmatch(name, sys.argv[2]))
print(match, sum(sizes.values()) - match)
END
}
steps=60
read -r visual _ < <(size_of frozen 'extractor.visual.*')
all=$(bytes trained "$config")
less=$(bytes bytes_frozen "$config" "${frozen[@]}")
same bytes_frozen frozen
# pulled, and pushed with two tags
[ $((all - less)) -gt $((steps * 3 * visual * 9 / 10)) ] || fail "a frozen extractor of $visual bytes spares $((all - less)) bytes of $all in $steps steps"
read -r table _ < <(size_of sgd '*word_embeddings*')
for optimiser in sgd adamw; do
    declare -n options=$optimiser
    got=$(bytes "bytes_$optimiser" "$big" "${options[@]}")
    whole=$((steps * table)) # what pulls of whole tables would be
    # all else travels as with a vocabulary of 600
    [ "$got" -lt $((all + whole / 5)) ] || fail "a vocabulary of 20000 with $optimiser: $got bytes, $all with 600 tokens, whole tables would be $whole more"
    echo "$optimiser: $got bytes, pulls of whole tables would be $whole more"
done
same bytes_sgd sgd
echo "frozen: $less bytes, not frozen $all"
