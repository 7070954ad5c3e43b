"""Many clients that each ask once and then stay: raw sockets, so that thousands of them cost the tester little."""

import socket
import ssl
import threading

from .bound import PATIENCE
from .wire import Closed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
# ":method: GET", ":scheme: https", ":path: /" are in the static table of RFC 7541; ":authority" is a literal.
ROOT = b"\x82\x87\x84\x01\x09gate.test"


def frame(kind, flags, stream, payload=b""):
    """One frame of HTTP/2 (RFC 9113 §4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Frames:
    """The frames that a socket brings, and its end."""

    def __init__(self, sock):
        self.socket = sock
        self.buffer = b""

    def _exactly(self, count):
        while len(self.buffer) < count:
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLError) as error:
                raise Closed(f"reset: {error}", self.buffer) from error
            if not data:
                raise Closed("end of the connection", self.buffer)
            self.buffer += data
        part, self.buffer = self.buffer[:count], self.buffer[count:]
        return part

    def next(self):
        """(kind, flags, stream, payload)"""
        head = self._exactly(9)
        return head[3], head[4], int.from_bytes(head[5:9], "big"), self._exactly(int.from_bytes(head[:3], "big"))


def connect(address, tls=None, protocol="h2"):
    """A connected socket, encrypted where `tls` is given."""
    sock = socket.create_connection(address, PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        sock = tls.wrap_socket(sock, server_hostname="localhost")
        assert sock.selected_alpn_protocol() in (protocol, None), sock.selected_alpn_protocol()
    sock.settimeout(PATIENCE)
    return sock


def fill(address, tls, is_full, most=3000):
    """Connects with TLS until `is_full()`; the sockets. A connection is some KiB. They come slowly, since memory is looked at
    ten times a second at the most and should not be past the first of its levels by then."""
    sockets, pause = [], threading.Event()
    while len(sockets) < most:
        sockets += [connect(address, tls, None) for _ in range(10)]
        if is_full():
            return sockets
        pause.wait(0.02)
    raise AssertionError(f"{most} connections are not enough")


def ask_http2(sock):
    """One request on a fresh connection, answered whole; the connection stays."""
    sock.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_STREAM | END_HEADERS, 1, ROOT))
    frames = Frames(sock)
    while True:
        kind, flags, stream, payload = frames.next()
        if kind == SETTINGS and not flags & ACK:
            sock.sendall(frame(SETTINGS, ACK, 0))
        assert kind not in (GOAWAY, RST_STREAM), (kind, payload)
        if stream == 1 and kind in (DATA, HEADERS) and flags & END_STREAM:
            return


def ask_http1(sock):
    """One request, answered whole; the connection stays."""
    sock.sendall(b"GET / HTTP/1.1\r\nHost: gate.test\r\n\r\n")
    got = b""
    while b"\r\n\r\n" not in got:
        got += sock.recv(65536)
    head, body = got.split(b"\r\n\r\n", 1)
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(65536)


def crowd(address, count, protocol, tls):
    """So many connections, each idle after its one request."""
    sockets = []
    for _ in range(count):
        sock = connect(address, tls, protocol)
        (ask_http2 if protocol == "h2" else ask_http1)(sock)
        sockets.append(sock)
    return sockets


def pss_bytes(pid, kind="Pss"):
    """The process's proportional share of resident memory; `Pss_Anon` is that without pages of files."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        for line in rollup:
            if line.startswith(kind + ":"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no Pss")
