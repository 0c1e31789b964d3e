// Runs an exported model in onnxruntime on the inputs of FILE.check.safetensors and compares the logits with those in it.
//     node check_onnx.mjs FILE.onnx [BOUND]        BOUND: of a logit's difference, 1e-4
// Exit code 0: same argmax everywhere, logits within the bound; 1: not. Samples go through in batches of several sizes, since the batch is a free
// dimension, and once more with the padding cut off where a batch allows it.
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-node";

const bytesOf = { F32: 4, I64: 8, U8: 1, BOOL: 1 };
const typeOf = { F32: "float32", I64: "int64", U8: "uint8", BOOL: "bool" };
const arrayOf = { F32: Float32Array, I64: BigInt64Array, U8: Uint8Array, BOOL: Uint8Array };

function readSafetensors(path) {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + length).toString("utf8"));
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const bytes = file.buffer.slice(file.byteOffset + 8 + length + from, file.byteOffset + 8 + length + to);
    tensors[name] = { dtype, shape, data: new arrayOf[dtype](bytes) };
  }
  return tensors;
}

// Samples [from, to) of a tensor, and of each the first `items` items when that is given.
function cut(tensor, from, to, items) {
  const [, rows, ...inner] = tensor.shape;
  const width = inner.reduce((a, b) => a * b, 1);
  const kept = items ?? rows;
  const data = new arrayOf[tensor.dtype]((to - from) * kept * width);
  for (let n = from; n < to; n++)
    data.set(tensor.data.subarray(n * rows * width, (n * rows + kept) * width), (n - from) * kept * width);
  return new ort.Tensor(typeOf[tensor.dtype], data, [to - from, kept, ...inner]);
}

// The longest of samples [from, to) by their mask.
function longest(mask, from, to) {
  const rows = mask.shape[1];
  let most = 1;
  for (let n = from; n < to; n++) {
    let length = 0;
    for (let t = 0; t < rows; t++) length += mask.data[n * rows + t];
    most = Math.max(most, length);
  }
  return most;
}

function argmax(values, at, count) {
  let best = 0;
  for (let k = 1; k < count; k++) if (values[at + k] > values[at + best]) best = k;
  return best;
}

const [, , path, bound] = process.argv;
const absolute = bound === undefined ? 1e-4 : Number(bound);
const tensors = readSafetensors(`${path}.check.safetensors`);
const session = await ort.InferenceSession.create(path, { intraOpNumThreads: 1 });
const total = Object.values(tensors)[0].shape[0];
const found = {};

async function run(from, to, trim) {
  const feeds = {};
  for (const name of session.inputNames) {
    const mask = tensors[name.endsWith(".mask") ? name : `${name}.mask`];
    if (!tensors[name] || !mask) throw new Error(`${path}.check.safetensors has no input ${name}`);
    feeds[name] = cut(tensors[name], from, to, trim ? longest(mask, from, to) : undefined);
  }
  const results = await session.run(feeds);
  for (const name of session.outputNames.filter((n) => n.startsWith("logits."))) {
    const branch = (found[name] ??= { largest: 0, different: 0, count: 0 });
    const expected = tensors[name], classes = expected.shape[1], logits = results[name].data;
    const probabilities = results[name.replace("logits.", "probabilities.")].data;
    for (let n = 0; n < to - from; n++) {
      let sum = 0;
      for (let k = 0; k < classes; k++) {
        const difference = Math.abs(logits[n * classes + k] - expected.data[(from + n) * classes + k]);
        if (!(difference <= branch.largest)) branch.largest = difference; // NaN must not pass
        sum += probabilities[n * classes + k];
      }
      if (!(Math.abs(sum - 1) < 1e-5)) throw new Error(`${name}: the probabilities of sample ${from + n} add up to ${sum}`);
      branch.different += argmax(logits, n * classes, classes) !== argmax(expected.data, (from + n) * classes, classes);
      branch.count++;
    }
  }
}

for (let from = 0, size = 1; from < total; from += size, size = (size % 7) + 1) {
  await run(from, Math.min(from + size, total), false);
  await run(from, Math.min(from + size, total), true);
}
let good = Object.keys(found).length > 0;
for (const [name, { largest, different, count }] of Object.entries(found)) {
  console.log(`${name}: ${count} results, largest difference ${largest.toExponential(2)}, ${different} other labels`);
  good &&= different === 0 && largest <= absolute;
}
process.exit(good ? 0 : 1);
