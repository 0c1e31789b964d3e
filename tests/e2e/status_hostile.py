"""Strangers at a run's status socket: raw garbage, half a handshake, an oversized message, thousands of subscriptions, many connections, somebody who never reads.
Afterwards the socket answers a newcomer at once. Called by status.sh."""
import os
import random
import socket
import sys
import time

import zmq

endpoint = sys.argv[1]
host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
address = (host, int(port))
greeting = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + bytes(48)
ready = b"\4\x19\5READY\x0bSocket-Type\0\0\0\3SUB"
context = zmq.Context()


def try_send(connection, data):
    try:
        connection.sendall(data)
    except OSError:
        pass  # it was shown the door


def subscriber():
    s = context.socket(zmq.SUB)
    s.linger = 0
    s.subscribe(b"")
    s.connect(endpoint)
    return s


deaf = subscriber()  # never reads
kept = []
for seed in range(40):
    raw = socket.create_connection(address, timeout=5)
    try_send(raw, random.Random(seed).randbytes(4096))
    kept.append(raw)
slow = socket.create_connection(address, timeout=5)
try_send(slow, greeting[:20])
large = socket.create_connection(address, timeout=5)
try_send(large, greeting + ready + b"\2" + (1 << 40).to_bytes(8, "big") + bytes(1000))
flood = context.socket(zmq.XSUB)
flood.linger = 0
flood.connect(endpoint)
for i in range(30000):
    try:
        flood.send(b"\1" + b"topic%d" % i + os.urandom(20), zmq.DONTWAIT)
    except zmq.Again:
        time.sleep(0.001)  # to keep pushing, not to wait for anything
flood.close()
for i in range(600):  # more than it lets in
    try:
        kept.append(socket.create_connection(address, timeout=0.2))
    except OSError:
        break
for raw in kept + [slow, large]:
    raw.close()
deadline = time.monotonic() + 150
while True:
    newcomer = subscriber()
    if newcomer.poll(3000):
        topic, payload = newcomer.recv_multipart()
        break
    newcomer.close()
    if time.monotonic() > deadline:
        sys.exit("FAILED: after strangers were there nobody is served any more")
context.destroy(linger=0)
