#!/usr/bin/env python3
"""Writes the golden numbers of the balancing forms: forms.json and forms.safetensors in each golden set named on the command line.

    /usr/bin/python3 tests/golden/forms.py tests/golden/data/odd_widths tests/golden/data/three_kinds

Starts from what the set's PyTorch model gave (gradients of each branch in the first step, scores, initial parameters) and does the rest here, in float64 and from
the formulas of docs/method.md: coefficients, factors, and two updates with the same gradients, so that moments matter. Needs numpy; shares no code with the program.
The shortest point between two gradients is found by search over the segment, not by the closed form that the program uses.
"""
import json
import struct
import sys

import numpy as np

CASES = {  # name: (modulation, optimiser)
    "mlb": ({"form": "mlb", "alpha": 0.7, "beta_max": 3.0}, "adamw_bound"),
    "mlb_gradient": ({"form": "mlb", "alpha": 1.5, "beta_max": 2.0, "scale": "gradient"}, "adamw_modulated"),
    "mlb_sgd": ({"form": "mlb", "alpha": 1.5, "beta_max": 2.0, "floor": 0.6}, "sgd"),
    "excess_gradient": ({"form": "excess", "alpha": 0.8, "scale": "gradient"}, "sgd"),
    "excess_update": ({"form": "excess", "alpha": 0.8, "scale": "update"}, "adamw_bound"),
    "ratio_update_sgd": ({"form": "ratio", "alpha": 0.5, "scale": "update"}, "sgd"),
    "constant": ({"form": "constant", "constant": [0.25, 1.5, 0.75]}, "adamw_bound"),
    "pareto": ({"form": "pareto", "gamma": 1.5}, "adamw_modulated"),
    "pareto_sgd": ({"form": "pareto", "gamma": 1.25}, "sgd"),
}
ANGLES = [  # u . f, |u|^2, |f|^2
    (0.5, 1.0, 1.0), (-0.5, 1.0, 1.0), (-0.1, 4.0, 0.25), (-0.9, 1.0, 1.0), (-0.45, 0.25, 1.0), (0.0, 2.0, 3.0), (0.0, 0.0, 3.0), (0.0, 3.0, 0.0),
    (-1e-12, 1e-6, 1e-3), (1e-30, 1.0, 1.0), (-1.0, 1.0, 1.0), (-2.0, 1.0, 4.0)]


def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    kinds = {"F32": "<f4", "I32": "<i4", "U8": "u1"}
    return {name: np.frombuffer(data[t["data_offsets"][0]:t["data_offsets"][1]], kinds[t["dtype"]]).reshape(t["shape"]).astype(np.float64)
            for name, t in header.items() if name != "__metadata__"}


