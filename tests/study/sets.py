"""The data sets of the study, from ../shared/data or drawn here: arrays, a manifest, a config and an imported dataset in a folder of its own.

Each set has two modalities. Splits are made here, once, by a fixed permutation: training parts are kept small, so that runs take seconds and nothing is at its ceiling, test parts large.
"""
import json
import os
import shutil
import subprocess

import numpy as np

SPLITS = ("train", "validation", "test")


def standardised(values, train):
    """Zero mean, unit variance by column, as the training rows have them."""
    values = values.reshape(len(values), -1).astype(np.float64)
    mean, deviation = values[train].mean(0), values[train].std(0)
    return np.clip((values - mean) / np.where(deviation > 1e-6, deviation, 1.0), -8, 8).astype(np.float32)


def permuted(count, sizes, seed=20):
    """Row numbers of train, validation, test."""
    order = np.random.default_rng(seed).permutation(count)
    ends = np.cumsum(sizes)
    assert ends[-1] <= count
    return np.split(order[:ends[-1]], ends[:-1])


def official(split, sizes, seed=20):
    """A part of each of the set's own splits (0, 1, 2): what must not be mixed (time, equal titles) stays apart."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(np.flatnonzero(split == s))[:size] for s, size in enumerate(sizes)]


def avmnist(data):
    rows = permuted(3000, (900, 600, 1500))
    image = standardised(np.load(f"{data}/image_u8.npy"), rows[0])
    audio = standardised(np.load(f"{data}/audio_logmel_20x24.npy"), rows[0])
    return rows, np.load(f"{data}/labels.npy"), {"visual": image, "audio": audio}


def fashion(label):
    def load(data):
        rows = official(np.load(f"{data}/split.npy"), (3000, 999, 1000))
        return rows, np.load(f"{data}/label_{label}.npy"), {
            "visual": standardised(np.load(f"{data}/visual_squeezenet_pca128.npy"), rows[0]),
            "text": standardised(np.load(f"{data}/text_tfidf_svd128.npy"), rows[0])}
    return load


def grid(data):
    """Which digit is spoken: the mouth and the sound, each pooled over time and place."""
    rows = permuted(1000, (500, 150, 350))
    video = np.load(f"{data}/video_mouth_u8_25x24x40.npy").astype(np.float32)
    video = video.reshape(1000, 25, 6, 4, 10, 4).mean((3, 5))
    audio = np.load(f"{data}/audio_logmel_75x26.npy").reshape(1000, 25, 3, 26).mean(2)
    return rows, np.load(f"{data}/labels_6slots.npy")[:, 4], {"visual": standardised(video, rows[0]), "audio": standardised(audio, rows[0])}


def zhihu(data):
    """How long a question stays on the hot list, from its title and its figures (heat, answers, rank, hour, lengths). Splits by time."""
    rows = official(np.load(f"{data}/split.npy"), (2500, 1000, 3000))
    with open(os.path.join(os.path.dirname(data), "vocab", "bert-base-chinese-vocab.txt"), encoding="utf-8") as file:
        words = file.read().splitlines()
    ids = np.load(f"{data}/title_ids.npy")
    used, counts = np.unique(ids[rows[0]], return_counts=True)
    vocabulary = words[:1] + words[100:104] + [words[i] for i in used[counts >= 3] if i > 103]
    titles = {}
    for row in np.concatenate(rows):
        pieces = [words[i] for i in ids[row] if i > 103]
        titles[row] = "".join(p[2:] if p.startswith("##") else f" {p}" if p.isascii() else p for p in pieces).strip() or "?"
    return rows, np.load(f"{data}/labels.npy"), {"meta": standardised(np.load(f"{data}/meta.npy"), rows[0])}, (titles, vocabulary)


def drawn(strength, missing):
    """One modality is linear and quick to learn but says nothing in a share of the samples, the other is made of clusters and slow. Returns what a loader does, and which samples those are."""
    rng = np.random.default_rng(22)
    count, classes = 2400, 6
    labels = rng.integers(0, classes, count)
    quick = rng.normal(size=(classes, 24))[labels] * strength + rng.normal(size=(count, 24))
    same = rng.normal(size=24)
    silent = rng.random(count) < missing
    quick[silent] = same
    centres = rng.normal(size=(classes, 5, 32)) * 1.1
    slow = centres[labels, rng.integers(0, 5, count)] + rng.normal(size=(count, 32))
    rows = permuted(count, (800, 400, 1200))
    return (rows, labels, {"visual": standardised(slow, rows[0]), "text": standardised(quick, rows[0])}), silent


def synthetic(_data):
    return drawn(0.9, 0.35)[0]


# name: folder below ../shared/data (None: drawn here), loader, epochs. From the cheapest to the dearest.
SETS = {
    "synthetic": (None, synthetic, 12),
    "avmnist": ("avmnist_fsdd", avmnist, 12),
    "season": ("fashion_title_image", fashion("season4"), 10),
    "colour": ("fashion_title_image", fashion("colour12"), 10),
    "grid": ("grid_s1", grid, 16),
    "clips": (None, None, 10),
    "zhihu": ("zhihu_timeliness", zhihu, 4),
}


def available(name, shared):
    folder = SETS[name][0]
    return folder is None or os.path.isdir(os.path.join(shared, folder))


def config_text(labels, modalities, epochs):
    """labels: (name, duration); modalities: name → what the config says of it."""
    lines = ["labels: [" + ", ".join(f"{{name: {name}, duration: {duration}}}" for name, duration in labels) + "]",
             "dataset: {train: dataset/train, validation: dataset/validation}", "modalities:"]
    lines += [f"  - {{name: {name}, {text}}}" for name, text in modalities.items()]
    lines += ["fusion: {dim: 32, heads: 4, layers: 1, mlp: 64}", "batch: {slots: 8, slot_size: 8}", f"epochs: {epochs}",
              "optimiser: {kind: adamw, lr: 1e-3, weight_decay: 0.05, clip_norm: none, schedule: cosine, warmup_steps: 10}",
              "snapshots: {dir: run, keep: 1, keep_best: fused.accuracy}", "cluster: {status: none, threads: 1}"]
    return "\n".join(lines) + "\n"


def write_lines(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def write(folder, epochs, rows, labels, inputs, text=None):
    """Arrays, manifest and config. Rows that no split uses are left out. text: (title by row, vocabulary) of a bert modality."""
    kept = np.concatenate(rows)
    modalities = {name: f"kind: features, in: {values.shape[1]}, hidden: 32, max_items: 1" for name, values in inputs.items()}
    for name, values in inputs.items():
        np.save(f"{folder}/{name}.npy", values[kept][:, None, :])
    if text:
        write_lines(f"{folder}/vocab.txt", text[1])
        modalities = {"text": "kind: bert, vocab: vocab.txt, max_tokens: 28, hidden: 32, layers: 1, heads: 4, mlp: 64", **modalities}
    splits = [split for split, part in zip(SPLITS, rows) for _ in part]
    lines = [{"id": f"r{row}", "label": f"c{labels[row]}", "split": split, "features": {name: {"path": f"{name}.npy", "row": i} for name in inputs},
              **({"title": text[0][row]} if text else {})} for i, (row, split) in enumerate(zip(kept, splits))]
    write_lines(f"{folder}/manifest.jsonl", (json.dumps(line, ensure_ascii=False) for line in lines))
    write_lines(f"{folder}/config.yaml", [config_text([(f"c{k}", f"{k + 1}h") for k in range(int(labels.max()) + 1)], modalities, epochs)])


def write_clips(folder, epochs, shelflife):
    """The sample videos: pictures are learned slowly, titles at once."""
    run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([shelflife, "sample", f"{folder}/clips", "--clips", "1800", "--seed", "1"], **run)
    with open(f"{folder}/clips/manifest.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row, split in zip(rows, ["train"] * 700 + ["validation"] * 300 + ["test"] * 800):
        row["split"] = split
    write_lines(f"{folder}/clips/study.jsonl", (json.dumps(row, ensure_ascii=False) for row in rows))
    subprocess.run([shelflife, "vocab", f"{folder}/clips/study.jsonl", "--out", f"{folder}/vocab.txt", "--size", "1000", "--lower-case"], **run)
    write_lines(f"{folder}/config.yaml", [config_text(
        [("hours", "6h"), ("half_day", "12h"), ("day", "24h"), ("three_days", "72h"), ("week", "7d"), ("evergreen", "inf")],
        {"visual": "kind: vit, image: 32, patch: 8, frames: 2, hidden: 32, layers: 1, heads: 4, mlp: 64",
         "text": "kind: bert, vocab: vocab.txt, max_tokens: 28, hidden: 32, layers: 1, heads: 4, mlp: 64"}, epochs)])


def prepare(name, work, shared, shelflife):
    """Makes a set's folder, once. Returns it."""
    folder = os.path.join(work, "sets", name)
    if os.path.exists(f"{folder}/ready"):
        return folder
    directory, load, epochs = SETS[name]
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    if load is None:
        write_clips(folder, epochs, shelflife)
    else:
        write(folder, epochs, *load(os.path.join(shared, directory) if directory else None))
    manifest = f"{folder}/clips/study.jsonl" if load is None else f"{folder}/manifest.jsonl"
    subprocess.run([shelflife, "import", manifest, "--out", f"{folder}/dataset", "--config", f"{folder}/config.yaml",
                    "--max-rejects", "0", "--jobs", "1"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    write_lines(f"{folder}/ready", [])
    return folder
