"""Coefficients and accuracy for 1 to 8 workers at a fixed global batch of 64: from the whole batch's scores, and from each worker's own.

A worker is one slot here (of 64 / W samples), which is what `modulation.statistics: slot` looks at. Two arrangements of the same drawn samples, in half of which the text says nothing, while
it leads in the others: `mixed`, where every worker sees the same mixture (and a step has the same 64 samples for every W), and `skewed`, where those samples lie together, so that half of the workers have them all.
Besides, real worker processes, 1 to 8, must give the same bits.
"""
import hashlib
import json
import os
import subprocess

import numpy as np

import sets

WORKERS = (1, 2, 4, 8)
ARRANGEMENTS = ("mixed", "skewed")
RATE, BINS = 2e-3, 60


def load(arrangement):
    (rows, labels, inputs), silent = sets.drawn(2.0, 0.5)
    if arrangement == "skewed":
        rows = [rows[0][np.argsort(silent[rows[0]], kind="stable")], *rows[1:]]
    return rows, labels, inputs


def prepare(study, arrangement, workers):
    """One folder for each, with as many shards as workers."""
    folder = os.path.join(study.options.work, "sets", f"sharding-{arrangement}-{workers}")
    if os.path.exists(f"{folder}/ready"):
        return folder
    os.makedirs(folder, exist_ok=True)
    rows, labels, inputs = load(arrangement)
    sets.write(folder, 12, rows, labels, inputs)
    subprocess.run([study.options.shelflife, "import", f"{folder}/manifest.jsonl", "--out", f"{folder}/dataset", "--config", f"{folder}/config.yaml", "--max-rejects", "0",
                    "--jobs", "1", "--shard-size", str(-(-len(rows[0]) // workers))], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sets.write_lines(f"{folder}/ready", [])
    return folder


def tensors(path):
    """A hash of all parameters, without the file's metadata."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        file.seek(8 + size)
        return hashlib.sha256(file.read()).hexdigest()


def train(study, folder, settings, *words):
    run = os.path.join(study.options.work, f"sharding-run-{os.getpid()}")
    subprocess.run(["rm", "-rf", run], check=True)
    settings = {"optimiser.lr": RATE, "optimiser.second_moment": "modulated", "modulation.alpha": 0.5, "snapshots.dir": run} | settings
    if study.options.epochs:
        settings["epochs"] = study.options.epochs
    study.command("train", f"{folder}/config.yaml", *words, *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")))
    with open(f"{run}/metrics.jsonl", encoding="utf-8") as file:
        steps = [r for r in map(json.loads, file) if r["kind"] == "step"]
    k = np.array([list(s["coefficient"].values()) for s in steps])
    found = {"k_mean": k.mean(0).tolist(), "k": [[round(float(x), 5) for x in part.mean(0)] for part in np.array_split(k, min(BINS, len(k)))],
             "bits": tensors(f"{run}/snapshots/latest/model.safetensors"),
             "k_bits": hashlib.sha256(k.tobytes()).hexdigest(),
             "final": {b: round(v["accuracy"], 6) for b, v in study.evaluate(f"{run}/snapshots/latest", f"{folder}/dataset/test")["branches"].items()}}
    subprocess.run(["rm", "-rf", run], check=True)
    return found


def run(study):
    work = [("slots", a, w, s, seed) for seed in range(1, study.options.seeds + 1) for a in ARRANGEMENTS for w in WORKERS for s in ("step", "slot")]
    work += [("processes", a, w, "step", 1) for a in ARRANGEMENTS for w in WORKERS]
    for key in study.missing("sharding", work):
        kind, arrangement, workers, statistics, seed = key
        folder = prepare(study, arrangement, workers if kind == "slots" else 8)
        settings = {"seed": seed, "modulation.statistics": statistics}
        slots = workers if kind == "slots" else 8
        settings |= {"batch.slots": slots, "batch.slot_size": 64 // slots}
        if arrangement == "skewed":
            settings["dataset.locality"] = "shards"
        words = ("--workers", str(workers), "--threads", "1") if kind == "processes" else ("--threads", "1")
        study.append("sharding", {"key": key, **train(study, folder, settings, *words)})
    print(f"sharding: {len(work)} runs", flush=True)
