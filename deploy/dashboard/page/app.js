// The page: asks the gateway for a run's history and status, listens to its events, and shows both.
import { Chart, Shared, indexOf } from "/chart.js";
import { clock, date, duration, element, figure, isNumber, percent } from "/format.js";
import { History, POINTS_MAX } from "/history.js";
import * as panels from "/panels.js";

const $ = (id) => document.getElementById(id);
const view = { name: null, runs: [], status: null, history: null, link: "connecting", pulse: null, silence: 0, events: [], branch: -1, loads: 0 };
const others = new Map(); // histories of all runs, for the comparison
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];

// ---- colours: one hue for a branch in every chart, and a dash as well, for those who see no hue ----

const isFused = (b) => b === view.history.branches.length - 1;
const colorOf = (b) => (isFused(b) ? "--fused" : `--c${b % 8}`);
const dashOf = (b) => (isFused(b) ? undefined : DASHES[b % 4].length ? DASHES[b % 4] : undefined);
const runColor = (i) => `--c${i % 8}`;

// ---- charts ----

const shared = new Shared();
const three = (v) => (isNumber(v) ? figure(Number(v.toPrecision(3))) : "–");
const charts = {
  ratio: new Chart($("chart-ratio"), shared, { title: "Ratio ρ", note: "score against the other modalities", log: true, line: 1 }),
  coefficient: new Chart($("chart-coefficient"), shared, { title: "Coefficient k", note: "below 1 the modality is held back", low: 0, high: 1.02, smooth: false }),
  loss: new Chart($("chart-loss"), shared, { title: "Loss", note: "lines: training, circles: validation", low: 0 }),
  accuracy: new Chart($("chart-accuracy"), shared, { title: "Accuracy", note: "lines: training, circles: validation", low: 0, high: 1 }),
  throughput: new Chart($("chart-throughput"), shared, { title: "Throughput", note: "samples/s", low: 0 }),
  cosine: new Chart($("chart-cosine"), shared, { title: "Cosine", note: "unimodal to fused gradient" }),
  norm: new Chart($("chart-norm"), shared, { title: "Gradient norm", note: "before clipping", low: 0 }),
  update: new Chart($("chart-update"), shared, { title: "Update", note: "‖Δw‖ / ‖w‖", low: 0 }),
  rate: new Chart($("chart-rate"), shared, { title: "Learning rate", low: 0, smooth: false }),
};
const validationShared = new Shared();
charts.validation = new Chart($("chart-validation"), validationShared, { title: "Accuracy in every validation", smooth: false });
const compareShared = new Shared();
const compareFigures = {
  "validation accuracy, fused": (h) => ({ dots: h.validations.map((v) => ({ x: v.step, y: v.branch.at(-1)?.accuracy })) }),
  "training loss, fused": (h) => ({ values: h.loss.at(-1) ?? [] }),
  "training accuracy, fused": (h) => ({ values: h.accuracy.at(-1) ?? [] }),
  "smallest coefficient k": (h) => ({ values: h.step.map((_, i) => Math.min(...h.coefficient.map((c) => c[i] ?? 1))) }),
  "throughput, samples/s": (h) => ({ values: h.throughput }),
};
charts.compare = new Chart($("chart-compare"), compareShared, { title: "Runs over steps" });

function branchSeries(key, dots) {
  const h = view.history;
  return (h[key] ?? []).map((values, b) => ({ name: h.branches[b], color: colorOf(b), dash: dashOf(b), width: isFused(b) ? 2.4 : 1.75, values,
    dots: dots ? h.validations.map((v) => ({ x: v.step, y: v.branch[b]?.[key] })) : undefined }));
}

function drawCharts() {
  const h = view.history;
  if (!h) return;
  const spans = h.heldSpans().map((s) => ({ ...s, color: colorOf(s.modality) }));
  charts.ratio.set(h.step, branchSeries("ratio"), spans);
  charts.coefficient.set(h.step, branchSeries("coefficient"), spans);
  charts.loss.set(h.step, branchSeries("loss", true));
  charts.accuracy.set(h.step, branchSeries("accuracy", true));
  charts.cosine.set(h.step, branchSeries("cosine"));
  charts.update.set(h.step, branchSeries("relative_update"));
  for (const key of ["throughput", "norm", "rate"]) charts[key].set(h.step, [{ name: key, color: "--accent", values: h[key] }]);
  charts.validation.set(h.validations.map((v) => v.step), h.branches.map((name, b) => ({ name, color: colorOf(b), dash: dashOf(b), values: h.validations.map((v) => v.branch[b]?.accuracy), dots: h.validations.map((v) => ({ x: v.step, y: v.branch[b]?.accuracy })) })));
  drawRibbons(spans);
}

