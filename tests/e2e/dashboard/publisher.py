"""A run that is none: publishes messages of proto/status.proto on an XPUB socket as the coordinator does, so that tests decide every number.

    with Publisher(name="a run", folder="/tmp/x/a run") as run:
        run.step(12, loss=[1.0, 0.9, 0.8])      # published at once, and part of the next status
        run.status()                             # to whoever listens; a new subscriber gets the last one at once

Run alone it plays a run for people to look at:  python3 publisher.py FOLDER [STEPS]
"""
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

import zmq

HERE = os.path.dirname(os.path.abspath(__file__))


def load_messages():
    """The messages as Python classes, made by protoc now, so that they are those of the source tree."""
    root = os.path.join(HERE, "..", "..", "..")
    out = tempfile.mkdtemp()
    subprocess.run(["protoc", f"--proto_path={root}", f"--python_out={out}", "proto/status.proto"], check=True, cwd=root)
    sys.path.insert(0, os.path.join(out, "proto"))
    import status_pb2

    return status_pb2


pb = load_messages()
BRANCHES = ["visual", "text", "fused"]
LABELS = ["hours", "half_day", "day", "three_days", "week", "evergreen"]


class Publisher:
    def __init__(self, name="run", folder="", branches=BRANCHES, labels=LABELS, total_steps=400, steps_per_epoch=100):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.socket.setsockopt(zmq.LINGER, 0)
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self.folder = folder
        self.lock = threading.Lock()
        self.message = pb.Status(time=time.time(), state="waiting", step=0)
        run = self.message.run
        run.name, run.folder, run.version, run.config_hash = name, folder, "0.1.0", 0x1234567890ABCDEF
        run.started, run.total_steps, run.steps_per_epoch = time.time(), total_steps, steps_per_epoch
        run.epochs, run.batch, run.mode, run.parameters = total_steps // steps_per_epoch, 64, "bsp", 1234567
        run.branches.extend(branches)
        run.labels.extend(labels)
        if folder:
            os.makedirs(folder, exist_ok=True)
            self.metrics = open(os.path.join(folder, "metrics.jsonl"), "a", buffering=1)
            self.write_place()
        else:
            self.metrics = None
        self.closing = threading.Event()
        self.beating = threading.Event()
        self.beating.set()
        self.thread = threading.Thread(target=self.beat, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write_place(self, **more):
        """RUN/status.json as the coordinator writes it: at its start and at an orderly end."""
        place = {"endpoint": self.endpoint, "public_key": None, "host": socket.gethostname(), "pid": os.getpid(), "started": self.message.run.started}
        path = os.path.join(self.folder, "status.json")
        with open(path + ".new", "w") as file:
            json.dump({**place, **more}, file)
        os.rename(path + ".new", path)

    def beat(self):
        """Every second the status, and to new subscribers at once: as the coordinator does."""
        last = 0.0
        while not self.closing.is_set():
            with self.lock:
                fresh = False
                while self.socket.poll(0):
                    fresh |= self.socket.recv()[:1] == b"\x01"
                if fresh or (self.beating.is_set() and time.monotonic() - last >= 1.0):
                    last = time.monotonic()
                    self.publish("status", self.message)
            self.closing.wait(0.05)

    def publish(self, topic, message):
        if topic == "status":
            message.time = time.time()
        self.socket.send_multipart([topic.encode(), message.SerializeToString()])

    def status(self, **fields):
        with self.lock:
            for key, value in fields.items():
                setattr(self.message, key, value)
            self.publish("status", self.message)

    def line(self, kind, step, **fields):
        if self.metrics:
            now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".000Z"
            self.metrics.write(json.dumps({"kind": kind, "time": now, "step": step, **fields}) + "\n")

    def step(self, number, **fields):
        """One step; lists are by branch or by modality."""
        run = self.message.run
        step = pb.Step(step=number, epoch=(number - 1) // run.steps_per_epoch, time=time.time(), samples=run.batch)
        values = {"norm": 1.0, "clip": 1.0, "rate": 1e-3, "seconds": 0.1, "compute_seconds": 0.15, "workers": 2, **fields}
        for key, value in values.items():
            if isinstance(value, (list, tuple)):
                getattr(step, key).extend(value)
            else:
                setattr(step, key, value)
        names = list(run.branches)
        by = lambda key: dict(zip(names, values.get(key, [])))
        self.line("step", number, epoch=step.epoch, samples=step.samples, loss=by("loss"), accuracy=by("accuracy"), score=by("score"),
                  ratio=by("ratio"), coefficient=by("coefficient"), cosine=by("cosine"),
                  update_norm=by("branch_update_norm"), parameter_norm=by("branch_parameter_norm"), gradient_norm=step.norm, clip=step.clip, lr=step.rate,
                  seconds=step.seconds, compute_seconds=step.compute_seconds, samples_per_second=step.samples / step.seconds, workers=step.workers)
        with self.lock:
            self.message.step = number
            self.message.last_step.CopyFrom(step)
            self.publish("step", step)

    def validation(self, step, figures, confusion, best=True, seconds=2.5):
        """figures: (loss, accuracy, macro_f1, ece, ordinal_error) by branch; confusion: a flat matrix by branch."""
        run = self.message.run
        count = len(run.labels)
        message = pb.Validation(step=step, epoch=(step - 1) // run.steps_per_epoch, time=time.time(), seconds=seconds, best=best, samples=sum(confusion[0]))
        branches = {}
        for name, row, matrix in zip(run.branches, figures, confusion):
            branch = message.branch.add()
            branch.loss, branch.accuracy, branch.macro_f1, branch.ece, branch.ordinal_error = row
            branch.confusion.extend(matrix)
            branches[name] = {"count": sum(matrix), "loss": row[0], "accuracy": row[1], "macro_f1": row[2], "calibration_error": row[3],
                              "class_distance": row[4], "classes": [{"name": label} for label in run.labels],
                              "confusion": [matrix[i * count:(i + 1) * count] for i in range(count)]}
        self.line("validation", step, epoch=message.epoch, seconds=seconds, best=best, branches=branches)
        with self.lock:
            self.message.last_validation.CopyFrom(message)
            if best:
                self.message.best_step, self.message.best_value = step, figures[-1][1]
            self.publish("validation", message)

    def event(self, name, text, level="info"):
        event = pb.Event(time=time.time(), step=self.message.step, level=level, name=name, text=text)
        self.line("event", self.message.step, event=name, text=text)
        with self.lock:
            self.message.events.append(event)
            del self.message.events[:-64]
            self.publish("event", event)

    def worker(self, rank, **fields):
        with self.lock:
            worker = next((w for w in self.message.workers if w.rank == rank), None) or self.message.workers.add(rank=rank)
            for key, value in {"heard": time.time(), **fields}.items():
                setattr(worker, key, value)

    def server(self, rank, **fields):
        with self.lock:
            server = next((s for s in self.message.servers if s.rank == rank), None) or self.message.servers.add(rank=rank)
            for key, value in {"heard": time.time(), **fields}.items():
                setattr(server, key, value)

    def snapshot(self, step, **fields):
        with self.lock:
            self.message.snapshots.add(step=step, time=time.time(), **fields)
            del self.message.snapshots[:-32]

    def finish(self, why, code=0):
        self.status(state="finished", finished=why, exit_code=code)
        if self.folder:
            self.write_place(ended=time.time(), step=self.message.step, reason=why, exit_code=code)

    def silence(self):
        """As if the process were gone: nothing more is sent, the connection stays."""
        self.beating.clear()

    def close(self):
        self.closing.set()
        self.thread.join()
        self.socket.close()
        self.context.term()
        if self.metrics:
            self.metrics.close()


# ---- a run for people to look at ----

def wave(step, seed):
    """Repeatable noise without a generator."""
    value = math.sin(step * 12.9898 + seed * 78.233) * 43758.5453
    return value - math.floor(value) - 0.5


def play_step(run, number, total, seed=0):
    """Text leads at first and is held back, visual catches up, leads for a while, then they are balanced."""
    t = number / total
    lead = 1.1 * math.exp(-6 * t) - 0.45 * math.exp(-((t - 0.62) / 0.13) ** 2) + 0.05 * wave(number, 1 + seed)
    text_ratio = math.exp(lead)
    ratio = [1 / text_ratio, text_ratio]
    k = [1.0 if r <= 1.04 else 1 - math.tanh(0.9 * (r - 1)) for r in ratio]
    loss = [1.79 * math.exp(-(2.1 + 0.4 * seed) * t) + 0.16 + 0.10 * wave(number, 2), 1.75 * math.exp(-3.4 * t) + 0.30 + 0.08 * wave(number, 3),
            1.79 * math.exp(-(4.4 - 0.5 * seed) * t) + 0.07 + 0.06 * wave(number, 4)]
    accuracy = [min(1.0, max(0.0, 1 - x / 2.1 + 0.08 * wave(number, 5 + b))) for b, x in enumerate(loss)]
    score = [math.exp(-x) for x in loss[:2]]
    cosine = [0.55 * math.exp(-1.2 * t) + 0.08 * wave(number, 8), 0.35 + 0.25 * t + 0.08 * wave(number, 9)]
    rate = 1e-3 * min(1, number / 40) * 0.5 * (1 + math.cos(math.pi * t))
    size = [21 + 3 * t, 26 + 2 * t, 12 + 2.5 * t]
    change = [2.4 * rate * x * (1 + 0.3 * wave(number, 12 + b)) * (k[b] if b < 2 else 1) for b, x in enumerate(size)]
    run.step(number, loss=loss, accuracy=accuracy, score=score, ratio=ratio, coefficient=k, cosine=cosine, branch_update_norm=change, branch_parameter_norm=size, norm=2.5 * math.exp(-2 * t) + 0.3 + 0.2 * wave(number, 10),
             clip=min(1.0, 1 / (2.5 * math.exp(-2 * t) + 0.3)), rate=rate,
             seconds=0.21 + 0.04 * wave(number, 11), compute_seconds=0.37, flips=3)
    return accuracy


def play_validation(run, number, accuracy, best=True):
    matrices, figures = [], []
    for b, share in enumerate(accuracy):
        matrix = []
        for true in range(6):
            row = [round(36 * (1 - share) * math.exp(-0.8 * abs(true - said)) * (1 + 0.6 * wave(true * 6 + said, b))) if said != true else 0 for said in range(6)]
            row[true] = max(2, 40 - sum(row))
            matrix += row
        right = sum(matrix[i * 7] for i in range(6)) / sum(matrix)
        matrices.append(matrix)
        figures.append((1.9 * (1 - right) + 0.08, right, right - 0.012, 0.02 + 0.1 * (1 - right), 1.6 * (1 - right)))
    run.validation(number, figures, matrices, best=best)


def play(folder, total=1200, until=None, seed=0, name=None):
    run = Publisher(name=name or os.path.basename(folder), folder=folder, total_steps=total, steps_per_epoch=total // 6)
    run.message.run.started = time.time() - 0.21 * (until or total)
    run.status(state="training")
    for rank in range(3):
        run.worker(rank, host=f"node-{rank + 1}", pid=4100 + rank, threads=8, joined=time.time() - 290, slots=0, doing="computing", memory=812 << 20)
        run.event("worker-joined", f"worker {rank} on node-{rank + 1} with 8 threads")
    run.server(0, host="node-1", pid=4090, endpoint="tcp://10.0.0.1:5555", blocks=118, parameter_bytes=23 << 20, queue=0, update_seconds=0.0041, memory=301 << 20, dropped=2)
    for number in range(1, (until or total) + 1):
        play_run_step(run, number, total, seed)
    return run


def play_run_step(run, number, total, seed=0):
    accuracy = play_step(run, number, total, seed)
    epoch = total // 6
    for rank in range(3):
        run.worker(rank, slots=number * 8 // 3, samples_per_second=101.3 - 9 * rank + 4 * wave(number, 20 + rank), staleness=0 if rank else number % 2,
                   sent=number * (7 << 20), received=number * (9 << 20), wait_share=0.04 + 0.09 * rank, doing=["computing", "computing", "pulling"][rank])
    run.server(0, version=number, sent=number * (27 << 20), received=number * (21 << 20))
    if number % epoch == 0:
        play_validation(run, number, [a * 0.97 for a in accuracy])
        run.snapshot(number, size=69 << 20, best=True, seconds=0.34)
    if number == int(total * 0.4):
        run.event("worker-lost", "worker 2 on node-3 was not heard for 15 s; its slots go to others", level="warning")
        run.message.lost_workers = 1
    if number == int(total * 0.43):
        run.event("worker-joined", "worker 2 on node-3 with 8 threads")
    run.message.eta_seconds = (total - number) * 0.21
    run.message.samples_per_second = 304.8 + 10 * wave(number, 30)
    run.message.bytes_per_second = 232e6


if __name__ == "__main__":
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 1200
    shown = play(sys.argv[1], steps, until=int(steps * 0.7))
    with shown:
        for at in range(int(steps * 0.7) + 1, steps + 1):
            play_run_step(shown, at, steps)
            time.sleep(0.2)
        shown.finish("all epochs are done")
        time.sleep(30)
