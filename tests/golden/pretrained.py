#!/usr/bin/env python3
"""Writes what golden_pretrained reads: random checkpoints under Hugging Face's names, and what PyTorch makes of them in float64.

    pretrained.py OUT small|base [--image N]

base has the shapes of google/vit-base-patch16-224 and bert-base-chinese (750 MB in two files). The ViT is written with its prefix, a pooler and a classifier; the BERT with the old names
gamma and beta, a pooler and heads. --image is the config's image size, to which PyTorch resizes the position embeddings (bicubic, align_corners False). Needs python3-torch.
"""
import json
import math
import os
import struct
import sys

import torch
import torch.nn.functional as F

SHAPES = {
    "small": dict(hidden=12, layers=2, heads=3, mlp=20, patch=4, side=12, vocab=30, positions=20, tokens=6, batch=3, frames=2),
    "base": dict(hidden=768, layers=12, heads=12, mlp=3072, patch=16, side=224, vocab=21128, positions=512, tokens=20, batch=3, frames=2),
}


def write(path, tensors):
    kinds = {torch.float32: "F32", torch.int32: "I32", torch.uint8: "U8"}
    head, data = {}, []
    offset = 0
    for name, tensor in tensors.items():
        raw = tensor.contiguous().numpy().tobytes()
        head[name] = {"dtype": kinds[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        data.append(raw)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for raw in data:
            f.write(raw)


class Weights(dict):
    """Random tensors by name; a prefix leads into a part of them."""

    def linear(self, name, to, of):
        self[name + ".weight"] = torch.randn(to, of) / math.sqrt(of)
        self[name + ".bias"] = torch.randn(to) * 0.1

    def norm(self, name, width):
        self[name + ".weight"] = 1 + torch.randn(width) * 0.2
        self[name + ".bias"] = torch.randn(width) * 0.1


def apply(w, name, x):
    return F.linear(x, w[name + ".weight"].double(), w[name + ".bias"].double())


def norm(w, name, x):
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"].double(), w[name + ".bias"].double(), 1e-12)


def attend(w, name, x, heads):
    b, n, d = x.shape
    q, k, v = (apply(w, f"{name}.{part}", x).view(b, n, heads, d // heads).transpose(1, 2) for part in ("query", "key", "value"))
    shares = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(d // heads), -1)
    return (shares @ v).transpose(1, 2).reshape(b, n, d)


def make_vit(s):
    w, d = Weights(), s["hidden"]
    w["vit.embeddings.cls_token"] = torch.randn(1, 1, d)
    w["vit.embeddings.position_embeddings"] = torch.randn(1, (s["side"] // s["patch"]) ** 2 + 1, d) * 0.5
    w["vit.embeddings.patch_embeddings.projection.weight"] = torch.randn(d, 3, s["patch"], s["patch"]) / (s["patch"] * math.sqrt(3))
    w["vit.embeddings.patch_embeddings.projection.bias"] = torch.randn(d) * 0.1
    for i in range(s["layers"]):
        at = f"vit.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            w.linear(f"{at}.attention.attention.{part}", d, d)
        w.linear(f"{at}.attention.output.dense", d, d)
        w.linear(f"{at}.intermediate.dense", s["mlp"], d)
        w.linear(f"{at}.output.dense", d, s["mlp"])
        w.norm(f"{at}.layernorm_before", d)
        w.norm(f"{at}.layernorm_after", d)
    w.norm("vit.layernorm", d)
    w.linear("vit.pooler.dense", d, d)
    w.linear("classifier", 10, d)
    return w


def run_vit(w, s, image, frames):
    """frames (N, 3, image, image) → CLS after the last norm, (N, hidden)."""
    positions = w["vit.embeddings.position_embeddings"].double()
    side, wanted, d = s["side"] // s["patch"], image // s["patch"], s["hidden"]
    grid = positions[:, 1:].reshape(1, side, side, d).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(wanted, wanted), mode="bicubic", align_corners=False)
    positions = torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).reshape(1, wanted * wanted, d)], 1)
    patches = F.conv2d(frames.double(), w["vit.embeddings.patch_embeddings.projection.weight"].double(),
                       w["vit.embeddings.patch_embeddings.projection.bias"].double(), stride=s["patch"])
    x = torch.cat([w["vit.embeddings.cls_token"].double().expand(len(frames), -1, -1), patches.flatten(2).transpose(1, 2)], 1) + positions
    for i in range(s["layers"]):
        at = f"vit.encoder.layer.{i}"
        x = x + apply(w, f"{at}.attention.output.dense", attend(w, f"{at}.attention.attention", norm(w, f"{at}.layernorm_before", x), s["heads"]))
        x = x + apply(w, f"{at}.output.dense", F.gelu(apply(w, f"{at}.intermediate.dense", norm(w, f"{at}.layernorm_after", x))))
    return norm(w, "vit.layernorm", x)[:, 0]


def make_bert(s):
    w, d = Weights(), s["hidden"]
    w["bert.embeddings.word_embeddings.weight"] = torch.randn(s["vocab"], d)
    w["bert.embeddings.position_embeddings.weight"] = torch.randn(s["positions"], d)
    w["bert.embeddings.token_type_embeddings.weight"] = torch.randn(2, d)
    w.norm("bert.embeddings.LayerNorm", d)
    for i in range(s["layers"]):
        at = f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            w.linear(f"{at}.attention.self.{part}", d, d)
        w.linear(f"{at}.attention.output.dense", d, d)
        w.norm(f"{at}.attention.output.LayerNorm", d)
        w.linear(f"{at}.intermediate.dense", s["mlp"], d)
        w.linear(f"{at}.output.dense", d, s["mlp"])
        w.norm(f"{at}.output.LayerNorm", d)
    w.linear("bert.pooler.dense", d, d)
    w.linear("cls.seq_relationship", 2, d)
    return w


def run_bert(w, s, ids):
    """ids (B, L), all of them there → the first token of the last layer, (B, hidden)."""
    x = F.embedding(ids.long(), w["bert.embeddings.word_embeddings.weight"].double())
    x = x + w["bert.embeddings.position_embeddings.weight"].double()[:ids.shape[1]] + w["bert.embeddings.token_type_embeddings.weight"].double()[0]
    x = norm(w, "bert.embeddings.LayerNorm", x)
    for i in range(s["layers"]):
        at = f"bert.encoder.layer.{i}"
        x = norm(w, f"{at}.attention.output.LayerNorm", x + apply(w, f"{at}.attention.output.dense", attend(w, f"{at}.attention.self", x, s["heads"])))
        x = norm(w, f"{at}.output.LayerNorm", x + apply(w, f"{at}.output.dense", F.gelu(apply(w, f"{at}.intermediate.dense", x))))
    return x[:, 0]


def main():
    out, shape = sys.argv[1], sys.argv[2]
    s = SHAPES[shape]
    image = int(sys.argv[4]) if sys.argv[3:4] == ["--image"] else s["side"]
    torch.manual_seed(7)
    os.makedirs(out, exist_ok=True)
    vit, bert = make_vit(s), make_bert(s)
    write(f"{out}/vit.safetensors", vit)
    write(f"{out}/bert.safetensors", {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v for k, v in bert.items()})
    b, f, n = s["batch"], s["frames"], s["tokens"]
    frames = torch.randn(b, f, 3, image, image)
    ids = torch.randint(4, s["vocab"], (b, n), dtype=torch.int32)
    write(f"{out}/batch0.safetensors", {
        "frames": frames, "frame_mask": torch.ones(b, f, dtype=torch.uint8), "ids": ids, "text_mask": torch.ones(b, n, dtype=torch.uint8),
        "label": torch.zeros(b, dtype=torch.int32)})
    visual = run_vit(vit, s, image, frames.flatten(0, 1)).view(b, f, -1).mean(1)
    write(f"{out}/expected.safetensors", {"pooled.visual": visual.float(), "pooled.text": run_bert(bert, s, ids).float()})
    with open(f"{out}/vocab.txt", "w", encoding="utf-8") as words:
        words.write("[PAD]\n[UNK]\n[CLS]\n[SEP]\n" + "".join(f"w{i}\n" for i in range(4, s["vocab"])))
    widths = f"hidden: {s['hidden']}, layers: {s['layers']}, heads: {s['heads']}, mlp: {s['mlp']}"
    with open(f"{out}/config.yaml", "w", encoding="utf-8") as config:
        config.write(f"""# Written by tests/golden/pretrained.py {shape} --image {image}
labels: [{{name: day, duration: 1d}}, {{name: week, duration: 7d}}, {{name: evergreen, duration: inf}}]
dataset: {{train: none}}
modalities:
  - {{name: visual, kind: vit, image: {image}, patch: {s['patch']}, frames: {f}, {widths}, init: vit.safetensors}}
  - {{name: text, kind: bert, vocab: vocab.txt, max_tokens: {n}, max_position: {n}, {widths}, init: bert.safetensors}}
fusion: {{dim: {s['hidden']}, heads: {s['heads']}, layers: 1, mlp: {s['mlp']}}}
batch: {{slots: 1, slot_size: {b}}}
seed: 3
snapshots: {{dir: run}}
""")


if __name__ == "__main__":
    main()