// One strip a modality: where it was held back, and by how much. Same places as in the charts above; words beside it for those who see no strip.
function drawRibbons(spans) {
  const h = view.history, modalities = h.branches.slice(0, -1), box = $("ribbons");
  if (box.childElementCount !== modalities.length)
    box.replaceChildren(...modalities.map(() => element("div", { class: "ribbon" }, element("span", { class: "name" }), element("canvas", { role: "img" }), element("span", { class: "share" }))));
  const at = shared.step === null ? h.step.length - 1 : indexOf(h.step, shared.step);
  const [from, to] = charts.ratio.shown(), css = getComputedStyle(document.documentElement), now = [];
  modalities.forEach((name, m) => {
    const [label, canvas, words] = box.children[m].children, k = h.coefficient[m]?.[at], share = h.heldShare(m);
    label.textContent = label.title = name;
    label.style.color = `var(${colorOf(m)})`;
    words.textContent = share === null ? "" : `held back in ${percent(share, 0)} of steps`;
    words.title = words.textContent;
    canvas.setAttribute("aria-label", `${name}: ${words.textContent}`);
    canvas.width = canvas.clientWidth * devicePixelRatio;
    canvas.height = canvas.clientHeight * devicePixelRatio;
    const c = canvas.getContext("2d");
    c.fillStyle = css.getPropertyValue(colorOf(m));
    for (const span of spans) {
      if (span.modality !== m) continue;
      const x = (s) => Math.round(((s - from) / (to - from)) * canvas.width);
      c.globalAlpha = Math.min(1, 0.3 + span.weight);
      c.fillRect(x(span.from), 0, Math.max(1, x(span.to) - x(span.from)), canvas.height);
    }
    if (isNumber(k) && k < 1) now.push(`${name} is held back, k = ${figure(k)}`);
  });
  const when = shared.step === null ? (view.link === "live" ? "Now" : "At the end") : `At step ${h.step[at]}`;
  $("balance-now").textContent = !h.step.length || !modalities.length ? "" : now.length ? `${when}: ${now.join("; ")}.` : `${when}: no modality is held back.`;
}

// ---- words ----

const LINKS = { live: "live", quiet: "no news", finished: "finished", gone: "gone", connecting: "connecting", files: "not running", refused: "not let in", foreign: "not running", lost: "no dashboard" };

function notice() {
  const { link, pulse, status } = view, code = status?.exit_code ?? pulse?.exit_code;
  const text = pulse?.link_text ?? "", heard = pulse?.heard, why = text.match(/^no news for [^:]*: (.*)$/)?.[1], because = why ? ` ${why}.` : "";
  if (link === "lost") return ["bad", `The dashboard itself has not answered for ${duration(view.silence)}: was \`shelflife dashboard\` stopped? Trying again; the figures below are old.`];
  if (link === "quiet") return ["warn", `No news for ${duration(view.silence)}: the run was last heard at ${clock(heard)}. The figures below are from then.${because}`];
  if (link === "gone") return ["bad", `${text || "This run is gone: its process ended without a word"}. ${heard ? `Last heard at ${date(heard)}.` : ""} The figures below are the last ones.`];
  if (link === "finished") {
    const why = status?.finished ?? text.replace(/^finished: /, "");
    return [code ? "bad" : "info", `Run finished: ${why || "no reason given"}${isNumber(code) ? ` (exit code ${code})` : ""}.`];
  }
  if (link === "refused") return ["bad", text];
  if (link === "foreign") return ["warn", `Another run answers at ${pulse?.endpoint ?? "its address"} now: this one is not running. What is shown comes from its files.`];
  if (link === "files") return ["info", `This run has no status socket: what is shown comes from its files${pulse?.written ? `, last written at ${date(pulse.written)}` : ""}.`];
  if (link === "connecting") return ["info", `Waiting for an answer from ${pulse?.endpoint ?? "the run"}. What is shown comes from its files.${because}`];
  return null;
}

