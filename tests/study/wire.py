"""What pushes as bf16 (`cluster.wire`) do to accuracy and loss: the same seeds with float32 and with bf16, default form of balancing, one server and two worker processes on every set that is there."""
import json
import tempfile

import numpy as np

import sets

WIRES = ("f32", "bf16")
RATE, LAST = 2e-3, 10  # learning rate; a tenth of the steps are the last ones


def train(study, name, wire, seed):
    folder = sets.prepare(name, study.options.work, study.options.shared, study.options.shelflife)
    with tempfile.TemporaryDirectory(prefix="wire-run-", dir=study.options.work) as run:
        settings = {"seed": seed, "optimiser.lr": RATE, "cluster.wire": wire, "snapshots.dir": run}
        if study.options.epochs:
            settings["epochs"] = study.options.epochs
        study.command("train", f"{folder}/config.yaml", "--servers", "1", "--workers", "2", "--threads", "1",
                      *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")))
        with open(f"{run}/metrics.jsonl", encoding="utf-8") as file:
            steps = [r for r in map(json.loads, file) if r["kind"] == "step"]
        last = steps[-max(1, len(steps) // LAST):]
        final = study.evaluate(f"{run}/snapshots/latest", f"{folder}/dataset/test")["branches"]
    return {"modalities": list(steps[0]["ratio"]), "train_loss": {b: round(float(np.mean([s["loss"][b] for s in last])), 6) for b in last[0]["loss"]},
            "test": {b: {"accuracy": round(v["accuracy"], 6), "loss": round(v["loss"], 6)} for b, v in final.items()}}


def run(study):
    there = [name for name in sets.SETS if sets.available(name, study.options.shared)]
    work = [(name, wire, seed) for seed in range(1, study.options.seeds + 1) for name in there for wire in WIRES]
    for key in study.missing("wire", work):
        study.append("wire", {"key": key, **train(study, *key)})
    print(f"wire: {len(work)} runs", flush=True)
