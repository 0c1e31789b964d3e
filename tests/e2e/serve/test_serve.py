"""`shelflife serve` from outside; and `predict` as a stream. Environment: SHELFLIFE (the program), DATA (clips, runs)."""
import concurrent.futures
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

import serve_client
import zmq
from proto import serve_pb2
from rows import npy

SHELFLIFE, DATA = os.environ["SHELFLIFE"], os.environ["DATA"]
CLIPS = DATA + "/clips"
JSON = {"Content-Type": "application/json"}


def wait_for(call, seconds=60):
    end = time.monotonic() + seconds
    while True:
        value = call()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"did not happen within {seconds} s; last {value!r}")
        time.sleep(0.02)


def rows(name="manifest.jsonl"):
    with open(f"{CLIPS}/{name}") as lines:
        return [json.loads(line) for line in lines]


def predict(snapshot, manifest):
    """What `predict` says, by id."""
    run = subprocess.run([SHELFLIFE, "predict", snapshot, manifest, "--json"], capture_output=True, text=True, check=True, timeout=300)
    return {answer["id"]: answer for answer in map(json.loads, run.stdout.splitlines())}


def bare(answer):
    return {key: value for key, value in answer.items() if key != "model"}


class Server:
    """A running `shelflife serve`."""

    def __init__(self, snapshot, *flags):
        self.dir = tempfile.TemporaryDirectory()
        place = self.dir.name + "/open.json"
        self.log = open(self.dir.name + "/log", "w+")
        self.process = subprocess.Popen([SHELFLIFE, "serve", snapshot, "--open-file", place, *flags], stdout=self.log, stderr=self.log, env={**os.environ, "TMPDIR": self.dir.name})
        try:
            wait_for(lambda: os.path.exists(place) or self.process.poll() is not None)
            if self.process.poll() is not None:
                raise AssertionError("serve ended: " + self.text())
        except BaseException:
            self.close()
            raise
        with open(place) as file:
            self.at = json.load(file)
        address = urllib.parse.urlsplit(self.at["http"] or "")
        self.host, self.port = address.hostname, address.port

    def text(self):
        with open(self.log.name) as file:
            return file.read()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()
        self.dir.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    @contextlib.contextmanager
    def connection(self):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            yield connection
        finally:
            connection.close()

    def ask(self, method, path, body=None, headers=None):
        """Status, headers, body."""
        with self.connection() as connection:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def get(self, path):
        status, _, body = self.ask("GET", path)
        return status, json.loads(body)

    def predict(self, request):
        status, _, body = self.ask("POST", "/v1/predict", json.dumps(request), JSON)
        return status, json.loads(body)


