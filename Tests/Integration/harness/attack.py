"""What an attack costs, measured beside a good client, and the hands that attackers need."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

from . import crowd
from .bound import FULL, PATIENCE, until
from .crowd import (END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, ROOT, RST_STREAM, SETTINGS,
                    WINDOW_UPDATE, Frames, frame)
from .wire import Closed

MANY = 500 if FULL else 50
AFTER = 1.0 if FULL else 0.4
MEBIBYTE = 1 << 20
# What one hostile connection may cost.
ONE = 16 * MEBIBYTE
CALM, NO_ERROR, PROTOCOL_ERROR, STREAM_CLOSED, FRAME_SIZE, CANCEL = 11, 0, 1, 5, 6, 8
BIG = 4 * MEBIBYTE
TABLE = []


def write_table():
    """Into the file that ATTACK_TABLE names: whole only where one process runs them all (TEST_JOBS=1)."""
    path = os.environ.get("ATTACK_TABLE")
    if not path:
        return
    with open(path, "w", encoding="utf-8") as file:
        file.write("| attack | memory grown | CPU after, ticks in 1 s | what ended the attacker | good client: errors, p99 |\n")
        file.write("|---|---|---|---|---|\n")
        for row in TABLE:
            file.write("| " + " | ".join(row) + " |\n")


def field(pid, name):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024


def ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def metric(gateway, limit):
    """How often a limit was reached, by /metrics."""
    with socket.create_connection(gateway.address("admin"), PATIENCE) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        text = b""
        while data := sock.recv(65536):
            text += data
    found = re.search(rf'^gatehouse_limits_reached_total{{limit="{re.escape(limit)}"}} (\d+)$', text.decode(), re.MULTILINE)
    return int(found[1]) if found else 0


def attack(gateway, name, run, limit=None, grown=ONE):
    """Runs an attack beside a good client, measures it, and holds it to the bounds; what `run` says is what ended it."""
    pid = gateway.process.pid
    host, port = gateway.address("http")
    witness = subprocess.Popen(
        [sys.executable, "-B", str(pathlib.Path(crowd.__file__).parent / "witness.py"), host, str(port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert witness.stdout.readline() == "ready\n"
    counted = metric(gateway, limit) if limit else 0
    before = field(pid, "VmRSS")
    # Writing 5 makes the highest resident size begin anew (proc(5)).
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    try:
        ended = run()
        witness.stdin.write("\n")
        witness.stdin.close()
        said = json.loads(witness.stdout.readline())
        witness.wait(PATIENCE)
    finally:
        witness.kill()
        witness.wait()
        witness.stdout.close()
    memory = max(field(pid, "VmHWM") - before, 0)
    start = ticks(pid)
    threading.Event().wait(AFTER)
    after = (ticks(pid) - start) / AFTER
    if limit:
        reached = until(lambda: metric(gateway, limit) - counted, f"{limit} is counted")
        ended += f" (`{limit}` {reached})"
    TABLE.append([name, f"{memory / MEBIBYTE:.1f} MiB", f"{after:.0f}", ended,
                  f"{said['failed']} of {said['count']}, {said['p99'] * 1000:.0f} ms"])
    assert gateway.process.poll() is None
    assert said["failed"] == 0 and said["count"] > 0, said
    assert memory <= grown, f"{memory / MEBIBYTE:.1f} MiB"
    # The control side looks at memory ten times a second; a worker that spun would be a hundred.
    assert after <= 20, f"{after} ticks"
    assert said["p99"] < PATIENCE / 4, said
    return ended


def again(once):
    """An attack that is over at once is made again and again for a while, so that the good client can feel it: how often."""
    count = 0
    end = time.monotonic() + 0.4
    while count == 0 or time.monotonic() < end:
        once()
        count += 1
    return count


def everyone(address, count, begin, data, pause=0.02):
    """So many connections that begin alike and then drip in turn, until each has got something or was closed: the answers."""
    sockets = []
    for _ in range(count):
        sock = crowd.connect(address)
        sock.sendall(begin)
        sock.setblocking(False)
        sockets.append(sock)
    answers = []
    deadline = time.monotonic() + PATIENCE
    pace = threading.Event()
    step = 0
    while sockets and time.monotonic() < deadline:
        for sock in list(sockets):
            try:
                if data:
                    sock.send(data[step % len(data):step % len(data) + 1])
            except BlockingIOError:
                pass
            except OSError:
                answers.append(b"")
                sockets.remove(sock)
                continue
            try:
                answers.append(sock.recv(65536))
                sockets.remove(sock)
                sock.close()
            except BlockingIOError:
                pass
            except OSError:
                answers.append(b"")
                sockets.remove(sock)
        step += 1
        pace.wait(pause)
    assert not sockets, f"{len(sockets)} attackers were left alone"
    return answers


def statuses(answers):
    """What was answered, said once each."""
    return ", ".join(sorted({answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1") else "closed"
                             for answer in answers}))


class Raw:
    """One connection of HTTP/2 whose every frame the test writes."""

    def __init__(self, address, settings=b"", tls=None):
        self.socket = crowd.connect(address, tls)
        self.frames = Frames(self.socket)
        self.send(PREFACE + frame(SETTINGS, 0, 0, settings))
        self.resets = []

    def send(self, data):
        """`False` when the other side is gone."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def until_end(self):
        """GOAWAY's code by its name, `closed` without one; RST_STREAM codes are kept in `resets`."""
        code = None
        try:
            while True:
                kind, _, _, payload = self.frames.next()
                if kind == GOAWAY:
                    code = int.from_bytes(payload[4:8], "big")
                    if code != NO_ERROR:
                        break
                elif kind == RST_STREAM:
                    self.resets.append(int.from_bytes(payload, "big"))
        except (Closed, OSError):
            pass
        self.socket.close()
        return code

    def flood(self, pieces):
        """Sends until the other side ends it, while somebody reads what it says."""
        ended = []
        reader = threading.Thread(target=lambda: ended.append(self.until_end()), daemon=True)
        reader.start()
        for piece in pieces:
            if ended or not self.send(piece):
                break
        reader.join(PATIENCE)
        assert ended, "nothing ended it"
        return ended[0]


NAMES = {None: "closed", 0: "GOAWAY NO_ERROR", 1: "GOAWAY PROTOCOL_ERROR", 5: "GOAWAY STREAM_CLOSED", 6: "GOAWAY FRAME_SIZE_ERROR",
         9: "GOAWAY COMPRESSION_ERROR", 11: "GOAWAY ENHANCE_YOUR_CALM"}


def streams():
    """Numbers for new streams."""
    return iter(range(1, 1 << 31, 2))


def get(number, block=ROOT):
    return frame(HEADERS, END_STREAM | END_HEADERS, number, block)


def post(number):
    return frame(HEADERS, END_HEADERS, number, b"\x83" + ROOT[1:])


def rst(number):
    return frame(RST_STREAM, 0, number, b"\0\0\0\x08")


def update(number, count):
    return frame(WINDOW_UPDATE, 0, number, count.to_bytes(4, "big"))


def path(target):
    return b"\x82\x87\x04" + bytes([len(target)]) + target + ROOT[3:]
