#!/usr/bin/env python3
"""Makes a manifest (docs/manifest.md) from arrays and JSON lines that others have made: one line a sample, row i of every array belongs to line i.

    manifest.py --out M.jsonl [--rows FILE.jsonl] --label WHERE --labels A,B,… [--split WHERE] [--text KEY=WHERE]… [--texts NAME=WHERE]… [--features NAME=FILE.npy]… …

WHERE is the name of a key in the lines of --rows, or an array FILE.npy with one whole number a sample; FILE.npy:2 is column 2 of one with several.
Needs Python 3 and numpy. README.md beside this file has a command for each of some public sets.
"""
import argparse
import datetime
import gzip
import json
import lzma
import os
import sys

import numpy

SPLITS = {"valid": "validation", "dev": "validation", "train_synth": "train"}  # what others call them


def fail(text):
    sys.exit(f"manifest.py: {text}")


def read_rows(path, last):
    opened = lzma.open if path.endswith(".xz") else gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    return rows[-last:] if last else rows


class Column:
    """One value a sample, from an array or from the lines."""

    def __init__(self, where, rows, what):
        self.what = what
        path, _, number = where.partition(":")
        if path.endswith(".npy"):
            values = numpy.load(path)
            if number:
                values = values[:, int(number)]
            if values.ndim != 1 or values.dtype.kind not in "ui":
                fail(f"{what}: {where} is {values.dtype} {values.shape}, expected one whole number a sample")
            self.values = values.tolist()
        elif rows is None:
            fail(f"{what}: {where} is no .npy file, and there are no --rows whose key it could be")
        else:
            self.values = [row.get(where) for row in rows]

    def named(self, i, names):
        """The name of a number; what is text already stays."""
        value = self.values[i]
        if isinstance(value, str) or value is None:
            return value
        if not 0 <= value < len(names):
            fail(f"{self.what}: sample {i} has {value}, there are {len(names)} names")
        return names[value]


def pairs(texts, what):
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            fail(f"--{what} {text}: expected NAME=VALUE")
        yield name, value


def arrays(texts, what, out, count):
    """{modality: path} of stacks with `count` rows. FILE.npy*SCALE is written beside the manifest, multiplied, as float32."""
    found = {}
    for name, value in pairs(texts, what):
        path, star, scale = value.partition("*")
        array = numpy.load(path, mmap_mode="r")
        if count is not None and array.shape[0] != count:
            fail(f"--{what} {name}: {path} has {array.shape[0]} rows, the others have {count}")
        count = array.shape[0]
        if star:
            path = f"{out}.{name}.npy"
            numpy.save(path, numpy.multiply(array, float(scale), dtype=numpy.float32))
        found[name] = os.path.abspath(path)
    return found, count


def cut_images(spec, folder, count):
    """Writes the pictures of one file as files of their own."""
    path, _, offsets = spec.partition(",")
    ends = numpy.load(offsets)
    if count is not None and len(ends) != count + 1:
        fail(f"--images: {offsets} has {len(ends)} offsets, expected {count + 1}")
    os.makedirs(folder, exist_ok=True)
    with open(path, "rb") as f:
        data = f.read()
    for i in range(len(ends) - 1):
        with open(f"{folder}/{i:06}.jpg", "wb") as f:
            f.write(data[int(ends[i]):int(ends[i + 1])])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True, help="the manifest to write")
    p.add_argument("--rows", help="JSON lines, may be .xz or .gz")
    p.add_argument("--last", type=int, help="only the last N of --rows")
    p.add_argument("--id", default="id", help="key of the id; a number without --rows")
    p.add_argument("--label", required=True, metavar="WHERE")
    p.add_argument("--labels", required=True, help="names of labels 0, 1, …, with commas")
    p.add_argument("--split", metavar="WHERE")
    p.add_argument("--splits", default="train,validation,test", help="names of splits 0, 1, …")
    p.add_argument("--text", action="append", default=[], metavar="KEY=WHERE", help="title, ocr or asr")
    p.add_argument("--texts", action="append", default=[], metavar="NAME=WHERE", help="text of one modality alone")
    p.add_argument("--published", metavar="KEY", help="key of a unix time")
    p.add_argument("--features", action="append", default=[], metavar="NAME=FILE.npy[*SCALE]")
    p.add_argument("--tokens", action="append", default=[], metavar="NAME=FILE.npy")
    p.add_argument("--images", metavar="FILE,OFFSETS.npy", help="pictures in one file: OFFSETS has one more than there are samples")
    p.add_argument("--videos", metavar="FOLDER", help="the file named as the id's last part; lines without one are left out")
    a = p.parse_args()

    rows = read_rows(a.rows, a.last) if a.rows else None
    count = len(rows) if rows is not None else None
    features, count = arrays(a.features, "features", a.out, count)
    tokens, count = arrays(a.tokens, "tokens", a.out, count)
    if count is None:
        fail("there is nothing to make lines of: give --rows, --features or --tokens")
    names, splits = a.labels.split(","), a.splits.split(",")
    label = Column(a.label, rows, "--label")
    split = Column(a.split, rows, "--split") if a.split else None
    texts = {key: Column(where, rows, "--text " + key) for key, where in pairs(a.text, "text")}
    own_texts = {name: Column(where, rows, "--texts " + name) for name, where in pairs(a.texts, "texts")}
    for column in [label, split, *texts.values(), *own_texts.values()]:
        if column is not None and len(column.values) != count:
            fail(f"{column.what} has {len(column.values)} rows, the others have {count}")
    images = a.out + ".images" if a.images else None
    if images:
        cut_images(a.images, images, count)
    videos = {os.path.splitext(name)[0]: os.path.join(os.path.abspath(a.videos), name)
              for name in os.listdir(a.videos)} if a.videos else {}

    written = 0
    with open(a.out, "w", encoding="utf-8") as out:
        for i in range(count):
            line = {"id": str(rows[i][a.id]) if rows is not None else f"{i:07}", "label": label.named(i, names)}
            video = f"{os.path.abspath(images)}/{i:06}.jpg" if images else videos.get(line["id"].split(":")[-1])
            if a.videos and video is None:
                continue
            if video is not None:
                line["video"] = video
            if split is not None:
                name = split.named(i, splits)
                line["split"] = SPLITS.get(name, name)
            line.update({key: column.values[i] for key, column in texts.items() if column.values[i]})
            if own_texts:
                line["texts"] = {name: column.values[i] or "" for name, column in own_texts.items()}
            if a.published:
                line["published"] = datetime.datetime.fromtimestamp(rows[i][a.published], datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            for key, found in (("features", features), ("tokens", tokens)):
                if found:
                    line[key] = {name: {"path": path, "row": i} for name, path in found.items()}
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
            written += 1
    print(f"{a.out}: {written} lines")


if __name__ == "__main__":
    main()
