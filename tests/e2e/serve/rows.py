"""python3 rows.py FOLDER: for each clip of FOLDER/clips/manifest.jsonl an .npy with one to four rows of five numbers, and clips/rows.jsonl that names them."""
import json
import os
import random
import struct
import sys


def npy(rows, descr="<f4", fortran=False, code="<%df"):
    head = ("{'descr': '%s', 'fortran_order': %s, 'shape': (%d, %d), }" % (descr, fortran, len(rows), len(rows[0]))).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    values = [value for row in rows for value in row]
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + struct.pack(code % len(values), *values)


def main(folder):
    random.seed(3)
    os.mkdir(folder + "/rows")
    with open(folder + "/clips/manifest.jsonl") as lines, open(folder + "/clips/rows.jsonl", "w") as out:
        for number, line in enumerate(lines):
            row = json.loads(line)
            del row["video"]
            path = f"{folder}/rows/{number}.npy"
            with open(path, "wb") as file:
                file.write(npy([[random.gauss(0, 1) for _ in range(5)] for _ in range(1 + number % 4)]))
            row["features"] = {"audio": path}
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
