// Numbers and times as people read them. Everything that comes from outside goes into the page as text, never as markup.

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

// Four significant digits, without an exponent where that stays short.
export function figure(value) {
  if (!isNumber(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2).replace("e+", "e");
  return size >= 1000 ? count(Math.round(value)) : String(Number(value.toPrecision(4)));
}

export const count = (value) => (isNumber(value) ? Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f") : "–");
export const percent = (value, digits = 1) => (isNumber(value) ? `${(100 * value).toFixed(digits)}\u202f%` : "–");

export function bytes(value) {
  if (!isNumber(value)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)}\u202f${units[unit]}`;
}

export function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s}\u202fs`;
  if (s < 3600) return `${Math.floor(s / 60)}\u202fmin ${s % 60}\u202fs`;
  if (s < 86400) return `${Math.floor(s / 3600)}\u202fh ${Math.floor((s % 3600) / 60)}\u202fmin`;
  return `${Math.floor(s / 86400)}\u202fd ${Math.floor((s % 86400) / 3600)}\u202fh`;
}

const two = (n) => String(n).padStart(2, "0");
export function clock(seconds) {
  if (!isNumber(seconds) || seconds <= 0) return "–";
  const d = new Date(seconds * 1000);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}
export function date(seconds) {
  if (!isNumber(seconds) || seconds <= 0) return "–";
  const d = new Date(seconds * 1000);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock(seconds)}`;
}

// element("td", { class: "text" }, "words", child…)
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    made.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children) if (child !== null && child !== undefined) made.append(child);
  return made;
}
