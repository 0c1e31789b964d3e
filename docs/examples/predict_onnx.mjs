// Predicts with an exported model: makes the inputs as FILE.onnx.json says, runs them in onnxruntime, prints label, probability and expiry time.
//
//     shelflife export demo/run --out model.onnx
//     npm install onnxruntime-node
//     ffmpeg … clip frames, see docs/export.md …
//     node predict_onnx.mjs model.onnx --title "Live: storm reaches the coast" --visual frames.rgb [--published 2026-01-01T00:00:00Z]
//
// One option per text field (--title, --ocr, --asr) and one per modality of kind vit or features, named as the modality: raw R G B bytes
// (frames, image, image, 3), or little-endian float32 (rows, columns), or .npy files of these. Nothing but the sidecar is read to prepare
// inputs: this file is meant to be copied from.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as ort from "onnxruntime-node";

// ---- text: BertTokenizer ----

const isCjk = (c) =>
  (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2ceaf) ||
  (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
const isPunctuation = (s, c) =>
  (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126) || /^\p{P}$/u.test(s);
const isControl = (s) => s !== "\t" && s !== "\n" && s !== "\r" && /^\p{C}$/u.test(s);

// Words: blanks separate, every CJK character and every punctuation mark is a word of its own.
function words(text, tokenizer) {
  let clean = "";
  for (const s of text) {
    const c = s.codePointAt(0);
    if (c === 0 || c === 0xfffd || isControl(s)) continue;
    clean += isCjk(c) && tokenizer.cjk_characters_apart ? ` ${s} ` : s;
  }
  if (tokenizer.strip_accents) clean = clean.normalize("NFD").replace(/\p{Mn}/gu, "");
  if (tokenizer.lower_case) clean = clean.toLowerCase();
  let apart = "";
  for (const s of clean) apart += isPunctuation(s, s.codePointAt(0)) ? ` ${s} ` : s;
  return apart.split(/\s+/u).filter((word) => word !== "");
}

// The longest pieces of the vocabulary from the left; a word that cannot be covered is [UNK].
function pieces(word, vocabulary, unknown) {
  const characters = [...word], ids = [];
  if (characters.length > 100) return [unknown];
  for (let start = 0; start < characters.length; ) {
    let end = characters.length, id;
    for (; end > start; end--) {
      id = vocabulary.get((start > 0 ? "##" : "") + characters.slice(start, end).join(""));
      if (id !== undefined) break;
    }
    if (id === undefined) return [unknown];
    ids.push(id);
    start = end;
  }
  return ids;
}

function encode(texts, tokenizer, vocabulary) {
  const special = tokenizer.special_ids;
  const names = Object.keys(special).map((name) => name.replace(/[[\]]/g, "\\$&"));
  const ids = [special["[CLS]"]];
  for (const field of tokenizer.fields) {
    const before = ids.length;
    for (const part of (texts[field] ?? "").split(new RegExp(`(${names.join("|")})`))) // a special token written out is that token
      if (part in special) ids.push(special[part]);
      else for (const word of words(part, tokenizer)) ids.push(...pieces(word, vocabulary, special["[UNK]"]));
    if (ids.length > before) ids.push(special["[SEP]"]);
  }
  if (ids.length === 1) ids.push(special["[SEP]"]);
  if (ids.length > tokenizer.max_tokens) {
    ids.length = tokenizer.max_tokens;
    ids[ids.length - 1] = special["[SEP]"];
  }
  return ids;
}

// ---- arrays ----

// The bytes of a raw file, or of a C-ordered .npy.
function readArray(path, element) {
  let bytes = readFileSync(path);
  if (bytes.subarray(0, 6).toString("latin1") === "\x93NUMPY") {
    const wide = bytes[6] >= 2, length = wide ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8), from = wide ? 12 : 10;
    const head = bytes.subarray(from, from + length).toString("latin1");
    if (!head.includes(`'${element}'`) || head.includes("True")) throw new Error(`${path}: expected a C-ordered array of ${element}, found ${head.trim()}`);
    bytes = bytes.subarray(from + length);
  }
  return bytes;
}

// One sample's array as a tensor with batch 1; rows beyond max_items are left out evenly, as the import does it.
function arrayTensor(input, path) {
  const frames = input.kind === "vit";
  const row = (frames ? input.image * input.image * 3 : 4 * input.columns);
  const bytes = readArray(path, frames ? "|u1" : "<f4");
  const found = bytes.length / row;
  if (!Number.isInteger(found) || found < 1) throw new Error(`${path}: ${bytes.length} bytes are no whole number of items of ${row} bytes`);
  const items = Math.min(found, input.max_items), kept = new Uint8Array(items * row);
  for (let k = 0; k < items; k++) {
    const from = found > items ? Math.floor(((2 * k + 1) * found) / (2 * items)) : k;
    kept.set(bytes.subarray(from * row, (from + 1) * row), k * row);
  }
  const shape = frames ? [1, items, input.image, input.image, 3] : [1, items, input.columns];
  return frames ? new ort.Tensor("uint8", kept, shape) : new ort.Tensor("float32", new Float32Array(kept.buffer), shape);
}

// ---- the whole ----

const values = {};
let path;
for (let i = 2; i < process.argv.length; i++) {
  const argument = process.argv[i];
  if (argument === "--json") values.json = true;
  else if (argument.startsWith("--")) values[argument.slice(2)] = process.argv[++i];
  else path = argument;
}
if (!path) throw new Error("usage: node predict_onnx.mjs MODEL.onnx --title TEXT --MODALITY FILE [--published TIME] [--json]");
const sidecar = JSON.parse(readFileSync(`${path}.json`, "utf8"));
const feeds = {};
for (const input of sidecar.inputs) {
  if (input.kind === "bert") {
    const lines = readFileSync(join(dirname(path), input.tokenizer.vocabulary), "utf8").split("\n");
    const ids = encode(values, input.tokenizer, new Map(lines.map((line, id) => [line.replace(/\r$/, ""), id])));
    feeds[input.name] = new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
  } else {
    if (!values[input.name]) throw new Error(`say where the ${input.kind === "vit" ? "frames" : "rows"} are: --${input.name} FILE`);
    feeds[input.name] = arrayTensor(input, values[input.name]);
  }
  const items = feeds[input.name].dims[1];
  feeds[input.mask] = new ort.Tensor("bool", new Uint8Array(items).fill(1), [1, items]);
}
const session = await ort.InferenceSession.create(path);
const results = await session.run(feeds);
const branches = {};
for (const output of sidecar.outputs) {
  const p = [...results[output.probabilities].data];
  const best = p.indexOf(Math.max(...p));
  branches[output.branch] = { label: sidecar.labels[best].name, duration_s: sidecar.labels[best].duration_s, probability: p[best], probabilities: p };
}
const { label, duration_s, probability } = branches.fused;
const published = values.published ? Date.parse(values.published) : Date.now();
const expires = duration_s === null ? null : new Date(published + duration_s * 1000).toISOString();
if (values.json) console.log(JSON.stringify({ label, probability, duration_s, expires, branches }));
else console.log(`${label}  ${(100 * probability).toFixed(1)} %  ${expires ? `expires ${expires}` : "never expires"}`);
