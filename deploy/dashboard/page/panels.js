// The parts of the page that are words and tables. Each function shows what it is given and keeps nothing.
import { bytes, clock, count, date, duration, element, figure, isNumber, percent } from "/format.js";

const $ = (id) => document.getElementById(id);

// rows: [[cell…]…]; a cell is a text, a node, or { node, class, title }. columns: [{ name, class, title }]
export function table(columns, rows, caption) {
  const head = element("tr", {}, ...columns.map((c) => element("th", { scope: "col", class: c.class, title: c.title }, c.name)));
  const body = element("tbody");
  for (const row of rows) {
    const line = element("tr", { "aria-current": row.current ? "true" : undefined });
    row.cells.forEach((cell, i) => {
      const plain = typeof cell === "string" || cell instanceof Node ? { node: cell } : cell;
      const classes = [columns[i].class, plain.class].filter(Boolean).join(" ");
      line.append(element("td", { class: classes || undefined, title: plain.title, "data-key": columns[i].key }, plain.node));
    });
    body.append(line);
  }
  return element("table", { "aria-label": caption }, element("thead", {}, head), body);
}

export const empty = (text) => element("p", { class: "empty" }, text);

export function summary(view) {
  const { status, history, link } = view;
  const step = Math.max(status?.step ?? 0, history?.last ?? 0), total = status?.run?.total_steps ?? 0;
  const share = total > 0 ? Math.min(1, step / total) : 0;
  const perEpoch = status?.run?.steps_per_epoch ?? 0, epochs = status?.run?.epochs ?? 0;
  const epoch = perEpoch > 0 ? `, epoch ${Math.min(epochs || Infinity, Math.floor(Math.max(0, step - 1) / perEpoch) + 1)}${epochs ? ` of ${epochs}` : ""}` : "";
  $("progress-text").textContent = `Step ${count(step)}${total ? ` of ${count(total)}` : ""}${epoch}${total ? ` — ${(100 * share).toFixed(share === 1 ? 0 : 1)}\u202f%` : ""}`;
  const over = link === "finished" || link === "gone" || link === "files";
  $("eta-text").textContent = over ? "" : isNumber(status?.eta_seconds) ? `${duration(status.eta_seconds)} left, until ${clock(Date.now() / 1000 + status.eta_seconds)}` : status ? "time left not known yet" : "";
  const bar = $("progress");
  bar.hidden = !total;
  bar.setAttribute("aria-valuenow", (100 * share).toFixed(1));
  bar.setAttribute("aria-valuetext", $("progress-text").textContent);
  bar.firstElementChild.style.width = `${100 * share}%`;
  facts(view, over);
}

function facts({ status, history }, over) {
  const rows = [];
  const add = (key, name, value, small) => rows.push([key, name, value, small]);
  const newest = (column) => (column?.length ? column[column.length - 1] : null);
  const started = status?.run?.started ?? history?.time[0], until = over ? status?.time ?? newest(history?.time) : Date.now() / 1000;
  if (started) add("elapsed", over ? "Ran for" : "Running for", duration(until - started), `since ${date(started).slice(5, 16)}`);
  add("throughput", over ? "Last throughput" : "Throughput", figure(status?.samples_per_second ?? newest(history?.throughput)), "samples/s");
  if (isNumber(status?.bytes_per_second)) add("traffic", "Traffic", bytes(status.bytes_per_second), "per second");
  add("workers", "Workers", count(status ? status.workers.length : newest(history?.workers)), status?.lost_workers ? `${count(status.lost_workers)} lost so far` : "");
  const best = history?.validations.filter((v) => v.best).at(-1);
  if (isNumber(status?.best_value)) add("best", "Best validation", figure(status.best_value), `at step ${count(status.best_step)}`);
  else if (best) add("best", "Best validation", percent(best.branch.at(-1)?.accuracy), `at step ${count(best.step)}`);
  if (isNumber(status?.last_step?.rate)) add("rate", "Learning rate", figure(status.last_step.rate), "");
  if (isNumber(status?.last_step?.seconds)) add("step", "Last step", `${figure(status.last_step.seconds)}\u202fs`, `${count(status.last_step.samples)} samples`);
  if (isNumber(status?.last_step?.flips)) add("flips", "Lead changed", count(status.last_step.flips), status.last_step.flips === 1 ? "time" : "times");
  if (status?.run?.parameters) add("parameters", "Parameters", status.run.parameters >= 1e6 ? `${figure(status.run.parameters / 1e6)}\u202fM` : count(status.run.parameters), status.run.mode ?? "");
  if (status?.rollbacks) add("rollbacks", "Rollbacks", count(status.rollbacks), "");
  if (status?.refused) add("refused", "Refused", count(status.refused), "peers, messages");
  $("facts").replaceChildren(...rows.map(([key, name, value, small]) =>
    element("div", { "data-fact": key }, element("dt", {}, name), element("dd", {}, value, small ? element("small", {}, small) : null))));
}