class Answers(unittest.TestCase):
    maxDiff = None

    def test_many_clients_get_what_predict_says(self):
        expected = predict(DATA + "/run", CLIPS + "/manifest.jsonl")
        for flags in (["--batch", "1"], ["--batch", "4", "--wait-ms", "3", "--threads", "3"]):
            with Server(DATA + "/run", "--root", CLIPS, *flags) as server, concurrent.futures.ThreadPoolExecutor(8) as pool:
                def path(row):
                    return server.predict(row)

                def upload(row):
                    video = open(f"{CLIPS}/{row['video']}", "rb")
                    with video:
                        request = {key: row[key] for key in ("id", "title", "published")}
                        return 200, serve_client.over_http(server.at["http"], request, video.read())

                asked = [(pool.submit(call, row), row["id"]) for row in rows() for call in (path, upload)]
                for answer, name in asked:
                    status, answer = answer.result()
                    self.assertEqual(status, 200, answer)
                    self.assertEqual(bare(answer), expected[name])
                status, health = server.get("/health")
                self.assertEqual((status, health["status"], health["requests"]["ok"]), (200, "serving", len(asked)))
                self.assertGreater(health["latency_ms"]["total"]["p99"], 0)
                self.assertLessEqual(health["latency_ms"]["total"]["p50"], health["latency_ms"]["total"]["p99"])

    def test_zeromq_says_the_same(self):
        expected = predict(DATA + "/run", CLIPS + "/manifest.jsonl")
        with Server(DATA + "/run", "--root", CLIPS, "--bind", "none") as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
            replies = [(pool.submit(serve_client.over_zeromq, server.at["socket"], row), row) for row in rows()]
            for reply, row in replies:
                reply, wanted = reply.result(), expected[row["id"]]
                self.assertEqual((reply.id, reply.label, reply.version), (row["id"], wanted["label"], 1))
                self.assertEqual(reply.HasField("expires"), wanted["expires"] is not None)
                if reply.HasField("expires"):
                    self.assertEqual(reply.expires, serve_client.seconds(wanted["expires"]))
                for branch in reply.branches:
                    said = wanted["branches"][branch.name]["probabilities"]
                    self.assertEqual([struct.pack("<f", p) for p in branch.probabilities], [struct.pack("<f", said[label]) for label in reply.model.labels])

    def test_arrays(self):
        expected = predict(DATA + "/rows-run", CLIPS + "/rows.jsonl")
        with Server(DATA + "/rows-run") as server:
            for row in rows("rows.jsonl")[:12]:
                with open(row["features"]["audio"], "rb") as file:
                    bytes_ = file.read()
                values = struct.unpack("<%df" % ((len(bytes_) - 128) // 4), bytes_[128:])
                listed = [list(values[at:at + 5]) for at in range(0, len(values), 5)]
                request = {key: row[key] for key in ("id", "title", "published")}
                status, answer = server.predict({**request, "features": {"audio": listed}})
                self.assertEqual((status, bare(answer)), (200, expected[row["id"]]))
                self.assertEqual(bare(serve_client.over_http(server.at["http"], request, arrays={"audio": bytes_})), expected[row["id"]])
                reply = serve_client.over_zeromq(server.at["socket"], request, arrays={"audio": bytes_})
                self.assertEqual(reply.label, expected[row["id"]]["label"])
            refusals = [
                (npy([[1.0] * 4]), "(1, 4), no dimensions at its end make up"),
                (npy([[1.0] * 5] * 2, fortran=True), "Fortran order"),
                (npy([[1.0] * 5], descr=">f4", code=">%df"), "not little-endian"),
                (npy([[1.0] * 5])[:-1], "cut off"),
                (npy([[float("nan")] * 5]), "not finite"),
                (b"PK", "not a .npy file"),
            ]
            for array, words in refusals:
                with self.assertRaisesRegex(RuntimeError, "^422: ") as refused:
                    serve_client.over_http(server.at["http"], {"title": "t"}, arrays={"audio": array})
                self.assertIn(words, str(refused.exception))
            with self.assertRaisesRegex(RuntimeError, "422: .*no modality \"visual\"; it has text, audio"):
                serve_client.over_http(server.at["http"], {"title": "t"}, arrays={"visual": npy([[1.0] * 5])})
            self.assertEqual(server.predict({"title": "t"})[0], 422)
            self.assertEqual(server.predict({"title": "t", "features": {"audio": [[1, 2, 3, 4, 5]]}})[0], 200)

    def test_texts_and_tokens_of_one_modality(self):
        ids = [5, 17, 30, 44]
        with tempfile.TemporaryDirectory() as dir_:
            head = b"{'descr': '<i8', 'fortran_order': False, 'shape': (4,), }"
            head += b" " * (117 - len(head)) + b"\n"
            with open(dir_ + "/ids.npy", "wb") as file:
                file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + struct.pack("<4q", *ids))
            with open(dir_ + "/ids.npy", "rb") as file:
                array = file.read()
            audio = rows("rows.jsonl")[0]["features"]["audio"]
            with open(dir_ + "/m.jsonl", "w") as file:
                for row in ({"id": "own", "texts": {"text": "Live: storm"}}, {"id": "ids", "tokens": {"text": dir_ + "/ids.npy"}}):
                    file.write(json.dumps({**row, "features": {"audio": audio}}) + "\n")
            expected = predict(DATA + "/rows-run", dir_ + "/m.jsonl")
            with open(audio, "rb") as file:
                numbers = {"audio": file.read()}
            with Server(DATA + "/rows-run") as server:
                def ask(request, arrays):
                    return bare(serve_client.over_http(server.at["http"], request, arrays=arrays))

                self.assertEqual(ask({"id": "own", "texts": {"text": "Live: storm"}}, numbers), expected["own"])
                self.assertEqual(ask({"id": "ids", "tokens": {"text": ids}}, numbers), expected["ids"])
                self.assertEqual(ask({"id": "ids"}, {**numbers, "text": array}), expected["ids"])
                with zmq.Context() as context, context.socket(zmq.REQ) as asker:
                    asker.linger, asker.rcvtimeo = 0, 60_000
                    asker.connect(server.at["socket"])
                    message = serve_pb2.Request(id="ids")
                    message.tensors.add(kind=serve_pb2.Tensor.TOKENS, modality="text", shape=[4])
                    message.tensors.add(kind=serve_pb2.Tensor.NPY, modality="audio")
                    asker.send_multipart([message.SerializeToString(), struct.pack("<4q", *ids), numbers["audio"]])
                    self.assertEqual(serve_pb2.Reply.FromString(asker.recv()).label, expected["ids"]["label"])
                    message = serve_pb2.Request(id="own")
                    message.texts.add(modality="text", text="Live: storm")
                    message.tensors.add(kind=serve_pb2.Tensor.NPY, modality="audio")
                    asker.send_multipart([message.SerializeToString(), numbers["audio"]])
                    self.assertEqual(serve_pb2.Reply.FromString(asker.recv()).label, expected["own"]["label"])

    def test_frames_over_zeromq(self):
        with Server(DATA + "/run") as server, zmq.Context() as context, context.socket(zmq.REQ) as asker:
            asker.linger, asker.rcvtimeo = 0, 60_000
            asker.connect(server.at["socket"])

            def ask(shape, frames, **fields):
                message = serve_pb2.Request(title="t", **fields)
                message.tensors.add(kind=serve_pb2.Tensor.FRAMES, modality="visual", shape=shape)
                asker.send_multipart([message.SerializeToString(), *frames])
                return serve_pb2.Reply.FromString(asker.recv())

            picture = bytes(range(256)) * 12
            self.assertFalse(ask([1, 32, 32, 3], [picture]).HasField("error"))
            self.assertFalse(ask([2, 32, 32, 3], [picture * 2]).HasField("error"))
            for shape, frames, code, words in [
                ([3, 32, 32, 3], [picture * 3], 422, "expected (1 to 2, 32, 32, 3)"),
                ([1, 32, 32, 3], [picture[:-1]], 400, "not what its shape asks for"),
                ([1, 32, 32, 3], [], 400, "1 tensors are announced, 0 frames came"),
                ([1 << 62, 1 << 62, 4, 3], [picture], 400, "not what its shape asks for"),
            ]:
                reply = ask(shape, frames)
                self.assertEqual(reply.error.code, code, reply)
                self.assertIn(words, reply.error.text)
            self.assertIn("version 7", ask([1, 32, 32, 3], [picture], version=7).error.text)
            asker.send(b"\xff\xff")
            self.assertIn("no shelflife.serve.Request", serve_pb2.Reply.FromString(asker.recv()).error.text)


class Refusals(unittest.TestCase):
    def test_what_is_no_request(self):
        with Server(DATA + "/run", "--root", CLIPS, "--max-request-mb", "1") as server:
            title = '{"title": "t", '
            cases = [
                ("{", 400, "not JSON: line 1"),
                ("[]", 400, "not a JSON object"),
                ("", 400, "the request is empty"),
                ('{"tittle": "t"}', 400, 'unknown key "tittle"'),
                ('{"title": 7}', 400, '"title" is not a text'),
                ('{"id": "%s"}' % ("x" * 300), 400, '"id" has 300 bytes'),
                (title + '"published": "yesterday"}', 400, '"published"'),
                (title + '"features": {"audio": [[1], [1, 2]]}}', 400, "row 1 is not a list of 1 numbers"),
                (title + '"features": {"audio": [["a"]]}}', 400, "not a finite float32"),
                ("[" * 100000, 400, "not JSON"),
                ("{}", 422, "visual"),
                ('{"title": "t"}', 422, '"video" is missing'),
                ('{"video": "videos/clip-000000.mp4"}', 422, "no text"),
                (title + '"video": "nowhere.mp4"}', 422, "nowhere.mp4: No such file"),
                (title + '"video": "../config.yaml"}', 422, "outside the server's root"),
                (title + '"video": "/etc/passwd"}', 422, "below the server's root"),
                (title + '"video": "manifest.jsonl"}', 422, "video manifest.jsonl: not a video"),
                (title + '"features": {"text": [[1]]}}', 422, "modality text takes token ids"),
                (title + '"tokens": {"visual": [1]}}', 422, "modality visual takes frames"),
                (title + '"texts": {"visual": "t"}}', 422, "texts.visual: this modality reads no text"),
                (title + '"texts": {"text": 7}}', 400, "expected a modality's name and a text"),
                (title + '"tokens": {"text": [1.5]}}', 400, "token 0 is not a whole number"),
                (title + '"tokens": []}', 400, '"tokens" is not an object'),
                ('{"video": "videos/clip-000000.mp4", "tokens": {"text": [999999]}}', 422, "the vocabulary has"),
            ]
            for body, code, words in cases:
                status, _, answer = server.ask("POST", "/v1/predict", body, JSON)
                self.assertEqual(status, code, (body[:80], answer))
                self.assertIn(words, json.loads(answer)["error"])
            self.assertEqual(server.ask("POST", "/v1/predict", "title=t", {"Content-Type": "application/x-www-form-urlencoded"})[0], 415)
            self.assertEqual(server.ask("GET", "/v1/predict")[0], 405)
            self.assertEqual(server.ask("POST", "/health")[0], 405)
            self.assertEqual(server.ask("GET", "/")[0], 404)
            self.assertEqual(server.ask("GET", "/health", headers={"Host": "evil.example"})[0], 421)
            self.assertEqual(server.ask("POST", "/v1/predict", b"--x", {"Content-Type": "multipart/form-data"})[0], 400)
            cut = b'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n{"title"'
            self.assertEqual(server.ask("POST", "/v1/predict", cut, {"Content-Type": "multipart/form-data; boundary=x"})[0], 400)
            with self.assertRaisesRegex(RuntimeError, r"422: video \(uploaded\): not a video"):
                serve_client.over_http(server.at["http"], {"title": "t"}, b"no video")
            with self.assertRaisesRegex(RuntimeError, "413: .*--max-request-mb"):
                serve_client.over_http(server.at["http"], {"title": "t"}, bytes(2 << 20))
            chunks = (b'{"title": "' + b"x" * 65536 for _ in range(40))
            self.assertEqual(server.ask("POST", "/v1/predict", chunks, JSON)[0], 413, "a body without a length")
            self.assertEqual(server.ask("POST", "/v1/predict", "{}", {**JSON, "Content-Length": str(1 << 40), "Expect": "100-continue"})[0], 413)
            self.assertEqual(server.predict(rows()[0])[0], 200, "and it still serves")
            metrics = server.ask("GET", "/metrics")[2]
            check = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True, timeout=60)
            self.assertEqual((check.returncode, check.stdout, check.stderr), (0, b"", b""))
            self.assertIn(b'shelflife_serve_requests_total{outcome="ok"} 1\n', metrics)
            self.assertIn(b'shelflife_serve_requests_total{outcome="failed"} 0\n', metrics)

    def test_a_long_video(self):
        with Server(DATA + "/run", "--root", CLIPS, "--max-video-s", "1") as server:
            status, answer = server.predict(rows()[0])
            self.assertEqual(status, 422)
            self.assertIn("at most 1 s are taken", answer["error"])

    def test_paths_only_with_a_root(self):
        with Server(DATA + "/run") as server:
            status, answer = server.predict(rows()[0])
            self.assertEqual(status, 422)
            self.assertIn("--root", answer["error"])

    def test_a_token_and_keys(self):
        with tempfile.TemporaryDirectory() as dir_:
            def refuses(code, words, *flags):
                run = subprocess.run([SHELFLIFE, "serve", DATA + "/run", *flags], capture_output=True, text=True, timeout=60)
                self.assertEqual(run.returncode, code, run.stderr)
                self.assertIn(words, run.stderr)

            refuses(2, "--token-file", "--bind", "0.0.0.0:0")
            refuses(5, "--keys DIR", "--socket", "tcp://0.0.0.0:0")
            refuses(2, "nothing to answer on", "--bind", "none", "--socket", "none")
            refuses(2, "--root", "--root", dir_ + "/none")
            refuses(2, "expected one SNAPSHOT", "surplus")
            refuses(2, "--batch 0", "--batch", "0")
            run = subprocess.run([SHELFLIFE, "serve", dir_], capture_output=True, text=True, timeout=60)
            self.assertIn("no snapshot", run.stderr)
            token, keys = dir_ + "/token", dir_ + "/keys"
            with open(token, "w") as file:
                file.write("0123456789abcdef\n")
            os.chmod(token, 0o600)
            subprocess.run([SHELFLIFE, "keygen", keys], check=True, capture_output=True, timeout=60)
            with Server(DATA + "/rows-run", "--token-file", token, "--keys", keys) as server:
                self.assertEqual(server.ask("GET", "/health", headers={"Host": "any.example"})[0], 200, "a probe has no token")
                self.assertEqual(server.ask("GET", "/metrics")[0], 401)
                self.assertEqual(server.ask("POST", "/v1/predict", "{}", JSON)[0], 401)
                bearer = {"Authorization": "Bearer 0123456789abcdef"}
                self.assertEqual(server.ask("GET", "/metrics", headers=bearer)[0], 200)
                self.assertEqual(server.ask("POST", "/v1/predict", "{}", {**JSON, **bearer})[0], 422)
                array = {"audio": npy([[1.0] * 5])}
                reply = serve_client.over_zeromq(server.at["socket"], {"title": "t"}, arrays=array, keys=keys)
                self.assertEqual(reply.model.step, server_step(DATA + "/rows-run"))
                with zmq.Context() as context, context.socket(zmq.REQ) as stranger:
                    stranger.linger, stranger.rcvtimeo = 0, 300
                    stranger.connect(server.at["socket"])
                    stranger.send(serve_pb2.Request(title="t").SerializeToString())
                    self.assertRaises(zmq.Again, stranger.recv)


