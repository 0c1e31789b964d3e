"""The example client against `shelflife predict`: both get the same frames and texts and must give the same probabilities.

    export_client.py SHELFLIFE FOLDER MODEL.onnx CLIENT.mjs

FOLDER is the small dataset of common.bash. Frames come from the dataset as PNG, so that the client sees what the import stored.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib

# Texts that the two tokenisers must cut alike: accents, CJK, punctuation, unknown signs, special tokens, more than max_tokens, nothing.
TEXTS = ["Café LIVE: 大风 warning!!", "最新消息 heute Ärger, naïve coöperation", "[SEP] [MASK]x\u200b tab\there…", "\u2603 " + "storm " * 60, "ｆｕｌｌ width １２３", " "]


def read_png(path):
    """The pixels of an 8-bit R G B PNG, row filters undone."""
    data = open(path, "rb").read()
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (8, 2), path
        elif kind == b"IDAT":
            packed += body
        at += 12 + size
    raw, stride = zlib.decompress(packed), 3 * width
    above, pixels = bytearray(stride), bytearray()
    for y in range(height):
        kind, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for x in range(stride):
            left, up, corner = row[x - 3] if x > 2 else 0, above[x], above[x - 3] if x > 2 else 0
            p = left + up - corner
            nearest = min((abs(p - left), 0, left), (abs(p - up), 1, up), (abs(p - corner), 2, corner))[2]
            row[x] = (row[x] + (0, left, up, (left + up) // 2, nearest)[kind]) & 255
        pixels += row
        above = row
    return bytes(pixels)


def main():
    shelflife, folder, model, client = sys.argv[1:]
    rows = [json.loads(line) for line in open(folder + "/clips/manifest.jsonl")]
    test = [row for row in rows if row["split"] == "test"][:8]
    worst = 0.0
    for number, row in enumerate(test):
        with tempfile.TemporaryDirectory() as scratch:
            subprocess.run([shelflife, "inspect", folder + "/dataset", "--sample", row["id"], "--png", scratch], check=True, stdout=subprocess.DEVNULL)
            with open(scratch + "/frames.rgb", "wb") as out:
                for name in sorted(os.listdir(scratch)):
                    if name.endswith(".png"):
                        out.write(read_png(f"{scratch}/{name}"))
            texts = {"title": row["title"], "ocr": TEXTS[number % len(TEXTS)]}
            options = [word for field, text in texts.items() for word in ("--" + field, text)]
            published = ["--published", "2026-01-01T00:00:00Z"]
            ours = json.loads(subprocess.run([shelflife, "predict", folder + "/run", f"{folder}/clips/{row['video']}", "--json", *options, *published],
                                             check=True, capture_output=True).stdout)
            theirs = json.loads(subprocess.run(["node", client, model, "--json", *options, *published, "--visual", scratch + "/frames.rgb"],
                                               check=True, capture_output=True).stdout)
        assert theirs["label"] == ours["label"] and theirs["duration_s"] == ours["duration_s"], (ours, theirs)
        assert (theirs["expires"] or "")[:19] == (ours["expires"] or "")[:19], (ours, theirs)
        for branch, found in theirs["branches"].items():
            for a, b in zip(found["probabilities"], ours["branches"][branch]["probabilities"].values()):
                worst = max(worst, abs(a - b))
    print(f"the example client on {len(test)} clips: largest difference of a probability {worst:.2e}")
    return 0 if test and worst < 1e-5 else 1


sys.exit(main())
