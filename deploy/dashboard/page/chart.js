// Line charts on a canvas: several lines over steps, with a cursor and a range that all charts share. Written for this page, because it needs
// little (lines, dots, shaded spans) and two things that chart libraries leave out: the keyboard, and values as text beside the lines.
import { count, element, figure, isNumber } from "/format.js";

// What the charts of a page have in common: the step under the cursor, the range of steps shown, and whether lines are smoothed.
export class Shared {
  constructor() {
    this.charts = new Set();
    this.step = null; // null: the newest
    this.range = null; // null: all
    this.smooth = true;
    this.listeners = new Set();
  }
  point(step) {
    this.step = step;
    this.redraw();
  }
  zoom(range) {
    this.range = range;
    this.redraw();
  }
  redraw() {
    for (const chart of this.charts) chart.schedule();
    for (const listener of this.listeners) listener();
  }
}

const LEFT = 46, RIGHT = 10, TOP = 8, BOTTOM = 20;

// 4 or so round values that cover [low, high].
export function ticks(low, high, wanted = 4) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 2.5, 5, 10].find((u) => u * power >= rough * 0.999) * power;
  const found = [];
  for (let value = Math.ceil(low / unit - 1e-9) * unit; value <= high + unit * 1e-9; value += unit) found.push(Math.abs(value) < unit * 1e-9 ? 0 : value);
  return found;
}