def server_step(run):
    with open(run + "/snapshots/best/manifest.json") as file:
        return json.load(file)["step"]


class Load(unittest.TestCase):
    def test_a_full_queue_and_a_good_end(self):
        """Two requests wait for a third that never comes in; SIGTERM lets them go at once."""
        with Server(DATA + "/run", "--root", CLIPS, "--queue", "2", "--batch", "3", "--wait-ms", "10000") as server, concurrent.futures.ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(server.predict, row) for row in rows()[:2]]
            wait_for(lambda: server.get("/health")[1]["requests"]["in_flight"] == 2)
            status, headers, body = server.ask("POST", "/v1/predict", json.dumps(rows()[2]), JSON)
            self.assertEqual(status, 503, body)
            self.assertGreaterEqual(int(headers["Retry-After"]), 1)
            self.assertIn("the server is full: 2 requests", json.loads(body)["error"])
            with zmq.Context() as context, context.socket(zmq.REQ) as asker:
                asker.linger, asker.rcvtimeo = 0, 60_000
                asker.connect(server.at["socket"])
                asker.send(serve_pb2.Request(title="t").SerializeToString())
                error = serve_pb2.Reply.FromString(asker.recv()).error
                self.assertEqual(error.code, 503)
                self.assertGreaterEqual(error.retry_after, 1)
            self.assertEqual(server.get("/health")[1]["requests"]["busy"], 2)
            began = time.monotonic()
            with socket.create_connection((server.host, server.port), 60) as slow:  # a request that is not whole is not waited for
                slow.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
                wait_for(lambda: server.get("/health"))
                self.assertEqual(server.stop(), 0, server.text())
            self.assertLess(time.monotonic() - began, 9)
            for answer in waiting:
                self.assertEqual(answer.result()[0], 200)

    def test_slow_clients_cost_themselves(self):
        with Server(DATA + "/run", "--root", CLIPS, "--receive-s", "1", "--max-request-mb", "1") as server:
            slow = []
            for _ in range(20):
                peer = socket.create_connection((server.host, server.port), 60)
                peer.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
                slow.append(peer)
            self.assertEqual(server.predict(rows()[0])[0], 200)
            for peer in slow:
                with peer, contextlib.suppress(ConnectionError):
                    self.assertEqual(peer.recv(1), b"")
            gone = socket.create_connection((server.host, server.port), 60)
            body = json.dumps(rows()[1]).encode()
            gone.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            gone.close()  # without waiting for the answer
            self.assertEqual(server.predict(rows()[2])[0], 200)
            self.assertEqual(server.stop(), 0, server.text())

    def test_a_newer_snapshot_under_load(self):
        snapshots = sorted(name for name in os.listdir(DATA + "/run/snapshots") if name.startswith("step-"))
        self.assertGreaterEqual(len(snapshots), 2)
        row = rows()[0]
        expected = {}
        with tempfile.TemporaryDirectory() as dir_:
            def place(name, source, spoil=False):
                shutil.copytree(f"{DATA}/run/snapshots/{source}", f"{dir_}/.copy")
                if spoil:
                    with open(f"{dir_}/.copy/model.safetensors", "r+b") as file:
                        file.seek(3000)
                        file.write(b"\xff")
                os.rename(f"{dir_}/.copy", f"{dir_}/{name}")
                os.symlink(name, f"{dir_}/.link")
                os.rename(f"{dir_}/.link", f"{dir_}/latest")

            for name in snapshots[:2]:
                expected[name] = predict(f"{DATA}/run/snapshots/{name}", CLIPS + "/manifest.jsonl")[row["id"]]
            self.assertNotEqual(expected[snapshots[0]], expected[snapshots[1]])
            place(snapshots[0], snapshots[0])
            stop = threading.Event()
            seen = []

            def ask_on(server, client):
                while not stop.is_set():
                    if client % 2 == 0:
                        status, answer = server.predict(row)
                        seen.append((status, answer["model"]["snapshot"] if status == 200 else answer, bare(answer)))
                    else:
                        reply = serve_client.over_zeromq(server.at["socket"], row)
                        said = expected[reply.model.snapshot]["branches"]["fused"]["probabilities"]
                        same = [struct.pack("<f", p) for p in reply.branches[-1].probabilities] == [struct.pack("<f", said[label]) for label in reply.model.labels]
                        seen.append((200 if same else 500, reply.model.snapshot, expected[reply.model.snapshot]))

            with Server(dir_, "--root", CLIPS, "--reload-ms", "50") as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
                clients = [pool.submit(ask_on, server, client) for client in range(4)]
                try:
                    wait_for(lambda: len(seen) >= 8)
                    place(snapshots[1], snapshots[1])
                    wait_for(lambda: any(name == snapshots[1] for _, name, _ in seen))
                    place("step-00000999", snapshots[0], spoil=True)
                    wait_for(lambda: server.get("/health")[1]["reloads"]["refused"] == 1)
                    shutil.rmtree(f"{dir_}/{snapshots[0]}")
                    count = len(seen)
                    wait_for(lambda: len(seen) >= count + 8)
                finally:
                    stop.set()
                for client in clients:
                    client.result()
                for status, name, answer in seen:
                    self.assertEqual((status, answer), (200, expected.get(name)), name)
                self.assertEqual([name for _, name, _ in seen[-4:]], [snapshots[1]] * 4, "a damaged one is not taken")
                self.assertIn("step-00000999", server.text())
                self.assertEqual(server.get("/health")[1]["reloads"], {"done": 1, "refused": 1})
                self.assertEqual(server.stop(), 0)

    def test_killed(self):
        with Server(DATA + "/run", "--root", CLIPS, "--decoders", "1") as server:
            self.assertEqual(server.predict(rows()[0])[0], 200)
            children = subprocess.run(["ps", "--ppid", str(server.process.pid), "-o", "pid="], capture_output=True, text=True, timeout=60).stdout.split()
            self.assertEqual(len(children), 1, "the decoder is a process of its own")
            os.kill(int(children[0]), signal.SIGKILL)
            self.assertEqual(server.predict(rows()[0])[0], 200, "it is started again")
            server.process.kill()
            self.assertRaises(OSError, server.predict, rows()[0])


class Streams(unittest.TestCase):
    def test_predict_answers_line_by_line_in_order(self):
        expected = predict(DATA + "/run", CLIPS + "/manifest.jsonl")
        run = subprocess.Popen([SHELFLIFE, "predict", DATA + "/run", "-", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CLIPS)
        with run:
            for number, row in enumerate(rows()[:6]):
                run.stdin.write(json.dumps(row).encode() + b"\n")
                run.stdin.flush()
                self.assertEqual(json.loads(run.stdout.readline()), expected[row["id"]])
                if number == 2:  # what cannot be predicted is told in its place
                    run.stdin.write(b'{"id": "none", "video": "none.mp4", "title": "t"}\n' + b"x" * (3 << 20) + b"\nno JSON\n")
                    run.stdin.flush()
                    self.assertEqual(json.loads(run.stdout.readline())["id"], "none")
                    self.assertIn("at most", json.loads(run.stdout.readline())["error"])
                    self.assertEqual(json.loads(run.stdout.readline())["id"], "line 6")
            run.stdin.close()
            self.assertEqual(run.stdout.read(), b"")
            self.assertEqual(run.wait(60), 3)


if __name__ == "__main__":
    unittest.main()
