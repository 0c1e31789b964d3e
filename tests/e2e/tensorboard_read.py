"""Reads a run's event files with a reader of its own (frames, masked CRC32C by table, Google's protobuf) and compares with metrics.jsonl. Called by status.sh."""
import glob
import json
import math
import struct
import sys

sys.path.insert(0, sys.argv[1])
from proto import tensorboard_pb2

run = sys.argv[2]
TABLE = []
for n in range(256):
    for _ in range(8):
        n = (n >> 1) ^ 0x82F63B78 if n & 1 else n >> 1
    TABLE.append(n)


def masked(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path, killed):
    data = open(path, "rb").read()
    at = 0
    while at < len(data):
        head = data[at : at + 8]
        (length,) = struct.unpack("<Q", head.ljust(8, b"\0"))
        if killed and at + 16 + length > len(data):
            return  # kill -9 came in the middle of a write: readers stop there
        assert struct.unpack("<I", data[at + 8 : at + 12])[0] == masked(head), path
        body = data[at + 12 : at + 12 + length]
        assert len(body) == length, "the file is cut off"
        assert struct.unpack("<I", data[at + 12 + length : at + 16 + length])[0] == masked(body), path
        at += 16 + length
        yield tensorboard_pb2.Event.FromString(body)


scalars = {}
files = sorted(glob.glob(run + "/tensorboard/events.out.tfevents.*"))
assert len(files) == 2, files  # one from each start
for number, path in enumerate(files):
    for index, event in enumerate(records(path, killed=number == 0)):
        if index == 0:
            assert event.file_version == "brain.Event:2"
        if event.HasField("session_log"):  # later steps of earlier files are void
            assert number == 1 and event.session_log.status == 1
            scalars = {key: value for key, value in scalars.items() if key[1] < event.step}
        for value in event.summary.value:
            scalars[value.tag, event.step] = value.simple_value

steps = 0
for line in open(run + "/metrics.jsonl"):
    entry = json.loads(line)
    pairs = []
    if entry["kind"] == "step":
        pairs = [(group, group) for group in ("loss", "accuracy", "score", "ratio", "coefficient", "cosine", "update_norm", "parameter_norm")]
        steps += 1
    for group, tag in pairs:
        for name, value in entry[group].items():
            got = scalars.get((f"{tag}/{name}", entry["step"]))
            if value is None:
                assert got is None
            else:
                assert got is not None and math.isclose(got, value, rel_tol=1e-6, abs_tol=1e-30), (tag, name, entry["step"], got, value)
    if entry["kind"] == "validation":
        for name, figures in entry["branches"].items():
            got = scalars[f"validation_accuracy/{name}", entry["step"]]
            assert math.isclose(got, figures["accuracy"], rel_tol=1e-6), (name, entry)
assert steps > 10 and max(step for _, step in scalars) == steps, steps
print(f"{steps} steps, {len(scalars)} scalars")