// ---- validation ----

export function validation(history, colors, chosen, choose) {
  const last = history?.validations.at(-1), branches = history?.branches ?? [];
  if (!last) {
    $("confusion-branch").replaceChildren();
    $("confusion").replaceChildren(empty("No validation yet."));
    $("validation").replaceChildren(empty("No validation yet."));
    $("validation-note").textContent = "";
    return;
  }
  $("validation-note").textContent = `step ${count(last.step)}, ${count(last.samples)} samples in ${last.seconds < 60 ? `${figure(last.seconds)}\u202fs` : duration(last.seconds)}${last.best ? ", the best so far" : ""}`;
  const columns = [{ name: "Branch", class: "text" }, { name: "Accuracy", key: "accuracy" }, { name: "Macro F1", key: "macro_f1" }, { name: "Loss", key: "loss" },
    { name: "Calibration", title: "expected calibration error", key: "ece" }, { name: "Ordinal", title: "mean distance between label and prediction, in labels", key: "ordinal_error" }];
  $("validation").replaceChildren(table(columns, last.branch.map((b, i) => ({
    cells: [{ node: named(branches[i] ?? `branch ${i}`, colors[i]), title: branches[i] }, percent(b.accuracy), percent(b.macro_f1), figure(b.loss), figure(b.ece), figure(b.ordinal_error)] })), "Figures of the last validation"));
  tabs(branches, chosen, choose);
  $("confusion").replaceChildren(matrix(last.branch[chosen], history.labels, branches[chosen]));
}

function named(name, color) {
  const key = element("span", { class: "key" });
  key.style.background = `var(${color ?? "--faint"})`;
  return element("span", {}, key, name);
}

function tabs(branches, chosen, choose) {
  const box = $("confusion-branch"), held = box.contains(document.activeElement);
  const buttons = branches.map((name, i) => {
    const button = element("button", { type: "button", role: "radio", "aria-checked": String(i === chosen), tabindex: i === chosen ? "0" : "-1" }, name);
    button.addEventListener("click", () => choose(i));
    button.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      choose((chosen + move + branches.length) % branches.length);
    });
    return button;
  });
  box.replaceChildren(...buttons);
  if (held) buttons[chosen]?.focus();
}

function matrix(branch, labels, name) {
  const k = labels.length, cells = branch?.confusion ?? [];
  if (!k || cells.length !== k * k) return empty("The confusion matrix was not sent.");
  const head = element("tr", {}, element("th", { title: "rows: the truth; columns: what was said" }, "true \\ said"), ...labels.map((l) => element("th", { scope: "col", title: l }, l)), element("th", { scope: "col" }, "found"));
  const body = element("tbody");
  for (let t = 0; t < k; t++) {
    const row = cells.slice(t * k, (t + 1) * k), sum = row.reduce((a, b) => a + b, 0);
    const line = element("tr", {}, element("th", { scope: "row", title: labels[t] }, labels[t]));
    row.forEach((value, p) => {
      const share = sum > 0 ? value / sum : 0;
      const cell = element("td", { class: t === p ? "right" : undefined, title: `${labels[t]} said to be ${labels[p]}: ${value} of ${sum}` }, value === 0 ? "·" : count(value));
      cell.style.background = `rgba(var(--heat), ${(0.04 + 0.5 * share).toFixed(3)})`;
      line.append(cell);
    });
    line.append(element("td", {}, sum > 0 ? percent(row[t] / sum, 0) : "–"));
    body.append(line);
  }
  return element("table", { class: "confusion", "aria-label": `Confusion matrix of ${name}` }, element("thead", {}, head), body);
}

// ---- who takes part ----

function health(heard, status, view) {
  const age = Math.max(0, (status.time ?? 0) - heard) + (view.silence ?? 0);
  if (!isNumber(heard) || heard <= 0) return { node: element("span", { class: "health lost" }, "never heard") };
  if (view.link === "finished") return { node: element("span", { class: "health" }, "ended") };
  const state = age < 5 ? ["", "ok"] : age < 15 ? ["late", `${duration(age)} silent`] : ["lost", `${duration(age)} silent`];
  return { node: element("span", { class: `health ${state[0]}`, title: `last heard ${date(heard)}` }, state[1]) };
}

function meter(share) {
  const bar = element("i");
  bar.style.width = `${Math.round(100 * Math.min(1, Math.max(0, share)))}%`;
  return element("span", { class: "meter extra", "aria-hidden": "true" }, bar);
}

