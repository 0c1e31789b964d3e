"""shelflife top in pseudo-terminals: sizes, resizing, keys, colours and none, signals, a crash; afterwards the terminal is as it was. Called by status.sh."""
import os
import re
import signal
import subprocess
import sys

from terminal import Terminal

shelflife, run = sys.argv[1:3]
command = [shelflife, "top", run]


def check(condition, what, terminal):
    if not condition:
        sys.exit(f"FAILED: {what}; the screen shows:\n{terminal.text()}")


def is_drawn(text):
    return "step " in text and "rank" in text and "q quit" in text and "loss" in text


def has_dots(text):
    return any("\u2800" < letter <= "\u28ff" for letter in text)


def has_colours(raw):
    codes = [code for codes in re.findall(rb"\x1b\[([0-9;]*)m", raw) for code in codes.split(b";")]
    return any(re.fullmatch(rb"[349][0-7]|[34]8", code) for code in codes)


for rows, columns in (24, 80), (12, 40), (60, 200):
    top = Terminal(command, rows, columns)
    top.wait(lambda text: is_drawn(text) and has_dots(text), f"no picture at {rows} x {columns}")
    check(top.screen.display[rows - 1].startswith("q quit"), "the foot is not at the foot", top)
    top.send(b"q")
    check(top.end() == 0, "q does not end it with 0", top)
    check(has_colours(top.raw), "no colours", top)
    check(top.restored(), "the terminal is not as it was", top)

top = Terminal(command, 24, 80)
top.wait(is_drawn, "no picture")
for rows, columns in (40, 120), (10, 50), (24, 80):
    top.resize(rows, columns)
    top.wait(lambda text: is_drawn(text) and top.screen.display[rows - 1].startswith("q quit"), f"no picture after resizing to {rows} x {columns}")
first = top.text()
top.wait(lambda text: is_drawn(text) and text != first, "it does not move")
os.kill(top.pid, signal.SIGTERM)
check(top.end() == 143, "SIGTERM does not end it with 143", top)
check(top.restored(), "the terminal is not as it was after SIGTERM", top)

top = Terminal(command, 24, 80)
top.wait(is_drawn, "no picture")
top.send(b"\x03")
check(top.end() == 0, "Ctrl-C does not end it", top)
check(top.restored(), "the terminal is not as it was after Ctrl-C", top)

top = Terminal(command, 24, 80)
top.wait(is_drawn, "no picture")
child = int(subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(top.pid)]).split()[0])
os.kill(child, signal.SIGKILL)
check(top.end() == 1, "a crash does not end it with 1", top)
check(top.restored(), "the terminal is not as it was after a crash", top)

top = Terminal(command, 24, 80, NO_COLOR="1")
top.wait(lambda text: is_drawn(text) and "vv" in text and not has_dots(text), "no letters without colours")
top.send(b"q")
check(top.end() == 0 and not has_colours(top.raw), "there are colours in spite of NO_COLOR", top)

top = Terminal(command, 24, 80, LC_ALL="C", TERM="vt100")
top.wait(is_drawn, "no picture on a vt100")
check(all(letter < "\x7f" for letter in top.text()), "more than ASCII in the C locale", top)
top.send(b"q")
check(top.end() == 0, "q does not end it on a vt100", top)

for settings in dict(TERM="dumb"), dict(TERM="no-such-terminal"):
    top = Terminal(command, 24, 160, **settings)
    top.wait(lambda text: "step " in text and "loss" in text and "fused" in text, "no lines on a dumb terminal")
    check(b"\x1b" not in top.raw, "escapes on a dumb terminal", top)
    os.kill(top.pid, signal.SIGINT)
    check(top.end() == 0, "SIGINT does not end the lines", top)
