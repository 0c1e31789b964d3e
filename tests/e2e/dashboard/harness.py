"""What the dashboard's tests share: the gateway as a process, requests, and waiting for a condition."""
import http.client
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.parse

SHELFLIFE = os.path.join(os.environ.get("SHELFLIFE_BIN", "build/dev"), "shelflife")


def wait_for(what, seconds=15.0):
    """The first true result of what(); fails after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        result = what()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"still not so after {seconds} s: {getattr(what, '__doc__', None) or what}")
        time.sleep(0.05)


class Gateway:
    """`shelflife dashboard`; its end must be clean: exit code 0, nothing on standard error, sanitizers included."""

    def __init__(self, source, *options):
        self.dir = tempfile.TemporaryDirectory()
        self.open_file = os.path.join(self.dir.name, "url")
        command = [SHELFLIFE, "dashboard", source, "--open-file", self.open_file, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: os.path.exists(self.open_file) or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise AssertionError(f"the dashboard ended: {self.process.stderr.read()}")
        with open(self.open_file) as file:
            self.url = file.read().strip()
        self.port = urllib.parse.urlsplit(self.url).port

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            _, err = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the dashboard does not end on SIGTERM")
        for pipe in (self.process.stdout, self.process.stderr):
            pipe.close()
        self.dir.cleanup()
        if kind is None and (self.process.returncode != 0 or err):
            raise AssertionError(f"the dashboard exits {self.process.returncode}: {err}")

    def ask(self, path, method="GET", headers=None, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def json(self, path):
        status, _, body = self.ask(path)
        if status != 200:
            raise AssertionError(f"{path}: {status} {body}")
        return json.loads(body)

    def of_run(self, what, name):
        return self.json(f"/api/{what}?run={urllib.parse.quote(name, safe='')}")

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def refused(*arguments):
    """Exit code and standard error of a dashboard that must not start."""
    done = subprocess.run([SHELFLIFE, "dashboard", *arguments], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr


class Case(unittest.TestCase):
    longMessage = True

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def path(self, *parts):
        return os.path.join(self.dir, *parts)
