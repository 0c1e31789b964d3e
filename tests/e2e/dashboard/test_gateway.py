"""The gateway without a browser: what it answers, whom it refuses, and that hostile clients change nothing for others or for the run."""
import os
import signal
import socket
import subprocess
import sys
import time
import unittest

from harness import Case, Gateway, refused, wait_for
from publisher import Publisher

MATRIX = [1] * 36
FIGURES = [(0.9, 0.5, 0.4, 0.03, 1.25), (0.8, 0.625, 0.6, 0.02, 1.0), (0.25, 0.9375, 0.9, 0.01, 0.125)]


def publish_step(run, number, **fields):
    values = {"loss": [1.5, 1.25, 0.75], "accuracy": [0.25, 0.5, 0.875], "score": [0.2, 0.4], "ratio": [0.5, 2.0], "coefficient": [1.0, 0.375], "cosine": [0.1, -0.3],
              "branch_update_norm": [0.5, 0.25, 3.0], "branch_parameter_norm": [8.0, 2.0, 0.0]}
    run.step(number, **{**values, **fields})


class Answers(Case):
    def test_a_run_from_its_socket_and_its_files(self):
        with Publisher("first", self.path("runs", "first")) as run:
            for number in range(1, 8):
                publish_step(run, number, loss=[1.0 / number, 1.25, 0.1 + number / 3])
            run.validation(7, FIGURES, [MATRIX, MATRIX, MATRIX])
            run.event("worker-joined", "worker 0")
            run.worker(0, host="a", pid=7, samples_per_second=12.345678901234567, slots=99)
            run.status(state="training", eta_seconds=12.5)
            with Gateway(self.path("runs")) as gateway:
                runs = gateway.json("/api/runs")["runs"]
                self.assertEqual([r["name"] for r in runs], ["first"])
                status = wait_for(lambda: gateway.of_run("status", "first")["status"])
                self.assertEqual(status["last_step"]["loss"], [1.0 / 7, 1.25, 0.1 + 7 / 3], "numbers must come out as they went in")
                self.assertEqual(status["workers"][0]["samples_per_second"], 12.345678901234567)
                self.assertEqual(status["eta_seconds"], 12.5)
                history = wait_for(lambda: (lambda h: h if len(h["step"]) == 7 else None)(gateway.of_run("history", "first")))
                self.assertEqual(history["step"], [1, 2, 3, 4, 5, 6, 7])
                self.assertEqual(history["branches"], ["visual", "text", "fused"])
                self.assertEqual(history["coefficient"], [[1] * 7, [0.375] * 7])
                self.assertEqual(history["held"], [[0] * 7, [1] * 7])
                self.assertEqual(history["update_norm"], [[0.5] * 7, [0.25] * 7, [3] * 7])
                self.assertEqual(history["relative_update"], [[0.0625] * 7, [0.125] * 7, [None] * 7], "nothing is a share of nothing")
                for at, value in enumerate(history["loss"][0]):
                    self.assertAlmostEqual(value, 1 / (at + 1), 6)
                self.assertEqual(history["validations"][0]["branch"][2]["accuracy"], 0.9375)
                self.assertEqual(history["validations"][0]["branch"][2]["confusion"], MATRIX)
                self.assertEqual(history["events"][0]["name"], "worker-joined")

    def test_a_long_history_is_joined_to_means(self):
        with Publisher("long", self.path("long"), total_steps=6000, steps_per_epoch=1000) as run:
            for number in range(1, 5001):
                publish_step(run, number, norm=float(number))
            with Gateway(self.path("long")) as gateway:
                history = wait_for(lambda: (lambda h: h if h["step"] and h["step"][-1] == 5000 else None)(gateway.of_run("history", "long")), 60)
                self.assertLessEqual(len(history["step"]), 1024)
                self.assertEqual(history["stride"], 8)
                self.assertEqual(history["step"][:2], [8, 16])
                self.assertEqual(history["norm"][:2], [4.5, 12.5], "a point is the mean of its steps")

    def test_an_endpoint_alone(self):
        with Publisher("far") as run, Gateway(run.endpoint) as gateway:
            wait_for(lambda: gateway.of_run("status", run.endpoint)["status"])
            publish_step(run, 1)
            publish_step(run, 2)
            run.validation(2, FIGURES, [MATRIX, MATRIX, MATRIX])
            history = wait_for(lambda: (lambda h: h if h["validations"] else None)(gateway.of_run("history", run.endpoint)))
            self.assertEqual(history["step"], [1, 2])
            self.assertEqual(history["validations"][0]["branch"][2]["confusion"], MATRIX)

    def test_two_runs_and_one_that_comes_later(self):
        with Publisher("a", self.path("a")) as a:
            publish_step(a, 3)
            with Gateway(self.dir) as gateway:
                wait_for(lambda: gateway.json("/api/runs")["runs"][0]["step"] == 3)
                with Publisher("b", self.path("deep", "b")) as b:
                    publish_step(b, 5)
                    wait_for(lambda: {(r["name"], r["step"]) for r in gateway.json("/api/runs")["runs"]} == {("a", 3), ("deep/b", 5)})
                    wait_for(lambda: gateway.of_run("status", "deep/b")["status"])
                    self.assertEqual(gateway.of_run("status", "deep/b")["status"]["last_step"]["step"], 5)
                    self.assertEqual(gateway.of_run("status", "a")["status"]["last_step"]["step"], 3)

    def test_how_a_run_ends(self):
        with Publisher("done", self.path("done")) as run, Gateway(self.dir) as gateway:
            publish_step(run, 1)
            wait_for(lambda: gateway.of_run("status", "done")["link"] == "live")
            run.finish("all epochs are done")
            wait_for(lambda: gateway.of_run("status", "done")["link"] == "finished")  # the file may say so before the last message is there
            wait_for(lambda: gateway.of_run("status", "done")["status"].get("finished") == "all epochs are done")
        with Gateway(self.dir) as gateway:  # opened afterwards: from the files
            status = gateway.of_run("status", "done")
            self.assertEqual((status["link"], status["link_text"], status["exit_code"]), ("finished", "all epochs are done", 0))
            wait_for(lambda: gateway.of_run("history", "done")["step"] == [1])

    def test_a_run_that_dies(self):
        code = f"""import sys, time; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})
from publisher import Publisher
run = Publisher("victim", {self.path('victim')!r})
run.status(state="training")
time.sleep(600)"""
        victim = subprocess.Popen([sys.executable, "-c", code])
        try:
            wait_for(lambda: os.path.exists(self.path("victim", "status.json")))
            with Gateway(self.dir) as gateway:
                wait_for(lambda: gateway.of_run("status", "victim")["link"] == "live")
                victim.kill()
                victim.wait()
                status = wait_for(lambda: (lambda s: s if s["link"] == "gone" else None)(gateway.of_run("status", "victim")), 30)
                self.assertIn("ended without a word", status["link_text"])
        finally:
            victim.kill()
            victim.wait()

    def test_a_run_that_went_back(self):
        """A resumed run cuts its file and repeats steps: what was later is forgotten."""
        with Publisher("back", self.path("back")) as run, Gateway(self.dir) as gateway:
            for number in range(1, 11):
                publish_step(run, number)
            wait_for(lambda: gateway.of_run("history", "back")["step"] == list(range(1, 11)))
            metrics = self.path("back", "metrics.jsonl")
            with open(metrics) as file:
                lines = file.readlines()
            os.truncate(metrics, sum(map(len, lines[:4])))
            publish_step(run, 5, norm=77.0)
            history = wait_for(lambda: (lambda h: h if h["step"] == [1, 2, 3, 4, 5] else None)(gateway.of_run("history", "back")))
            self.assertEqual(history["norm"][-1], 77)

    def test_prometheus(self):
        with Publisher('odd "name"\\', self.path('odd "name"\\')) as run, Publisher("second", self.path("second")) as second, Gateway(self.dir) as gateway:
            run.worker(3, host="h\n", slots=5, samples_per_second=1.5)
            run.server(0, host="s", version=12)
            run.snapshot(12, size=1000, seconds=0.25)
            publish_step(run, 12)
            run.validation(12, FIGURES, [MATRIX, MATRIX, MATRIX])
            run.status(state="training", lost_workers=2)
            second.status(state="waiting")
            wait_for(lambda: gateway.ask("/metrics")[2].count(b"shelflife_run_start_time_seconds{") == 2)
            wait_for(lambda: b"lost_total" in gateway.ask("/metrics")[2])
            status, headers, body = gateway.ask("/metrics")
            text = body.decode()
            self.assertEqual((status, headers["Content-Type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
            for line in ['shelflife_train_steps_total{run="odd \\"name\\"\\\\"} 12', 'shelflife_train_loss{run="odd \\"name\\"\\\\",branch="fused"} 0.75',
                         'shelflife_modality_coefficient{run="odd \\"name\\"\\\\",branch="text"} 0.375', 'shelflife_workers_lost_total{run="odd \\"name\\"\\\\"} 2',
                         'shelflife_worker_slots_total{run="odd \\"name\\"\\\\",rank="3",host="h\\n"} 5', 'shelflife_validation_accuracy{run="odd \\"name\\"\\\\",branch="fused"} 0.9375',
                         'shelflife_run_state{run="second",state="waiting"} 1', 'shelflife_run_up{run="second"} 1']:
                self.assertIn(line + "\n", text)
            checked = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
            self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, b""), "promtool has something to say")
            run.finish("done")
            wait_for(lambda: b'shelflife_run_up{run="second"} 1' in gateway.ask("/metrics")[2] and b'run_up{run="odd \\"name\\"\\\\"} 0' in gateway.ask("/metrics")[2])
            self.assertNotIn(b'steps_total{run="odd', gateway.ask("/metrics")[2], "an old value must not look like a new one")


class Refusals(Case):
    def test_wrong_usage(self):
        for code, words, arguments in [
                (1, "is not a folder", [self.path("missing")]), (2, "expected ADDRESS:PORT", [self.dir, "--bind", "nonsense"]),
                (2, "no such flag", [self.dir, "--bnd", "x"]), (2, "found 2", [self.dir, self.dir]), (2, "a value is missing", [self.dir, "--bind"]),
                (2, "--token-file", [self.dir, "--bind", "0.0.0.0:0"]), (5, "token file", [self.dir, "--token-file", self.path("none")]),
                (1, "no such address", [self.dir, "--bind", "192.0.2.1:0"]), (5, "keygen", [self.dir, "--keys", self.path("keys")])]:
            got, err = refused(*arguments)
            self.assertEqual(got, code, err)
            self.assertIn(words, err)
            self.assertEqual(err.count("\n"), 1, f"one line, found: {err}")

    def test_port_in_use(self):
        with Gateway(self.dir) as gateway:
            code, err = refused(self.dir, "--bind", f"127.0.0.1:{gateway.port}")
            self.assertEqual(code, 1)
            self.assertIn("Address already in use: take another port", err)
            self.assertEqual(gateway.json("/api/runs")["runs"], [], "the first one goes on")

    def test_token_files(self):
        for mode, text, words in [(0o644, "x" * 32, "chmod 600"), (0o600, "short", "characters"), (0o600, "spaces are not fine here", "characters")]:
            with open(self.path("token"), "w") as file:
                file.write(text + "\n")
            os.chmod(self.path("token"), mode)
            code, err = refused(self.dir, "--token-file", self.path("token"))
            self.assertEqual(code, 5, err)
            self.assertIn(words, err)

    def test_token(self):
        token = "correct-horse-battery"
        with open(os.open(self.path("token"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(token + "\n")
        with Gateway(self.dir, "--token-file", self.path("token"), "--bind", "0.0.0.0:0") as gateway:
            for path in ["/", "/api/runs", "/metrics", "/app.js", "/api/events?run=x", "/nothing"]:
                status, headers, body = gateway.ask(path)
                self.assertEqual(status, 401, path)
                self.assertEqual(headers["WWW-Authenticate"], 'Bearer realm="shelflife"')
                self.assertNotIn(token.encode(), body)
            for headers in [{"Authorization": "Bearer " + token[:-1]}, {"Authorization": "Bearer " + token + "x"}, {"Authorization": "Basic " + token},
                            {"Cookie": "shelflife_token="}, {"Cookie": "shelflife_token=" + token[1:]}]:
                self.assertEqual(gateway.ask("/api/runs", headers=headers)[0], 401, headers)
            self.assertEqual(gateway.ask("/?token=wrong-wrong-wrong-wrong")[0], 401)
            self.assertEqual(gateway.ask("/api/runs", headers={"Authorization": "Bearer " + token})[0], 200)
            status, headers, _ = gateway.ask("/?token=" + token)
            self.assertEqual((status, headers["Location"]), (303, "/"))
            self.assertIn("HttpOnly; SameSite=Strict", headers["Set-Cookie"])
            self.assertEqual(gateway.ask("/", headers={"Cookie": headers["Set-Cookie"].split(";")[0]})[0], 200)

    def test_requests(self):
        os.mkdir(self.path("run"))
        open(self.path("run", "metrics.jsonl"), "w").close()
        with open(self.path("secret"), "w") as file:
            file.write("secret")
        with Gateway(self.dir, "--allow-host", "board.example") as gateway:
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"]:
                self.assertEqual(gateway.ask("/", method)[0], 405, method)
            self.assertEqual(gateway.ask("/api/runs", "GET", body=b"x" * 10)[0], 413)
            for host, expected in [("evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost:1", 200), ("[::1]:80", 200), ("board.example", 200), ("board.example.evil.example", 421), ("[::1", 421), ("", 421)]:
                self.assertEqual(gateway.ask("/api/runs", headers={"Host": host})[0], expected, host)
            for path in ["/../secret", "/%2e%2e/secret", "/page/index.html", "//", "/api", "/api/history?run=..%2Fsecret", "/api/history?run=../secret", "/api/history", "/api/events?run=nobody"]:
                status, _, body = gateway.ask(path)
                self.assertIn(status, (400, 404), path)
                self.assertNotIn(b"secret", body)
            for path in ["/", "/app.js", "/style.css", "/api/runs", "/metrics", "/nothing"]:
                _, headers, _ = gateway.ask(path)
                self.assertTrue(headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'"), path)
                self.assertEqual(headers["X-Content-Type-Options"], "nosniff", path)
                self.assertNotIn("Access-Control-Allow-Origin", headers, path)
            etag = gateway.ask("/app.js")[1]["ETag"]
            self.assertEqual(gateway.ask("/app.js", headers={"If-None-Match": etag})[0], 304)
            self.assertEqual(gateway.ask("/style.css", "HEAD")[2], b"")

    def test_nothing_comes_from_elsewhere(self):
        with Gateway(self.dir) as gateway:
            page = gateway.ask("/")[2].decode()
            for path in ["/", "/app.js", "/chart.js", "/panels.js", "/format.js", "/history.js", "/theme.js", "/style.css"]:
                status, _, body = gateway.ask(path)
                self.assertEqual(status, 200, path)
                self.assertNotIn(b"://", body.replace(b"http://www.w3.org/2000/svg", b""), f"{path} names another place")
                self.assertNotIn(b"innerHTML", body, f"{path} makes markup of texts")
            self.assertNotIn("style=", page, "the policy forbids it")

    def test_files_that_are_none(self):
        """Damaged files of runs show what is left of them."""
        os.makedirs(self.path("a"))
        os.makedirs(self.path("b"))
        os.makedirs(self.path("c", "metrics.jsonl"))
        with open(self.path("a", "status.json"), "w") as file:
            file.write('{"endpoint": "file:///etc/passwd"}')
        with open(self.path("a", "metrics.jsonl"), "wb") as file:
            file.write(b'not json\n{"kind":"step"}\n{"kind":"step","step":3,"loss":{"x":1,"fused":2}}\n[]\n"x"\n\xff\xfe\n' + b"y" * 3000000 + b'\n{"kind":"step","step":4,"loss":{"x":5,"fused":"six"}}\n{"kind":"validation","step":4,"branches":{"x":{"confusion":7,"classes":{}}}}\n{"kind":"st')
        os.symlink("/dev/zero", self.path("b", "metrics.jsonl"))
        with open(self.path("b", "status.json"), "w") as file:
            file.write("[" * 100000)
        with Gateway(self.dir) as gateway:
            wait_for(lambda: gateway.of_run("history", "a")["step"][-1:] == [4])
            history = gateway.of_run("history", "a")
            self.assertEqual((history["branches"], history["loss"][0][-1], history["loss"][1][-1]), (["x", "fused"], 5, None))
            self.assertEqual(gateway.of_run("status", "a")["link"], "files")
            self.assertEqual(gateway.of_run("history", "b")["step"], [])


class Hostile(Case):
    def dial(self, gateway):
        peer = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
        self.addCleanup(peer.close)
        return peer

    def test_slow_requests_are_cut_off(self):
        with Gateway(self.dir) as gateway:
            peers = [self.dial(gateway) for _ in range(20)]
            start = time.monotonic()
            open_peers = set(peers)
            while open_peers and time.monotonic() - start < 25:
                for peer in list(open_peers):
                    try:
                        peer.send(b"G")  # a byte now and then keeps an idle time-out from ever coming
                        peer.settimeout(0.02)
                        if peer.recv(1) == b"":
                            open_peers.discard(peer)
                    except socket.timeout:
                        pass
                    except OSError:
                        open_peers.discard(peer)
                self.assertEqual(gateway.ask("/api/runs")[0], 200, "others are served meanwhile")
            self.assertEqual(len(open_peers), 0, "slow requests must not last")
            self.assertGreater(time.monotonic() - start, 5, "cut off too early")

    def test_huge_and_broken_requests(self):
        with Gateway(self.dir) as gateway:
            before = gateway.memory()
            for request in [b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1000000 + b"\r\n\r\n", b"GET /" + b"a" * 1000000 + b" HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00" * 1000, b"GET / HTTP/1.1\r\n\r\n",
                            b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n", b"\r\n" * 10000, b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
                            b"".join(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A%d: b\r\n" % i * 300 for i in range(20))]:
                peer = self.dial(gateway)
                try:
                    peer.sendall(request)
                    peer.shutdown(socket.SHUT_WR)
                    answer = peer.recv(4096)
                except OSError:
                    answer = b""
                self.assertFalse(answer.startswith(b"HTTP/1.1 200") and len(request) > 200, request[:60])
                peer.close()
                self.assertEqual(gateway.ask("/")[0], 200, f"after {request[:40]}")
            self.assertLess(gateway.memory() - before, 64 << 20)

    def test_many_connections(self):
        with Gateway(self.dir) as gateway:
            peers = []
            for _ in range(300):
                try:
                    peers.append(self.dial(gateway))
                except OSError:
                    break
            for peer in peers:
                peer.close()

            def answers():
                try:
                    return gateway.ask("/api/runs")[0] == 200
                except OSError:
                    return False
            wait_for(answers, 30)

    def test_a_stream_that_is_not_read_is_dropped_and_others_go_on(self):
        with Publisher("busy", self.path("busy")) as run, Gateway(self.dir) as gateway:
            run.status(state="training")
            wait_for(lambda: gateway.of_run("status", "busy")["link"] == "live")
            before = gateway.memory()
            sleeper, reader = self.dial(gateway), self.dial(gateway)
            sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for peer in (sleeper, reader):
                peer.sendall(b"GET /api/events?run=busy HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertIn(b"text/event-stream", reader.recv(4096))
            reader.settimeout(60)
            seen, sent = 0, 0
            while seen < 16 << 20:
                for _ in range(50):
                    run.publish("event", run_event(run, sent))
                    sent += 1
                tail, last = b"", b'"step":%d,' % (sent - 1)
                while last not in tail:  # no more before these have come: who keeps up must never be behind
                    part = reader.recv(1 << 20)
                    if not part:
                        self.fail("a reader that keeps up was dropped")
                    seen += len(part)
                    tail = (tail + part)[-(1 << 20):]
            self.assertLess(gateway.memory() - before, 96 << 20, "the queue of one who does not read must not grow")
            self.assertEqual(gateway.ask("/api/runs")[0], 200)

            def ended():
                """The stream of the sleeper ends."""
                sleeper.settimeout(0.05)
                try:
                    return sleeper.recv(1 << 16) == b""
                except socket.timeout:
                    return False
                except OSError:
                    return True
            wait_for(ended, 40)

    def test_messages_that_are_none(self):
        with Publisher("odd", self.path("odd")) as run, Gateway(self.dir) as gateway:
            publish_step(run, 1)
            wait_for(lambda: gateway.of_run("status", "odd")["link"] == "live")
            with run.lock:
                for parts in [[b"status"], [b"status", b"\xff" * 100], [b"status", b"", b"more"], [b"x" * 1000, b"y"], [b"", b""], [b"status", b"\x62\x00" * 500000]]:
                    run.socket.send_multipart(parts)
            step = run.message.last_step
            step.loss.extend([1.0] * 100)  # more branches than a model can have
            with run.lock:
                run.publish("step", step)
            del step.loss[3:]
            publish_step(run, 2)
            run.status()
            wait_for(lambda: gateway.of_run("status", "odd")["status"].get("last_step", {}).get("step") == 2)

    def test_too_many_streams(self):
        with Publisher("r", self.path("r")), Gateway(self.dir) as gateway:
            peers = [self.dial(gateway) for _ in range(26)]
            for peer in peers:
                peer.sendall(b"GET /api/events?run=r HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answers = [peer.recv(64).split(b"\r\n")[0] for peer in peers]
            self.assertEqual(answers.count(b"HTTP/1.1 200 OK"), 24)
            self.assertEqual(sum(b"503" in a for a in answers), 2)
            self.assertEqual(gateway.ask("/api/runs")[0], 200)
            for peer in peers:
                peer.close()

            def accepted():
                """The places of streams that were closed are free again."""
                peer = self.dial(gateway)
                peer.sendall(b"GET /api/events?run=r HTTP/1.1\r\nHost: localhost\r\n\r\n")
                first = peer.recv(64)
                peer.close()
                return first.startswith(b"HTTP/1.1 200")
            wait_for(accepted, 30)

    def test_signals_end_it_with_streams_open(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Publisher("s", self.path("s")), Gateway(self.dir) as gateway:
                peer = self.dial(gateway)
                peer.sendall(b"GET /api/events?run=s HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertIn(b"200", peer.recv(64))
                gateway.process.send_signal(number)
                self.assertEqual(gateway.process.wait(timeout=20), 0)


def run_event(run, number):
    from publisher import pb

    return pb.Event(time=1.0, step=number, level="info", name="flood", text="x" * 10000)


if __name__ == "__main__":
    unittest.main()