// The index of the last x that is at most the value; 0 when all are larger.
export function indexOf(x, value) {
  let low = 0, high = x.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (x[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

// An exponential mean with the same weight on both sides of a gap.
export function smoothed(values, factor) {
  let mean = null;
  return values.map((value) => {
    if (!isNumber(value)) return null;
    mean = mean === null ? value : mean + (1 - factor) * (value - mean);
    return mean;
  });
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Chart {
  // options: title, note, unit (shown beside the title), low, high (fixed ends of y), log, line (a y to mark), format, smooth: false for figures that are exact
  constructor(figureElement, shared, options) {
    this.shared = shared;
    this.options = { format: figure, ...options };
    this.series = [];
    this.x = [];
    this.spans = [];
    this.root = figureElement;
    this.legend = element("ul", { class: "legend" });
    this.heading = element("h3", {}, options.title);
    if (options.note) this.heading.append(" ", element("small", {}, options.note));
    this.root.append(element("figcaption", {}, this.heading, this.legend));
    this.canvas = element("canvas", { tabindex: "0", role: "img" });
    this.root.append(this.canvas);
    this.pending = false;
    this.listen();
    shared.charts.add(this);
    new ResizeObserver(() => this.schedule()).observe(this.canvas);
  }

  // series: [{ name, color (a custom property's name), dash, width, values, dots: [{ x, y }] }]; spans: [{ from, to, color, weight }]
  set(x, series, spans = []) {
    const names = series.map((s) => s.name + s.color).join("\n");
    this.x = x;
    this.series = series;
    this.spans = spans;
    if (names !== this.names) {
      this.names = names;
      this.buildLegend();
    }
    this.schedule();
  }

  buildLegend() {
    this.values = this.series.map(() => element("b", {}, "–"));
    this.at = element("li", { class: "at" });
    const single = this.series.length === 1;
    this.legend.replaceChildren(this.at, ...this.series.map((s, i) => {
      const swatch = element("span", { class: `swatch ${s.dash ? (s.dash[0] > 3 ? "dash" : "dot") : ""}` });
      swatch.style.borderColor = `var(${s.color})`;
      return element("li", { "data-series": s.name }, swatch, single ? null : element("span", { class: "name", title: s.name }, s.name), this.values[i]);
    }));
  }

  // ---- places ----

  shown() {
    if (this.shared.range) return this.shared.range;
    let low = Infinity, high = -Infinity;
    if (this.x.length) [low, high] = [this.x[0], this.x[this.x.length - 1]];
    for (const s of this.series) for (const dot of s.dots ?? []) [low, high] = [Math.min(low, dot.x), Math.max(high, dot.x)];
    if (!(low <= high)) return [0, 1];
    return low === high ? [low - 1, high + 1] : [Math.min(low, 1), high];
  }

  heights([from, to]) {
    const { low, high, log } = this.options;
    let least = Infinity, most = -Infinity;
    const take = (value) => {
      if (!isNumber(value) || (log && value <= 0)) return;
      least = Math.min(least, value);
      most = Math.max(most, value);
    };
    for (const s of this.series) {
      const values = s.drawn ?? s.values;
      for (let i = 0; i < values.length; i++) if (this.x[i] >= from && this.x[i] <= to) take(values[i]);
      for (const dot of s.dots ?? []) if (dot.x >= from && dot.x <= to) take(dot.y);
    }
    if (isNumber(this.options.line)) take(this.options.line);
    if (!(least <= most)) [least, most] = [0, 1];
    if (log) {
      const reach = Math.max(Math.log(most), -Math.log(least), Math.log(1.25)) * 1.08;
      return [Math.exp(-reach), Math.exp(reach)];
    }
    const margin = (most - least || Math.abs(most) || 1) * 0.06;
    return [isNumber(low) ? Math.min(low, least) : least - margin, isNumber(high) ? Math.max(high, most) : most + margin];
  }

  // ---- drawing ----

  schedule() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.draw();
    });
  }

  draw() {
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight, ratio = window.devicePixelRatio || 1;
    if (!width) return;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const c = this.canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = "11px system-ui, sans-serif";
    const smooth = this.shared.smooth && this.options.smooth !== false;
    for (const s of this.series) s.drawn = smooth && s.values.length > 30 ? smoothed(s.values, 0.9) : s.values;
    const range = this.shown(), [low, high] = this.heights(range), log = this.options.log;
    const px = (x) => LEFT + ((x - range[0]) / (range[1] - range[0])) * (width - LEFT - RIGHT);
    const share = log ? (y) => Math.log(y / low) / Math.log(high / low) : (y) => (y - low) / (high - low);
    const py = (y) => height - BOTTOM - share(y) * (height - TOP - BOTTOM);
    this.view = { range, width };
    this.drawAxes(c, { range, low, high, log, px, py, width, height });
    c.save();
    c.beginPath();
    c.rect(LEFT, 0, width - LEFT - RIGHT + 4, height - BOTTOM + 1);
    c.clip();
    this.drawSpans(c, px, height);
    if (smooth) for (const s of this.series) if (s.drawn !== s.values) this.drawLine(c, s, s.values, px, py, 0.2, 1);
    for (const s of this.series) this.drawLine(c, s, s.drawn, px, py, 1, s.width ?? 1.75);
    for (const s of this.series) this.drawDots(c, s, px, py);
    this.drawCursor(c, px, py, height);
    if (this.drag) this.drawDrag(c, height);
    c.restore();
    this.tell();
  }

  drawAxes(c, { range, low, high, log, px, py, width, height }) {
    c.strokeStyle = css("--grid");
    c.fillStyle = css("--soft");
    c.lineWidth = 1;
    c.textAlign = "right";
    c.textBaseline = "middle";
    const marks = log ? [0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10].filter((v) => v >= low && v <= high) : ticks(low, high, height < 150 ? 3 : 5);
    let lastY = Infinity;
    for (const mark of marks) {
      const y = Math.round(py(mark)) + 0.5;
      if (lastY - y < 14) continue;
      lastY = y;
      c.beginPath();
      c.moveTo(LEFT, y);
      c.lineTo(width - RIGHT, y);
      c.stroke();
      c.fillText(this.options.format(mark), LEFT - 7, y);
    }
    if (isNumber(this.options.line)) {
      const y = Math.round(py(this.options.line)) + 0.5;
      c.strokeStyle = css("--faint");
      c.setLineDash([2, 3]);
      c.beginPath();
      c.moveTo(LEFT, y);
      c.lineTo(width - RIGHT, y);
      c.stroke();
      c.setLineDash([]);
    }
    c.textBaseline = "alphabetic";
    const steps = ticks(range[0], range[1], Math.max(4, Math.floor(width / 110))).filter(Number.isInteger);
    for (const mark of steps) {
      const x = px(mark);
      c.textAlign = x > width - 30 ? "right" : "center";
      c.fillText(count(mark), Math.min(x, width - RIGHT), height - 5);
    }
  }

  drawSpans(c, px, height) {
    for (const span of this.spans) {
      c.globalAlpha = 0.05 + 0.16 * span.weight;
      c.fillStyle = css(span.color);
      const from = Math.round(px(span.from)); // whole pixels: neighbours meet without a seam
      c.fillRect(from, TOP, Math.max(1, Math.round(px(span.to)) - from), height - TOP - BOTTOM);
    }
    c.globalAlpha = 1;
  }

  drawLine(c, s, values, px, py, alpha, width) {
    c.strokeStyle = css(s.color);
    c.globalAlpha = alpha;
    c.lineWidth = width;
    c.lineJoin = "round";
    c.setLineDash(alpha === 1 && s.dash ? s.dash : []);
    c.beginPath();
    let open = false;
    for (let i = 0; i < values.length; i++) {
      if (!isNumber(values[i]) || (this.options.log && values[i] <= 0)) {
        open = false;
        continue;
      }
      if (open) c.lineTo(px(this.x[i]), py(values[i]));
      else c.moveTo(px(this.x[i]), py(values[i]));
      open = true;
    }
    c.stroke();
    c.setLineDash([]);
    c.globalAlpha = 1;
  }

  drawDots(c, s, px, py) {
    c.strokeStyle = css(s.color);
    c.fillStyle = css("--card");
    c.lineWidth = 1.5;
    for (const dot of s.dots ?? []) {
      if (!isNumber(dot.y)) continue;
      c.beginPath();
      c.arc(px(dot.x), py(dot.y), 3.2, 0, 2 * Math.PI);
      c.fill();
      c.stroke();
    }
  }

  drawCursor(c, px, py, height) {
    const at = this.shared.step;
    if (at === null || !this.x.length) return;
    const index = indexOf(this.x, at), x = Math.round(px(this.x[index])) + 0.5;
    c.strokeStyle = css("--faint");
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(x, TOP);
    c.lineTo(x, height - BOTTOM);
    c.stroke();
    for (const s of this.series) {
      const value = s.drawn[index];
      if (!isNumber(value)) continue;
      c.fillStyle = css(s.color);
      c.beginPath();
      c.arc(px(this.x[index]), py(value), 3, 0, 2 * Math.PI);
      c.fill();
    }
  }

  drawDrag(c, height) {
    const [a, b] = this.drag;
    c.globalAlpha = 0.15;
    c.fillStyle = css("--accent");
    c.fillRect(Math.min(a, b), TOP, Math.abs(b - a), height - TOP - BOTTOM);
    c.globalAlpha = 1;
  }

  // The values beside the names: those of the step under the cursor, as they were measured, or the newest.
  tell() {
    const at = this.shared.step, said = [];
    const index = at === null ? this.x.length - 1 : indexOf(this.x, at);
    this.series.forEach((s, i) => {
      let value = s.values[index];
      for (let j = index; at === null && !isNumber(value) && j >= 0; j--) value = s.values[j]; // a run that ended earlier than another
      if (!s.values.length && s.dots?.length) value = s.dots[s.dots.length - 1].y;
      const text = this.options.format(value);
      if (this.values[i].textContent !== text) this.values[i].textContent = text;
      this.values[i].title = isNumber(value) ? String(value) : "";
      said.push(`${s.name} ${text}`);
    });
    if (this.at) this.at.textContent = at === null || !this.x.length ? "" : `step ${count(this.x[index])}`;
    const step = this.x.length ? `, step ${this.x[index]}` : "";
    this.canvas.setAttribute("aria-label", `${this.options.title}${step}: ${said.join(", ") || "nothing yet"}`);
  }

  // ---- pointer and keyboard ----

  stepAt(event) {
    const [from, to] = this.view.range, offset = event.clientX - this.canvas.getBoundingClientRect().left;
    return from + ((offset - LEFT) / (this.view.width - LEFT - RIGHT)) * (to - from);
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointermove", (event) => {
      if (!this.view || (event.movementX === 0 && event.movementY === 0)) return; // the page moved below a pointer that rests
      if (this.dragFrom !== undefined) this.drag = [this.dragFrom, event.offsetX];
      this.shared.point(this.stepAt(event));
    });
    canvas.addEventListener("pointerleave", () => {
      if (this.dragFrom === undefined && document.activeElement?.tagName !== "CANVAS") this.shared.point(null); // the keyboard's cursor stays
    });
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.view || event.button !== 0 || event.pointerType === "touch") return;
      this.dragFrom = event.offsetX;
      this.dragStep = this.stepAt(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (this.dragFrom === undefined) return;
      const moved = Math.abs(event.offsetX - this.dragFrom), to = this.stepAt(event);
      this.dragFrom = this.drag = undefined;
      if (moved > 6) this.shared.zoom([Math.min(this.dragStep, to), Math.max(this.dragStep, to)]);
      else this.schedule();
    });
    canvas.addEventListener("pointercancel", () => {
      this.dragFrom = this.drag = undefined;
      this.schedule();
    });
    canvas.addEventListener("dblclick", () => this.shared.zoom(null));
    canvas.addEventListener("blur", () => this.shared.point(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (!this.x.length || !this.view || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.x.length - 1, [from, to] = this.view.range;
    const index = this.shared.step === null ? last : indexOf(this.x, this.shared.step);
    const stride = event.shiftKey ? 10 : 1, middle = this.x[index], half = (to - from) / 2;
    const moves = { ArrowLeft: index - stride, ArrowRight: index + stride, PageUp: index - 50, PageDown: index + 50, Home: 0, End: last };
    if (event.key in moves) this.shared.point(this.x[Math.min(last, Math.max(0, moves[event.key]))]);
    else if (event.key === "+" || event.key === "=") this.shared.zoom([middle - half / 2, middle + half / 2]);
    else if (event.key === "-") this.shared.zoom(half * 4 >= this.x[last] - this.x[0] ? null : [middle - half * 2, middle + half * 2]);
    else if (event.key === "Escape" || event.key === "0") {
      this.shared.zoom(null);
      this.shared.point(null);
    } else return;
    event.preventDefault();
  }
}
