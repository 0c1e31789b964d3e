#!/usr/bin/env bash
# deploy/kubernetes without a cluster: every document, and each overlay as kustomize puts it together, held against the API's schemas; documents that were broken on purpose are found;
# the config in it is one that shelflife takes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/e2e/common.bash
. "$here/common.bash"
manifests=$here/../../deploy/kubernetes
npm_folder=$SHELFLIFE_BIN/npm-kubernetes

small_config "$dir/config.yaml"
must "$shelflife" sample "$dir/clips" --clips 6 --seed 5
must "$shelflife" vocab "$dir/clips/manifest.jsonl" --out "$dir/vocab.txt" --size 600 --lower-case
must "$shelflife" config "$manifests/base/run.yaml" --set modalities.text.vocab="$dir/vocab.txt"

# What a pod's process makes of its environment there.
literals() {
    sed -n 's/^ *- \(SHELFLIFE_[A-Z]*=.*\)/\1/p' "$manifests/base/kustomization.yaml"
}
mapfile -t environment < <(literals)
[ ${#environment[@]} = 2 ] || fail "expected two literals in the kustomization, found ${environment[*]}"
env "${environment[@]}" KUBERNETES_SERVICE_HOST=10.96.0.1 HOSTNAME=shelflife-server-0 "$shelflife" node "$manifests/base/run.yaml" \
    --set modalities.text.vocab="$dir/vocab.txt" --role server --print >"$dir/server.json"
grep -qF '"source":"HOSTNAME","role":"server","rank":0,"servers":1,"coordinator":"tcp://shelflife-server-0.shelflife-server:5555","bind":"tcp://0.0.0.0:5555"' "$dir/server.json" ||
    fail "a server's pod: $(cat "$dir/server.json")"
env "${environment[@]}" KUBERNETES_SERVICE_HOST=10.96.0.1 HOSTNAME=shelflife-worker-1-abcde JOB_COMPLETION_INDEX=1 "$shelflife" node "$manifests/base/run.yaml" \
    --set modalities.text.vocab="$dir/vocab.txt" --role worker --print >"$dir/worker.json"
grep -qF '"source":"JOB_COMPLETION_INDEX","role":"worker","rank":1' "$dir/worker.json" || fail "a worker's pod: $(cat "$dir/worker.json")"

# ---- against the schemas ----
npm_install "$npm_folder" "$here/../npm/kubernetes/package.json" "$here/../npm/kubernetes/check.mjs" || { echo "skipped: nothing to hold the manifests against"; exit 77; }
check() {
    node "$npm_folder/check.mjs" "$@"
}
# A check that finds nothing may be blind: each of these must be found. One run of node for all of them, as it takes long to begin.
mkdir "$dir/broken"
wanted=()
broken() { # sed's program, file, words
    local copy=$dir/broken/${#wanted[@]}.yaml
    sed "$1" "$manifests/base/$2" >"$copy"
    ! cmp -s "$copy" "$manifests/base/$2" || fail "$1 changes nothing in $2"
    wanted+=("$3")
}
broken 's/completionMode/completionMood/' workers.yaml completionMood
broken 's/restartPolicy: Never/restartPolicy: Sometimes/' workers.yaml restartPolicy
broken 's/podReplacementPolicy: Failed/podReplacementPolicy: 7/' workers.yaml podReplacementPolicy
broken 's/runAsNonRoot: true/runAsNonRoot: false/' servers.yaml 'forbid root'
broken '/serviceName/d' servers.yaml serviceName
broken 's/{name: tmp, mountPath/{name: tmpp, mountPath/' servers.yaml 'no volume'
broken 's/port: 5555/port: [high]/' service.yaml port
! check "$dir"/broken/*.yaml >"$dir/found.txt" 2>&1 || fail "nothing wrong is found"
for i in "${!wanted[@]}"; do
    grep -q -- "broken/$i.yaml:.*${wanted[i]}" "$dir/found.txt" || fail "${wanted[i]} is not found: $(cat "$dir/found.txt")"
done
check "$manifests"/base/s*.yaml "$manifests"/base/claims.yaml "$manifests"/base/workers.yaml "$manifests"/serving/serve.yaml "$manifests"/overlays/*/[bn]*.yaml || fail "the manifests do not hold"

# ---- the overlays, put together: kubectl from 1.27 on knows all that they use, Debian's 1.20 does not ----
minor=$(kubectl version --client -o json 2>/dev/null | sed -n 's/.*"minor": "\([0-9]*\).*/\1/p' | head -n 1 || true)
if [ "${minor:-0}" -ge 27 ]; then
    for overlay in overlays/local overlays/production serving; do
        must kubectl kustomize "$manifests/$overlay"
        cp "$dir/out.txt" "$dir/${overlay##*/}.yaml"
        check "$dir/${overlay##*/}.yaml" || fail "$overlay does not hold"
    done
    sed 's/SHELFLIFE_SERVERS: "1"/SHELFLIFE_SERVERS: "2"/' "$dir/local.yaml" >"$dir/broken.yaml"
    ! check "$dir/broken.yaml" >"$dir/found.txt" || fail "a number of servers that does not fit is not found"
else
    echo "the overlays are not put together: no kubectl of at least 1.27 here"
fi
echo "kubernetes holds"
