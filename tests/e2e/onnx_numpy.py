#!/usr/bin/env python3
"""Checks an exported ONNX model with python3-onnx and runs it with numpy.

    onnx_numpy.py FILE.onnx [BOUND]        BOUND: of a logit's difference, 1e-4

The checker looks at the whole file with strict shape inference. Then every sample of FILE.check.safetensors goes through a plain interpreter of
the operators that the exporter uses, and the logits must be those of the file. It shares no code with the exporter and needs no runtime: an
operator that the exporter begins to use fails here until it is added. Exit code 77 when python3-onnx is not installed.
"""
import json
import math
import struct
import sys

try:
    import numpy as np
    import onnx
    from onnx import numpy_helper
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

DTYPES = {"F32": np.float32, "I64": np.int64, "U8": np.uint8, "BOOL": np.bool_}
CASTS = {1: np.float32, 2: np.uint8, 7: np.int64, 9: np.bool_}


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[t["data_offsets"][0]:t["data_offsets"][1]], DTYPES[t["dtype"]]).reshape(t["shape"]) for name, t in header.items()}


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def layer_norm(x, gamma, beta, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(epsilon)) * gamma + beta


def conv(x, w, b, stride):
    n, c, h, width = x.shape
    out, _, p, _ = w.shape
    assert stride == [p, p], "patches lie side by side"
    patches = x.reshape(n, c, h // p, p, width // p, p).transpose(0, 2, 4, 1, 3, 5).reshape(n, h // p, width // p, -1)
    return (patches @ w.reshape(out, -1).T + b).transpose(0, 3, 1, 2)


def reshape(x, shape):
    return x.reshape([x.shape[i] if s == 0 else s for i, s in enumerate(shape)])


def slice_rows(x, starts, ends, axes):
    index = [slice(None)] * x.ndim
    for start, end, axis in zip(starts, ends, axes):
        index[axis] = slice(start, end)
    return x[tuple(index)]


def unsqueeze(x, axes):
    for axis in sorted(int(a) for a in axes):
        x = np.expand_dims(x, axis)
    return x


erf = np.vectorize(math.erf, otypes=[np.float32])

OPS = {
    "Add": lambda a, x, y: x + y,
    "Sub": lambda a, x, y: x - y,
    "Mul": lambda a, x, y: x * y,
    "Div": lambda a, x, y: x / y,
    "Pow": lambda a, x, y: x**y,
    "Sqrt": lambda a, x: np.sqrt(x),
    "Erf": lambda a, x: erf(x),
    "MatMul": lambda a, x, y: x @ y,
    "Gemm": lambda a, x, w, b: x @ (w.T if a.get("transB") else w) + b,
    "Conv": lambda a, x, w, b: conv(x, w, b, a["strides"]),
    "Cast": lambda a, x: x.astype(CASTS[a["to"]]),
    "Where": lambda a, c, x, y: np.where(c, x, y),
    "Softmax": lambda a, x: softmax(x, a["axis"]),
    "ReduceMean": lambda a, x: x.mean(axis=tuple(a["axes"]), keepdims=a.get("keepdims", 1) == 1),
    "ReduceSum": lambda a, x, axes: x.sum(axis=tuple(axes), keepdims=a.get("keepdims", 1) == 1),
    "LayerNormalization": lambda a, x, g, b: layer_norm(x, g, b, a["epsilon"]),
    "Transpose": lambda a, x: x.transpose(a["perm"]),
    "Reshape": lambda a, x, shape: reshape(x, shape),
    "Unsqueeze": lambda a, x, axes: unsqueeze(x, axes),
    "Gather": lambda a, x, i: np.take(x, i, axis=a.get("axis", 0)),
    "Slice": lambda a, x, starts, ends, axes: slice_rows(x, starts, ends, axes),
    "Concat": lambda a, *x: np.concatenate(x, axis=a["axis"]),
    "Expand": lambda a, x, shape: x * np.ones(shape, x.dtype),
    "Shape": lambda a, x: np.array(x.shape, np.int64),
}


def run(graph, constants, feeds):
    values = {**constants, **feeds}
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        values[node.output[0]] = OPS[node.op_type](attributes, *(values[name] for name in node.input))
    return {output.name: values[output.name] for output in graph.output}


def main():
    path = sys.argv[1]
    bound = float(sys.argv[2]) if len(sys.argv) > 2 else 1e-4
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    tensors = read_safetensors(path + ".check.safetensors")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    names = {p.key for p in model.metadata_props}
    assert {"labels", "durations_s", "preprocessing", "config", "step"} <= names, names
    total = next(iter(tensors.values())).shape[0]
    worst, labels = 0.0, 0
    for start in range(0, total, 5):
        results = run(model.graph, constants, {i.name: tensors[i.name][start:start + 5] for i in model.graph.input})
        for name, found in results.items():
            if not name.startswith("logits."):
                assert np.allclose(found.sum(-1), 1, atol=1e-5), name
                continue
            expected = tensors[name][start:start + 5]
            assert found.dtype == np.float32 and np.isfinite(found).all(), name
            worst = max(worst, float(np.abs(found - expected).max()))
            labels += int((found.argmax(-1) != expected.argmax(-1)).sum())
    print(f"{path}: {len(model.graph.node)} nodes, {total} samples, largest difference {worst:.2e}, {labels} other labels")
    return 0 if labels == 0 and worst <= bound else 1


sys.exit(main())