def write_safetensors(path, tensors):
    header, blobs, at = {}, [], 0
    for name, values in tensors.items():
        blob = np.ascontiguousarray(values, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def coefficient(form, ratio):
    if form["form"] == "excess":
        k = 1 - np.tanh(form["alpha"] * (ratio - 1)) if ratio > 1 else 1.0
    elif form["form"] == "ratio":
        k = 1 - np.tanh(form["alpha"] * ratio) if ratio > 1 else 1.0
    else:
        r = 1 / ratio
        k = 1 + ((form["beta_max"] if r > 1 else 2.0) - 1) * np.tanh(form["alpha"] * (r - 1))
    return max(k, form.get("floor", 0.0))


def shortest(dot, u2, f2):
    """Weight of f at the point of the segment between u and f that is nearest to zero, by golden section."""
    def length2(w):
        return (1 - w) ** 2 * u2 + w ** 2 * f2 + 2 * w * (1 - w) * dot
    low, high, g = 0.0, 1.0, (np.sqrt(5) - 1) / 2
    for _ in range(80):
        a, b = high - g * (high - low), low + g * (high - low)
        low, high = (low, b) if length2(a) < length2(b) else (a, high)
    return (low + high) / 2


def pareto(dot, u2, f2, gamma):
    if dot > 0 or u2 == 0 or f2 == 0:
        return gamma, gamma
    w = shortest(dot, u2, f2)
    new2 = 4 * ((1 - w) ** 2 * u2 + w ** 2 * f2 + 2 * w * (1 - w) * dot)
    both2 = u2 + f2 + 2 * dot
    if new2 <= 1e-6 * both2:  # exactly against each other
        return gamma, gamma
    rescale = max(1.0, np.sqrt(both2 / new2))
    return 2 * gamma * rescale * (1 - w), 2 * gamma * rescale * w


def update(optimiser, w, m, v, t, c, u, f, factors, decays):
    """torch.optim.AdamW or SGD on c (k_u u + k_f f), with the step scaled."""
    k_u, k_f, scale = factors
    g, r = c * (k_u * u + k_f * f), c * (u + f)
    decay = optimiser["weight_decay"] if decays else 0.0
    if "beta1" not in optimiser:
        m = optimiser["momentum"] * m + g + decay * w
        return w - scale * optimiser["lr"] * m, m, v
    second = np.maximum(np.abs(g), np.abs(r)) if optimiser["second_moment"] == "bound" else g
    b1, b2 = optimiser["beta1"], optimiser["beta2"]
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * second ** 2
    step = (m / (1 - b1 ** t)) / (np.sqrt(v / (1 - b2 ** t)) + optimiser["eps"])
    return w - optimiser["lr"] * (scale * step + decay * w), m, v


def make(folder):
    with open(f"{folder}/expected.json", encoding="utf-8") as file:
        expected = json.load(file)
    step, initial = read_safetensors(f"{folder}/step0.safetensors"), read_safetensors(f"{folder}/initial.safetensors")
    names = [m["name"] for m in expected["config"]["modalities"]]
    first = expected["steps"]["sgd"][0]
    score = [first["scores"][name] for name in names]
    ratio = [s / ((sum(score) - s) / (len(score) - 1)) for s in score]
    out, tensors = {"cases": {}, "angles": []}, {}
    angles = {}
    for name in names:
        dot = u2 = f2 = 0.0
        for p in (p for p in initial if p.startswith(f"extractor.{name}.")):
            u, f = (step.get(f"gradient.{branch}.{p}", np.zeros_like(initial[p])) for branch in (name, "fused"))
            dot, u2, f2 = dot + np.sum(u * f), u2 + np.sum(u * u), f2 + np.sum(f * f)
        angles[name] = (dot, u2, f2)
    for case, (form, optimiser_name) in CASES.items():
        optimiser = expected["optimisers"][optimiser_name]
        norm = first["raw_gradient_norm"]
        clip = min(1.0, optimiser["clip_norm"] / (norm + 1e-6)) if optimiser["clip_norm"] > 0 else 1.0
        entry = {"modulation": dict(form), "optimiser": optimiser_name, "unimodal": {}, "fused": {}, "update": {}}
        if form["form"] == "constant":
            entry["modulation"]["constant"] = form["constant"][:len(names)]
        for i, name in enumerate(names):
            if form["form"] == "pareto":
                factors = (*pareto(*angles[name], form["gamma"]), 1.0)
            else:
                k = form["constant"][i] if form["form"] == "constant" else coefficient(form, ratio[i])
                factors = {"gradient": (k, k, 1.0), "update": (1.0, 1.0, k)}.get(form.get("scale"), (k, 1.0, 1.0))
            entry["unimodal"][name], entry["fused"][name], entry["update"][name] = (float(x) for x in factors)
            for p in (p for p in initial if p.startswith(f"extractor.{name}.")):
                u, f = (step.get(f"gradient.{branch}.{p}", np.zeros_like(initial[p])) for branch in (name, "fused"))
                w, m, v = initial[p], np.zeros_like(u), np.zeros_like(u)
                for t in (1, 2):
                    w, m, v = update(optimiser, w, m, v, t, clip, u, f, factors, w.ndim > 1)
                tensors[f"{case}.{p}"] = w
        out["cases"][case] = entry
    for dot, u2, f2 in ANGLES:
        unimodal, fused = pareto(dot, u2, f2, 1.5)
        out["angles"].append({"dot": dot, "unimodal2": u2, "fused2": f2, "unimodal": float(unimodal), "fused": float(fused)})
    with open(f"{folder}/forms.json", "w", encoding="utf-8") as file:
        json.dump(out, file, indent=1)
        file.write("\n")
    write_safetensors(f"{folder}/forms.safetensors", tensors)
    print(folder, {name: float(d / np.sqrt(u2 * f2)) for name, (d, u2, f2) in angles.items()}, "ratios", ratio)


for path in sys.argv[1:]:
    make(path)
