"""HTTP/1.1 by hand: connections that see and send every byte, for clients and upstreams alike."""

import json
import socket
import ssl

from . import names
from .bound import PATIENCE


class Closed(Exception):
    """The peer closed, or reset, where more was due."""

    def __init__(self, text, got=b""):
        super().__init__(f"{text}; got {got[-200:]!r}")
        self.got = got


class Message:
    """A request or response as it stood on the wire: order and spelling of the fields kept."""

    def __init__(self, start_line, fields):
        self.start_line = start_line
        self.fields = fields
        self.body = b""
        self.chunks = []
        self.trailers = []

    @property
    def status(self):
        return int(self.start_line.split(" ")[1])

    @property
    def method(self):
        return self.start_line.split(" ")[0]

    @property
    def target(self):
        return self.start_line.split(" ")[1]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        if len(values) > 1:
            raise AssertionError(f"{name} stands {len(values)} times: {values}")
        return values[0] if values else default

    def field_names(self):
        return [key.lower() for key, _ in self.fields]

    def json(self):
        return json.loads(self.body)


class Wire:
    """A connected socket with a buffer. Every wait ends after `PATIENCE`."""

    def __init__(self, sock):
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)

    def finish_sending(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Closes with a RST instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.socket.close()

    def close(self):
        self.socket.close()

    def _more(self):
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError) as error:
            raise Closed(f"reset: {error}", self.buffer) from error
        if not data:
            raise Closed("end of the connection", self.buffer)
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("latin-1")

    def exactly(self, count):
        parts, left = [], count
        while left > 0:
            if not self.buffer:
                self._more()
            part, self.buffer = self.buffer[:left], self.buffer[left:]
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def until_close(self):
        """Everything up to the end; a reset is an error, since it can cost the reader bytes."""
        while True:
            try:
                self._more()
            except Closed as closed:
                if "reset" in str(closed):
                    raise
                rest, self.buffer = self.buffer, b""
                return rest

    def is_closed(self):
        """Waits for the peer's end; whatever came before it is an error."""
        try:
            self._more()
        except Closed:
            return True
        raise AssertionError(f"bytes where the end was due: {self.buffer[:200]!r}")

    def head(self):
        start_line = self.line()
        return Message(start_line, self._field_lines())

    def _field_lines(self):
        fields = []
        while True:
            line = self.line()
            if not line:
                return fields
            name, value = line.split(":", 1)
            fields.append((name, value.strip(" \t")))

    def chunked(self, message):
        while True:
            size = int(self.line().split(";")[0], 16)
            if size == 0:
                message.trailers = self._field_lines()
                message.body = b"".join(message.chunks)
                return
            message.chunks.append(self.exactly(size))
            if self.exactly(2) != b"\r\n":
                raise AssertionError("a chunk does not end with CRLF")

    def body(self, message, is_response=False):
        if "chunked" in message.get("transfer-encoding", "").lower():
            self.chunked(message)
        elif message.get("content-length") is not None:
            message.body = self.exactly(int(message.get("content-length")))
        elif is_response:
            message.body = self.until_close()
        return message

    def request(self):
        """The next request; `None` when the peer closed instead."""
        try:
            message = self.head()
        except Closed as closed:
            if closed.got:
                raise
            return None
        return self.body(message)


def connected(address):
    """A socket connected to `(host, port)`, or to a path."""
    if isinstance(address, tuple):
        sock = socket.create_connection(address, PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(address))
    return sock


class Client(Wire):
    """A client connection to a listener of the gateway."""

    def __init__(self, address, tls=None, name="localhost", preamble=b""):
        sock = connected(address)
        sock.sendall(preamble)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=name)
        super().__init__(sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def response(self, method="GET"):
        """The next final response; interim ones (1xx) are kept in `interim`."""
        self.interim = []
        while True:
            message = self.head()
            if 100 <= message.status < 200 and message.status != 101:
                self.interim.append(message)
                continue
            if method == "HEAD" or message.status in (204, 304):
                return message
            return self.body(message, is_response=True)

    def ask(self, method="GET", target="/", fields=(), body=None, host="gate.test"):
        """One request with its answer. A body goes with Content-Length unless the fields say otherwise."""
        self.send(request(method, target, fields, body, host))
        return self.response(method)


def request(method="GET", target="/", fields=(), body=None, host="gate.test"):
    lines = [f"{method} {target} HTTP/1.1"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in fields]
    if body is not None and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in fields):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def chunked(*chunks, trailers=()):
    out = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return out + b"0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in trailers) + b"\r\n"


def response(status, fields=(), body=b"", reason="Answer"):
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in fields)]
    framed = {name.lower() for name, _ in fields}
    if not framed & {"content-length", "transfer-encoding"} and status not in (204, 304):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def problem(answer, reason):
    """The gateway made this answer itself: it has the shape of RFC 9457 with our members, and says this reason."""
    assert answer.status == names.REASONS[reason], (answer.start_line, answer.body)
    assert answer.get("content-type") == "application/problem+json", answer.fields
    said = json.loads(answer.body)
    assert {"type", "title", "status", "reason", "request_id"} <= set(said), said
    assert said["status"] == answer.status and said["reason"] in names.kind(reason), said
    return said