export function workers(view) {
  const list = view.status?.workers ?? [], fastest = Math.max(0, ...list.map((w) => w.samples_per_second ?? 0));
  $("workers-note").textContent = list.length ? `${count(list.length)} at work, ${figure(list.reduce((a, w) => a + (w.samples_per_second ?? 0), 0))} samples/s together` : "";
  const columns = [{ name: "Worker", class: "text" }, { name: "Host", class: "text name" }, { name: "Health", class: "text" }, { name: "Doing", class: "text extra" }, { name: "Samples/s", key: "samples_per_second" }, { name: "Waits", title: "share of its time that it waited for others" },
    { name: "Behind", title: "steps between its parameters and the newest", class: "extra" }, { name: "Slots", class: "extra" }, { name: "Threads", class: "extra" }, { name: "Memory", class: "extra" }, { name: "Sent", class: "extra" }, { name: "Received", class: "extra" }];
  const rows = list.map((w) => ({ cells: [String(w.rank ?? "–"), { node: w.host ?? "–", title: `${w.host ?? ""}, process ${w.pid ?? "–"}` }, health(w.heard, view.status, view), w.doing ?? "–",
    element("span", {}, figure(w.samples_per_second), meter(fastest > 0 ? w.samples_per_second / fastest : 0)), percent(w.wait_share, 0), count(w.staleness), count(w.slots), count(w.threads), bytes(w.memory), bytes(w.sent), bytes(w.received)] }));
  $("workers").replaceChildren(rows.length ? table(columns, rows, "Workers") : empty("No worker takes part."));
}

export function servers(view) {
  const list = view.status?.servers ?? [];
  $("servers-note").textContent = list.length ? `${bytes(list.reduce((a, s) => a + (s.parameter_bytes ?? 0), 0))} of parameters` : "";
  const columns = [{ name: "Server", class: "text" }, { name: "Host", class: "text name" }, { name: "Health", class: "text" }, { name: "Endpoint", class: "text name extra" }, { name: "Steps applied" }, { name: "Update" }, { name: "Queue", title: "messages that wait to be sent", class: "extra" },
    { name: "Blocks", class: "extra" }, { name: "Dropped", title: "messages that did not count", class: "extra" }, { name: "Memory", class: "extra" }, { name: "Sent", class: "extra" }, { name: "Received", class: "extra" }];
  const rows = list.map((s) => ({ cells: [String(s.rank ?? "–"), { node: s.host ?? "–", title: `${s.host ?? ""}, process ${s.pid ?? "–"}` }, health(s.heard, view.status, view), { node: s.endpoint ?? "–", title: s.endpoint }, count(s.version),
    isNumber(s.update_seconds) ? `${figure(1000 * s.update_seconds)}\u202fms` : "–", count(s.queue), count(s.blocks), count(s.dropped), bytes(s.memory), bytes(s.sent), bytes(s.received)] }));
  $("servers").replaceChildren(rows.length ? table(columns, rows, "Servers") : empty("No server is known."));
}

// ---- what happened ----

export function events(list) {
  if (!list.length) return $("events").replaceChildren(empty("Nothing has happened yet."));
  $("events").replaceChildren(element("ol", {}, ...list.slice(-64).reverse().map((e) => {
    const level = e.level === "error" ? "error" : e.level === "warning" || /lost|refused|warning|rollback/.test(e.name ?? "") ? "warning" : "";
    return element("li", { class: level || undefined }, element("time", { title: `${date(e.time)}, step ${e.step ?? "–"}` }, clock(e.time)), element("span", { class: "what", title: e.name }, e.name ?? ""), element("span", { class: "says" }, e.text ?? ""));
  })));
}

export function snapshots(status) {
  const list = status?.snapshots ?? [];
  const columns = [{ name: "Step", class: "text" }, { name: "Written", class: "text" }, { name: "Size" }, { name: "Took" }, { name: "", class: "text" }];
  $("snapshots").replaceChildren(list.length ? table(columns, list.slice().reverse().map((s) => ({
    cells: [count(s.step), { node: clock(s.time), title: date(s.time) }, bytes(s.size), isNumber(s.seconds) ? `${figure(s.seconds)}\u202fs` : "–", s.best ? "best" : ""] })), "Snapshots") : empty("None written yet."));
}

export function runs(list, current, open) {
  const columns = [{ name: "Run", class: "text name" }, { name: "State", class: "text" }, { name: "Step" }, { name: "Accuracy", title: "of the fused branch in the last validation" }, { name: "Best" }, { name: "Changed", class: "extra" }];
  $("runs").replaceChildren(table(columns, list.map((run) => {
    const link = element("button", { type: "button", title: `show ${run.name}` }, named(run.name, run.color));
    link.addEventListener("click", () => open(run.name));
    return { current: run.name === current, cells: [{ node: link, title: run.name }, run.link === "live" ? run.state ?? "live" : run.link, count(run.step), percent(run.accuracy), percent(run.best_accuracy), { node: date(run.modified).slice(5, 16), title: date(run.modified) }] };
  }), "All runs"));
}
