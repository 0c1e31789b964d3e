"""A program in a pseudo-terminal, for tests: what its screen shows, keys, sizes, signals. Used by status.sh. (pyte does not know the repeat sequence of xterm, hence screen.)"""
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

import pyte


class Terminal:
    def __init__(self, command, rows, columns, **environment):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.parent_fd, child_fd = pty.openpty()
        self.resize(rows, columns, False)
        self.modes = termios.tcgetattr(child_fd)
        self.keep_fd = child_fd  # so that the modes can be asked for after the program's end
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(child_fd, termios.TIOCSCTTY, 0)
            for fd in 0, 1, 2:
                os.dup2(child_fd, fd)
            os.closerange(3, 256)
            settings = dict(os.environ, TERM="screen-256color", LC_ALL="C.UTF-8")
            settings.pop("NO_COLOR", None)
            settings.update(environment)
            os.execvpe(command[0], command, settings)

    def resize(self, rows, columns, tell=True):
        fcntl.ioctl(self.parent_fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if tell:
            self.screen.resize(rows, columns)

    def text(self):
        return "\n".join(self.screen.display)

    def read(self, seconds):
        if select.select([self.parent_fd], [], [], seconds)[0]:
            try:
                data = os.read(self.parent_fd, 65536)
            except OSError:
                return False
            self.raw += data
            self.stream.feed(data)
        return True

    def wait(self, condition, what, seconds=20):
        end = time.monotonic() + seconds
        while not condition(self.text()):
            if time.monotonic() > end:
                sys.exit(f"FAILED: {what}; the screen shows:\n{self.text()}")
            self.read(0.1)
        return self.text()

    def send(self, keys):
        os.write(self.parent_fd, keys)

    def end(self, seconds=20):
        """Waits for the program's end; gives its exit code, negative for a signal."""
        limit = time.monotonic() + seconds
        while True:
            self.read(0.05)
            pid, result = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                break
            if time.monotonic() > limit:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                sys.exit(f"FAILED: it does not end; the screen shows:\n{self.text()}")
        while select.select([self.parent_fd], [], [], 0)[0]:
            self.read(0)
        return -os.WTERMSIG(result) if os.WIFSIGNALED(result) else os.WEXITSTATUS(result)

    def restored(self):
        """Local modes as they were, the other screen left, the cursor shown."""
        now = termios.tcgetattr(self.keep_fd)
        left = self.raw.rfind(b"\x1b[?1049l") > self.raw.rfind(b"\x1b[?1049h")
        shown = self.raw.rfind(b"\x1b[?25h") > self.raw.rfind(b"\x1b[?25l") or b"\x1b[?12l\x1b[?25h" in self.raw[-64:]
        return now[3] == self.modes[3] and left and shown
