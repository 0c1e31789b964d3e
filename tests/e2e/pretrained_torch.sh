#!/usr/bin/env bash
# Checkpoints that PyTorch writes, of random weights: encoders under Hugging Face's names load by `init` and give PyTorch's logits, also with position embeddings that PyTorch
# resizes. Needs python3-torch, which nothing else does. SHELFLIFE_TORCH_TESTS=1 adds those of real shapes, ViT-B/16 and BERT-base-chinese: 1 GB below TMPDIR, 5 GB of memory, a minute.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
here=$(cd "$(dirname "$0")" && pwd)
golden=$SHELFLIFE_BIN/tests/golden/golden_pretrained
[ -x "$golden" ] || { echo "skipped: $golden is not built"; exit 77; }
python=
for candidate in python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$candidate" -c 'import torch' 2>/dev/null; then
        python=$candidate
    fi
done
[ -n "$python" ] || { echo "skipped: python3-torch is not installed"; exit 77; }

for image in 8 12 16 28; do
    must "$python" "$here/../golden/pretrained.py" "$dir/small" small --image $image
    must "$golden" "$dir/small"
    cat "$dir/out.txt"
done
if [ "${SHELFLIFE_TORCH_TESTS:-0}" = 0 ]; then
    exit 0
fi
for image in 224 96; do
    must "$python" "$here/../golden/pretrained.py" "$dir/base" base --image $image
    must "$golden" "$dir/base"
    cat "$dir/out.txt"
done
