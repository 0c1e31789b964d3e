"""From lines of results to docs/method-results.md and docs/method-*.svg. Statistics: paired over seeds, two-sided; Holm over the sets of a contrast; pooled by DerSimonian-Laird."""
import json
import os

import matplotlib
import numpy as np
from scipy import stats

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

import arms  # noqa: E402
import sets  # noqa: E402

EQUIVALENT = 0.5  # points
CONTRASTS = [  # (arm, against); the first three are primary
    ("excess", "none"), ("excess_modulated", "excess_slot"), ("sgd_excess", "sgd_excess_slot"),
    ("none", "joint"), ("sgd_none", "sgd_joint"), ("excess", "ratio"), ("ratio", "none"), ("ratio_modulated", "ratio_slot"), ("sgd_ratio", "sgd_ratio_slot"),
    ("excess", "constant"), ("excess", "shuffled"), ("excess", "excess_modulated"), ("excess_mean", "excess"), ("excess_mean", "none"), ("excess_update", "excess"), ("excess_update", "none"),
    ("mlb", "none"), ("mlb_gradient", "none"), ("pareto", "none"), ("sgd_excess", "sgd_none"), ("sgd_ratio", "sgd_none"), ("sgd_pareto", "sgd_none")]
COLOURS = {"none": "#666666", "excess": "#0b6e99", "excess_mean": "#5aa9c9", "ratio": "#c4570e", "mlb": "#3f7d20", "excess_slot": "#8a3ffc"}