function showState() {
  const said = notice(), box = $("notice"), pill = $("state");
  box.hidden = said === null;
  if (said && box.textContent !== said[1]) box.textContent = said[1];
  if (said) box.dataset.kind = said[0];
  const failed = view.link === "finished" && (view.status?.exit_code ?? view.pulse?.exit_code);
  pill.dataset.link = failed ? "failed" : view.link;
  pill.textContent = view.link === "live" ? view.status?.state ?? "live" : failed ? "failed" : LINKS[view.link] ?? view.link;
  document.title = view.name === null ? "Shelflife" : `${view.name} — ${pill.textContent} — Shelflife`;
}

function show() {
  showState();
  for (const id of ["workers", "servers", "snapshots"]) $(id).closest(".card").hidden = view.status === null; // only the socket knows them
  panels.summary(view);
  panels.workers(view);
  panels.servers(view);
  panels.snapshots(view.status);
  panels.events(view.events);
}

function showValidation() {
  const h = view.history, branches = h?.branches.length ?? 0;
  if (view.branch < 0 || view.branch >= branches) view.branch = branches - 1;
  panels.validation(h, h?.branches.map((_, b) => colorOf(b)) ?? [], view.branch, (b) => {
    view.branch = b;
    showValidation();
  });
}

// Several messages may come between two frames: everything is drawn once for all of them, at most four times a second.
let asked = false;
function refresh() {
  if (asked) return;
  asked = true;
  setTimeout(() => {
    asked = false;
    if (document.hidden) return;
    show();
    drawCharts();
  }, 120);
}

// ---- what comes from the gateway ----

async function get(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

const query = (name) => `?run=${encodeURIComponent(name)}`;
let source = null, heardAt = Date.now(), loadTimer = null;

function takePulse(pulse) {
  const whole = view.pulse?.reading && !pulse.reading; // the gateway was still reading the files when it gave the history
  view.pulse = pulse;
  view.link = pulse.link;
  view.silence = pulse.heard ? Math.max(0, pulse.now - pulse.heard) : 0;
  heardAt = Date.now();
  if (whole) load();
}

function takeStatus(json) {
  takePulse(json);
  view.status = json.status ?? view.status;
  if (json.status?.events?.length) view.events = json.status.events;
  if (json.status?.last_step && view.history && json.status.step < view.history.last) load(); // the run went back to a snapshot
  view.history?.name(json.status?.run?.branches, json.status?.run?.labels);
  if (json.status?.last_step) addStep(json.status.last_step);
  if (json.status?.last_validation && view.history && (view.history.validations.at(-1)?.step ?? -1) < json.status.last_validation.step) {
    view.history.addValidation(structuredClone(json.status.last_validation));
    showValidation();
  }
}

let loadedAt = 0;
function addStep(step) {
  if (!view.history) return;
  if (view.history.misses(step.step) && Date.now() - loadedAt > 1500) loadSoon(500); // the files have them in a moment
  view.history.add(step);
}

function loadSoon(wait) {
  clearTimeout(loadTimer);
  loadTimer = setTimeout(load, wait);
}

// The history, then the status: so that what the status says comes on top.
async function load() {
  const name = view.name, mine = ++view.loads;
  clearTimeout(loadTimer);
  try {
    const history = await get(`/api/history${query(name)}`);
    const status = await get(`/api/status${query(name)}`);
    if (name !== view.name || mine !== view.loads) return;
    view.history = new History(history);
    const behind = status.status?.last_step && view.history.misses(status.status.last_step.step);
    loadedAt = Date.now();
    view.status = null;
    view.events = view.history.events;
    takeStatus(status);
    if (behind) loadSoon(1500);
    showValidation();
    refresh();
  } catch {
    loadSoon(2000);
  }
}

function follow(name) {
  source?.close();
  Object.assign(view, { name, status: null, history: null, link: "connecting", pulse: null, events: [], branch: -1 });
  shared.zoom(null);
  $("run").value = name;
  if (view.runs.length > 1) compare().catch(() => {}); // the table says which run is shown
  history.replaceState(null, "", query(name));
  source = new EventSource(`/api/events${query(name)}`);
  const on = (event, take) => source.addEventListener(event, (message) => {
    take(JSON.parse(message.data));
    refresh();
  });
  source.addEventListener("open", load);
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(() => view.name === name && follow(name), 3000); // refused: too many pages, or no such run now
  });
  on("pulse", takePulse);
  on("status", takeStatus);
  on("steps", ({ steps }) => {
    if (!view.history) return;
    for (const step of steps) addStep(step);
    if (view.history.step.length > POINTS_MAX) load();
  });
  on("validation", (validation) => {
    view.history?.addValidation(validation);
    showValidation();
  });
  on("event", (event) => {
    view.events = [...view.events, event].slice(-64);
  });
}

