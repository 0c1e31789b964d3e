// One run's past and present as columns: what /api/history gave, and the steps that came since.
const byBranch = ["loss", "accuracy", "update_norm", "parameter_norm", "relative_update"]; // these have a value for the fused branch too
const wide = [...byBranch, "score", "ratio", "coefficient", "cosine", "held"];
const narrow = ["norm", "clip", "rate", "seconds", "throughput", "workers"];
export const POINTS_MAX = 3000; // then the history is asked for again, joined by the gateway

export class History {
  constructor(json) {
    Object.assign(this, json);
  }

  get last() {
    return this.step.length ? this.step[this.step.length - 1] : 0;
  }

  // A history that was asked for before the first line stood has no names yet: the status has them.
  name(branches, labels) {
    if (!this.labels.length && labels?.length) this.labels = labels;
    if (this.branches.length || !branches?.length) return;
    this.branches = branches;
    for (const key of wide) this[key] = branches.slice(byBranch.includes(key) ? 0 : 1).map(() => this.step.map(() => null));
  }

  // Whether steps are missing before this one: the gateway's files were behind, or messages were dropped.
  misses(step) {
    return step > this.last + Math.max(1, this.stride);
  }

  // Adds a step as the status socket tells it; one that is here already changes nothing.
  add(step) {
    if (!(step.step > this.last)) return;
    const modalities = Math.max(0, this.branches.length - 1);
    this.step.push(step.step);
    this.epoch.push(step.epoch);
    this.time.push(step.time);
    const { branch_update_norm: update = [], branch_parameter_norm: size = [] } = step;
    const ours = { held: (step.coefficient ?? []).map((k) => (k < 1 ? 1 : 0)), update_norm: update, parameter_norm: size, relative_update: update.map((norm, b) => (size[b] > 0 ? norm / size[b] : null)) };
    for (const key of wide) {
      const values = ours[key] ?? step[key] ?? [];
      const width = byBranch.includes(key) ? this.branches.length : modalities;
      for (let b = 0; b < width; b++) (this[key][b] ??= new Array(this.step.length - 1).fill(null)).push(values[b] ?? null);
    }
    const values = { ...step, throughput: step.seconds > 0 ? step.samples / step.seconds : null };
    for (const key of narrow) this[key].push(values[key] ?? null);
  }

  addValidation(validation) {
    if (this.validations.some((v) => v.step === validation.step)) return;
    for (const v of this.validations) for (const b of v.branch) delete b.confusion; // only the last one is shown
    this.validations.push(validation);
  }

  // [{ modality, from, to, weight }]: where a modality was held back, joined where points touch. weight: 1 - k, at most 1.
  heldSpans() {
    const spans = [];
    (this.coefficient ?? []).forEach((values, modality) => {
      let open = null;
      values.forEach((k, i) => {
        const held = (this.held[modality]?.[i] ?? 0) >= 0.5;
        const from = i === 0 ? Math.max(0, this.step[0] - this.stride) : this.step[i - 1];
        const weight = held ? 1 - k : 0;
        if (open && held && Math.abs(open.weight - weight) < 0.08) open.to = this.step[i];
        else if (held) spans.push((open = { modality, from, to: this.step[i], weight }));
        else open = null;
      });
    });
    return spans;
  }

  // The share of all steps so far in which a modality was held back; null without steps.
  heldShare(modality) {
    const held = this.held[modality] ?? [];
    let sum = 0, weight = 0;
    held.forEach((share, i) => {
      const steps = i === 0 ? this.stride : this.step[i] - this.step[i - 1];
      if (share === null) return;
      sum += share * steps;
      weight += steps;
    });
    return weight > 0 ? sum / weight : null;
  }
}