def read(results):
    """Evaluation runs by set, arm and seed. A set counts with the seeds that all its arms have."""
    found = {}
    for name in sets.SETS:
        path = os.path.join(results, f"{name}.jsonl")
        if not os.path.exists(path):
            continue
        with open(path, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        runs = {}
        for line in lines:
            if "final" in line:
                runs.setdefault(line["arm"], {})[line["seed"]] = line
        seeds = sorted(set.intersection(*(set(runs.get(arm, {})) for arm in arms.ARMS)))
        if len(seeds) >= 3:
            found[name] = {arm: [runs[arm][seed] for seed in seeds] for arm in arms.EVERY if all(seed in runs.get(arm, {}) for seed in seeds)}
    return found


def values(runs, what):
    """One number a run, in points where it is a share. what: (final or best, branch or weaker or leader, measure)."""
    when, branch, measure = what
    out = []
    for line in runs:
        names = line["modalities"]
        if branch in ("weaker", "leader"):
            accuracy = [line[when][m]["accuracy"] for m in names]
            chosen = names[int(np.argmin(accuracy) if branch == "weaker" else np.argmax(accuracy))]
        else:
            chosen = branch
        out.append(line[when][chosen][measure])
    return np.array(out) * (1.0 if measure == "loss" else 100.0)


def paired(a, b):
    """Mean difference, its 95 % interval, p of the t and of Wilcoxon's test, Cohen's d_z, standard error."""
    d = a - b
    error = d.std(ddof=1) / np.sqrt(len(d))
    if error == 0:
        return d.mean(), (d.mean(), d.mean()), 1.0, 1.0, 0.0, 0.0
    half = stats.t.ppf(0.975, len(d) - 1) * error
    rank = stats.wilcoxon(d).pvalue if np.any(d != 0) else 1.0
    return d.mean(), (d.mean() - half, d.mean() + half), stats.ttest_rel(a, b).pvalue, rank, d.mean() / d.std(ddof=1), error


def holm(ps):
    order, out, running = np.argsort(ps), np.empty(len(ps)), 0.0
    for i, at in enumerate(order):
        running = max(running, min(1.0, (len(ps) - i) * ps[at]))
        out[at] = running
    return out


def pooled(effects, errors):
    """Random effects over sets: mean and 95 % interval, and tau, the spread of true effects over sets."""
    effects, errors = np.array(effects), np.maximum(np.array(errors), 1e-3)
    w = 1 / errors ** 2
    mean = np.sum(w * effects) / np.sum(w)
    q = np.sum(w * (effects - mean) ** 2)
    tau2 = max(0.0, (q - (len(effects) - 1)) / (np.sum(w) - np.sum(w ** 2) / np.sum(w))) if len(effects) > 1 else 0.0
    w = 1 / (errors ** 2 + tau2)
    mean, half = np.sum(w * effects) / np.sum(w), 1.96 / np.sqrt(np.sum(w))
    return mean, (mean - half, mean + half), np.sqrt(tau2)


def contrasts(found, what):
    """(arm, against) → (set → paired result with Holm's p at its end), pooled."""
    out = {}
    for arm, against in CONTRASTS:
        by_set = {name: paired(values(runs[arm], what), values(runs[against], what)) for name, runs in found.items()}
        adjusted = holm([r[2] for r in by_set.values()])
        out[arm, against] = {name: (*r, p) for (name, r), p in zip(by_set.items(), adjusted)}, pooled([r[0] for r in by_set.values()], [r[5] for r in by_set.values()])
    return out


def cell(result):
    mean, (low, high), *_rest, p = result
    mark = "**" if p < 0.05 else ""
    return f"{mark}{mean:+.2f}{mark} [{low:+.2f}, {high:+.2f}]"


def contrast_table(found, what):
    lines = ["| contrast | pooled | " + " | ".join(found) + " |", "| --- |" + " --- |" * (len(found) + 1)]
    for (arm, against), (by_set, (mean, (low, high), tau)) in contrasts(found, what).items():
        lines.append(f"| `{arm}` − `{against}` | {mean:+.2f} [{low:+.2f}, {high:+.2f}], τ {tau:.2f} | " + " | ".join(cell(by_set[name]) for name in found) + " |")
    return lines


def primary_table(found):
    lines = ["| contrast | set | seeds | difference [95 %] | p (t) | p (Wilcoxon) | p (Holm) | d_z | equivalent |", "| --- |" + " --- |" * 8]
    for (arm, against), (by_set, _) in list(contrasts(found, ("final", "fused", "accuracy")).items())[:3]:
        for name, (mean, (low, high), p, rank, d, _error, adjusted) in by_set.items():
            same = "yes" if -EQUIVALENT < low and high < EQUIVALENT else "no"
            lines.append(f"| `{arm}` − `{against}` | {name} | {len(found[name][arm])} | {mean:+.2f} [{low:+.2f}, {high:+.2f}] | {p:.3f} | {rank:.3f} | {adjusted:.3f} | {d:+.2f} | {same} |")
    return lines


def absolute_table(runs):
    first = next(iter(runs.values()))[0]["modalities"]
    lines = ["| arm | lr | fused | " + " | ".join(first) + " | macro-F1 | ECE | validation-best fused | k " + ", ".join(first) + " | flips of the leader |", "| --- |" + " --- |" * (7 + len(first))]
    for arm, some in runs.items():
        def figure(when, branch, measure, some=some):
            x = values(some, (when, branch, measure))
            return f"{x.mean():.2f} ± {x.std(ddof=1):.2f}"
        k = np.mean([line["k_mean"] for line in some], 0)
        flips = np.mean([line["flips"] / line["steps"] for line in some])
        lines.append(f"| `{arm}` | {some[0]['lr']:g} | {figure('final', 'fused', 'accuracy')} | " + " | ".join(figure("final", m, "accuracy") for m in first) +
                     f" | {figure('final', 'fused', 'macro_f1')} | {figure('final', 'fused', 'ece')} | {figure('best', 'fused', 'accuracy')} | " +
                     ", ".join(f"{x:.2f}" for x in k) + f" | {100 * flips:.0f} % |")
    return lines


def leader_table(found):
    """Whether the ratio, which is of training scores, points at the modality that is better on the test split."""
    lines = ["| set | modality | accuracy alone, `none` | `joint` | ρ, first quarter of training | ρ, last quarter | k of `excess` | k of `ratio` |", "| --- |" + " --- |" * 7]
    for name, runs in found.items():
        names = runs["none"][0]["modalities"]
        rho = np.array([line["rho"] for line in runs["none"]])
        quarter = rho.shape[1] // 4
        for m, modality in enumerate(names):
            alone = [values(runs[arm], ("final", modality, "accuracy")).mean() for arm in ("none", "joint")]
            k = [np.mean([line["k_mean"][m] for line in runs[arm]]) for arm in ("excess", "ratio")]
            lines.append(f"| {name} | {modality} | {alone[0]:.2f} | {alone[1]:.2f} | {np.exp(np.log(rho[:, :quarter, m]).mean()):.2f} | {np.exp(np.log(rho[:, -quarter:, m]).mean()):.2f} | {k[0]:.2f} | {k[1]:.2f} |")
    return lines


def exploratory_table(found):
    """What stronger alphas do, where all of them were run."""
    lines = ["| set | alpha | fused − `none` | weaker modality − `none` | stronger − `none` | k of the modalities |", "| --- |" + " --- |" * 5]
    for name, runs in found.items():
        for arm in ("excess", *arms.EXPLORATORY):
            if arm not in runs:
                continue
            cells = []
            for branch in ("fused", "weaker", "leader"):
                what = "final", branch, "accuracy"
                mean, (low, high), *_ = paired(values(runs[arm], what), values(runs["none"], what))
                cells.append(f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]")
            k = np.mean([line["k_mean"] for line in runs[arm]], 0)
            lines.append(f"| {name} | {arms.EVERY[arm]['modulation.alpha']:g} | " + " | ".join(cells) + " | " + ", ".join(f"{x:.2f}" for x in k) + " |")
    return lines


# ---- plots ----

def style(axes):
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def save(figure, path):
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def plot_contrasts(found, path):
    result = contrasts(found, ("final", "fused", "accuracy"))
    figure, axes = plt.subplots(figsize=(7.5, 0.36 * len(result) + 1))
    marks = dict(zip(found, "osD^vPX"))
    for row, ((arm, against), (by_set, (mean, (low, high), _))) in enumerate(result.items()):
        y = -row
        axes.plot([low, high], [y, y], color="#0b6e99", linewidth=6, alpha=0.35, solid_capstyle="butt")
        axes.plot([mean], [y], "|", color="#0b6e99", markersize=12, markeredgewidth=2)
        for i, (name, r) in enumerate(by_set.items()):
            axes.plot([r[0]], [y + 0.26 - 0.52 * i / max(1, len(by_set) - 1)], marks[name], color="#333333", markersize=3.2, alpha=0.75)
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.set_yticks([-i for i in range(len(result))], [f"{a} − {b}" for a, b in result])
    axes.set_xlabel("points of fused test accuracy, last epoch: pooled over sets with 95 % interval (bar), and each set", fontsize=8)
    axes.set_xscale("symlog", linthresh=2)
    axes.set_xticks([-10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10], ["−10", "−5", "−2", "−1", "−½", "0", "½", "1", "2", "5", "10"])
    style(axes)
    axes.legend([plt.Line2D([], [], marker=m, color="#333333", linestyle="", markersize=4) for m in marks.values()], list(marks), fontsize=7, frameon=False,
                loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(figure, path)


def plot_traces(found, path):
    shown = ("none", "excess", "excess_mean", "ratio", "mlb")
    figure, grid = plt.subplots(2, len(found), figsize=(2.1 * len(found), 3.6), sharex=True, squeeze=False)
    for column, (name, runs) in enumerate(found.items()):
        leader = int(np.argmax(np.mean([line["rho"] for line in runs["none"]], (0, 1))))
        for arm in shown:
            for row, key in enumerate(("rho", "k")):
                trace = np.array([line[key] for line in runs[arm]])[:, :, leader]
                x = (np.arange(trace.shape[1]) + 0.5) / trace.shape[1]
                grid[row][column].plot(x, trace.mean(0), color=COLOURS[arm], linewidth=1.1, label=arm)
        grid[0][column].set_title(f"{name}: {runs['none'][0]['modalities'][leader]}", fontsize=8)
        grid[0][column].set_yscale("log")
        grid[0][column].yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        grid[0][column].yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        grid[1][column].set_ylim(0, None)
        for row in (0, 1):
            style(grid[row][column])
            grid[row][column].axhline(1, color="#333333", linewidth=0.7)
    grid[0][0].set_ylabel("ratio ρ of the leader", fontsize=8)
    grid[1][0].set_ylabel("its coefficient k", fontsize=8)
    figure.supxlabel("share of training", fontsize=8)
    grid[0][-1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(figure, path)


def read_sharding(results):
    path = os.path.join(results, "sharding.jsonl")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def plot_sharding(lines, path):
    """Whole-batch scores: for the mixture one slot a worker, for skewed shards real processes on eight slots (the same batches for every number of workers). Own scores: one slot a worker."""
    colours = {1: "#111111", 2: "#0b6e99", 4: "#3f7d20", 8: "#c4570e"}
    titles = {"mixed": "the same mixture everywhere", "skewed": "half of the shards lack text"}
    figure, grid = plt.subplots(2, 2, figsize=(8, 4.6), sharex=True, sharey=True)
    for row, arrangement in enumerate(titles):
        for column, statistics in enumerate(("step", "slot")):
            axes = grid[row][column]
            kind = "processes" if (arrangement, statistics) == ("skewed", "step") else "slots"
            for workers, colour in colours.items():
                traces = np.array([line["k"] for line in lines if line["key"][:4] == [kind, arrangement, workers, statistics]])
                x = (np.arange(traces.shape[1]) + 0.5) / traces.shape[1]
                axes.plot(x, traces.mean(0)[:, 0], color=colour, linewidth=3.2 - 0.8 * np.log2(workers), label=f"{workers}")
            axes.set_title(f"{titles[arrangement]}, {'scores of the whole batch' if statistics == 'step' else 'own scores'}", fontsize=8)
            style(axes)
    grid[0][1].legend(title="workers", fontsize=7, title_fontsize=7, frameon=False)
    figure.supxlabel("share of training", fontsize=8)
    figure.supylabel("k of the visual modality, mean over workers", fontsize=8)
    save(figure, path)


def sharding_table(lines):
    out = ["| arrangement | workers | whole batch: k visual, text | each worker's own: k visual, text | fused, whole | fused, own | largest difference of k to 1 worker, whole | own |", "| --- |" + " --- |" * 7]
    # skewed: a worker's slot comes from one shard, so another number of workers draws other batches, and the two last columns would compare those
    runs = {tuple(line["key"]): line for line in lines}
    seeds = sorted({key[4] for key in runs if key[0] == "slots"})
    for arrangement in ("mixed", "skewed"):
        for workers in (1, 2, 4, 8):
            row, far = [], []
            for statistics in ("step", "slot"):
                some = [runs["slots", arrangement, workers, statistics, seed] for seed in seeds]
                one = [runs["slots", arrangement, 1, statistics, seed] for seed in seeds]
                row.append(np.mean([line["k_mean"] for line in some], 0))
                far.append(max(np.abs(np.array(a["k"]) - np.array(b["k"])).max() for a, b in zip(some, one)))
                row.append(100 * np.mean([line["final"]["fused"] for line in some]))
            out.append(f"| {arrangement} | {workers} | {row[0][0]:.3f}, {row[0][1]:.3f} | {row[2][0]:.3f}, {row[2][1]:.3f} | {row[1]:.2f} | {row[3]:.2f} | " + (f"{far[0]:.5f} | {far[1]:.5f} |" if arrangement == "mixed" else "other batches | other batches |"))
    same = {arrangement: {(line["bits"], line["k_bits"]) for line in lines if line["key"][0] == "processes" and line["key"][1] == arrangement} for arrangement in ("mixed", "skewed")}
    out.append("")
    out.append("Real processes, 1, 2, 4 and 8 workers on 8 slots: " + "; ".join(
        f"{arrangement}: {'all coefficients and parameters are the same bits' if len(bits) == 1 else f'{len(bits)} different results'}" for arrangement, bits in same.items()) + ".")
    return out


def read_wire(results):
    """Runs by set, wire and seed, with the seeds that both wires have."""
    path, found = os.path.join(results, "wire.jsonl"), {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in (json.loads(line) for line in file if line.endswith("\n")):
                name, wire, seed = line["key"]
                found.setdefault(name, {}).setdefault(seed, {})[wire] = line
    both = {name: [pair for _, pair in sorted(seeds.items()) if len(pair) == 2] for name, seeds in found.items()}
    return {name: pairs for name, pairs in both.items() if len(pairs) >= 3}


def wire_table(found):
    """bf16 − f32, paired over seeds: accuracies in points, losses in thousandths; the last row over the runs of all sets."""
    columns = [("fused accuracy", "accuracy", "fused"), ("first modality", "accuracy", 0), ("second modality", "accuracy", 1), ("fused test loss · 10³", "loss", "fused"), ("fused training loss · 10³", "train_loss", "fused")]

    def pick(line, measure, branch):
        branch = branch if branch == "fused" else line["modalities"][branch]
        return 1000 * line["train_loss"][branch] if measure == "train_loss" else line["test"][branch][measure] * (100 if measure == "accuracy" else 1000)
    lines = ["| set | seeds | fused accuracy with f32, its spread | " + " | ".join(title for title, *_ in columns) + " |", "| --- |" + " --- |" * (2 + len(columns))]
    for name, pairs in {**found, "all": [pair for pairs in found.values() for pair in pairs]}.items():
        cells = []
        for _title, measure, branch in columns:
            mean, (low, high), *_rest = paired(*(np.array([pick(pair[wire], measure, branch) for pair in pairs]) for wire in ("bf16", "f32")))
            cells.append(f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]")
        x = np.array([pick(pair["f32"], "accuracy", "fused") for pair in pairs])
        lines.append(f"| {name} | {len(pairs)} | " + (f"{x.mean():.2f} ± {x.std(ddof=1):.2f}" if name != "all" else "") + " | " + " | ".join(cells) + " |")
    return lines


# ---- the page ----

def write(results, docs):
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "study", "font.size": 8, "font.family": "sans-serif"})
    found, shards, wires = read(results), read_sharding(results), read_wire(results)
    if not found:
        print("no set has three seeds of every arm yet")
        return 1
    page = ["# Results of the study", "", "Written by `tests/study/run --report` from the lines in `tests/study/results`; [method.md](method.md) says what the arms are, what was expected and what follows.", "",
            "Accuracy, macro-F1 and expected calibration error in points (%). Intervals are 95 %, over seeds alone: all seeds share one test set. Bold: p < 0.05 after Holm over the sets. τ: spread of the effect over sets.", "",
            "| set | seeds | steps | train arms complete |", "| --- | --- | --- | --- |"]
    page += [f"| {name} | {len(runs['none'])} | {runs['none'][0]['steps']} | {len(runs)} |" for name, runs in found.items()]
    page += ["", "## Primary contrasts, last epoch", "", *primary_table(found)]
    for title, what in (("All contrasts: fused accuracy, last epoch", ("final", "fused", "accuracy")), ("All contrasts: fused accuracy, validation-best epoch", ("best", "fused", "accuracy")),
                        ("All contrasts: accuracy of the weaker modality alone, last epoch", ("final", "weaker", "accuracy")),
                        ("All contrasts: accuracy of the stronger modality alone, last epoch", ("final", "leader", "accuracy")),
                        ("All contrasts: fused macro-F1, last epoch", ("final", "fused", "macro_f1")), ("All contrasts: fused calibration error, last epoch (less is better)", ("final", "fused", "ece"))):
        page += ["", f"## {title}", "", *contrast_table(found, what)]
    page += ["", "## Who is held back", "", *leader_table(found)]
    page += ["", "## Exploratory: stronger alphas", "", "Not among what was written down before; learning rates searched alike. Intervals are not corrected for the number of comparisons.", "", *exploratory_table(found)]
    for name, runs in found.items():
        page += ["", f"## {name}", "", *absolute_table(runs)]
    if shards:
        page += ["", "## Workers and shards", "", *sharding_table(shards)]
        plot_sharding(shards, os.path.join(docs, "method-sharding.svg"))
    if wires:
        page += ["", "## Pushes as bf16", "", "`cluster.wire: bf16` − `f32`, same seed and settings (defaults, lr 2e-3), 1 server and 2 workers, last epoch (`tests/study/run --sets wire`). Accuracies in points.", "", *wire_table(wires)]
    plot_contrasts(found, os.path.join(docs, "method-contrasts.svg"))
    plot_traces(found, os.path.join(docs, "method-traces.svg"))
    with open(os.path.join(docs, "method-results.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(page) + "\n")
    print("docs/method-results.md: " + ", ".join(f"{name} {len(runs['none'])} seeds" for name, runs in found.items()))
    return 0