// ---- all runs ----

async function loadRuns() {
  try {
    const { runs, source: from, version } = await get("/api/runs");
    view.runs = runs;
    $("source").textContent = `Shelflife ${version}, runs in ${from}`;
    const select = $("run"), names = runs.map((r) => r.name);
    if (names.join("\n") !== [...select.options].map((o) => o.value).join("\n")) {
      select.replaceChildren(...runs.map((r) => element("option", { value: r.name }, r.name)));
      if (view.name !== null) select.value = view.name;
    }
    if (!names.length) {
      $("notice").hidden = false;
      $("notice").textContent = `There is no run in ${from} yet. This page shows it as soon as one starts.`;
      $("state").textContent = "no run";
    } else if (view.name === null || !names.includes(view.name)) {
      const wanted = new URLSearchParams(location.search).get("run");
      follow(names.includes(wanted) ? wanted : names[0]);
    }
    await compare();
  } catch {
    // the ticker below says that the dashboard does not answer
  }
  setTimeout(loadRuns, 5000);
}

async function compare() {
  const box = $("compare");
  box.hidden = view.runs.length < 2;
  if (box.hidden) return;
  const shown = view.runs.slice(0, 8);
  for (const run of shown) {
    const known = others.get(run.name);
    if (!known || known.at !== run.step || known.accuracy !== run.accuracy)
      others.set(run.name, { at: run.step, accuracy: run.accuracy, history: new History(await get(`/api/history${query(run.name)}`)) });
  }
  panels.runs(view.runs.map((run, i) => ({ ...run, color: i < 8 ? runColor(i) : undefined })), view.name, follow);
  const pick = compareFigures[$("compare-figure").value], all = new Set();
  const parts = shown.map((run) => [run, others.get(run.name).history, pick(others.get(run.name).history)]);
  for (const [, h, part] of parts) for (const x of part.dots ? part.dots.map((d) => d.x) : h.step) all.add(x);
  const x = [...all].sort((a, b) => a - b);
  charts.compare.set(x, parts.map(([run, h, part], i) => {
    const places = part.dots ? part.dots.map((d) => d.x) : h.step, values = part.dots ? part.dots.map((d) => d.y) : part.values;
    return { name: run.name, color: runColor(i), dash: DASHES[i % 4].length ? DASHES[i % 4] : undefined, dots: part.dots, values: resample(places, values, x) };
  }));
}

// The values of a run on the steps of all runs: between two of its own points in a straight line, nothing outside.
function resample(places, values, x) {
  let i = 0;
  return x.map((at) => {
    while (i + 1 < places.length && places[i + 1] <= at) i++;
    if (!places.length || at < places[0] || at > places[places.length - 1] || !isNumber(values[i])) return null;
    if (places[i] === at || i + 1 >= places.length || !isNumber(values[i + 1])) return values[i];
    return values[i] + ((values[i + 1] - values[i]) * (at - places[i])) / (places[i + 1] - places[i]);
  });
}

// ---- the bar ----

const THEMES = ["system", "light", "dark"];
function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("shelflife-theme", theme);
  } catch {
    // it then lasts as long as the page
  }
  $("theme").textContent = `Theme: ${theme}`;
  for (const group of [shared, validationShared, compareShared]) group.redraw();
  drawCharts();
}

$("theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "system") + 1) % 3]));
$("smooth").addEventListener("click", () => {
  shared.smooth = compareShared.smooth = !shared.smooth;
  $("smooth").setAttribute("aria-pressed", String(shared.smooth));
  shared.redraw();
  compareShared.redraw();
});
$("reset").addEventListener("click", () => shared.zoom(null));
$("run").addEventListener("change", (event) => follow(event.target.value));
$("compare-figure").replaceChildren(...Object.keys(compareFigures).map((name) => element("option", {}, name)));
$("compare-figure").addEventListener("change", compare);
shared.listeners.add(() => {
  $("reset").disabled = shared.range === null;
  if (view.history) drawRibbons(view.history.heldSpans());
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(document.documentElement.dataset.theme ?? "system"));
document.addEventListener("visibilitychange", refresh);

// Seconds pass without messages too: a gateway that says nothing for 5 s is gone itself.
setInterval(() => {
  const silent = (Date.now() - heardAt) / 1000;
  if (view.name === null || silent < 5) return;
  view.link = "lost";
  view.silence = silent;
  showState();
}, 1000);

setTheme(document.documentElement.dataset.theme ?? "system");
loadRuns();
