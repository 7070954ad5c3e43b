"""RFC 9113 by hand: frames as bytes, field blocks without a table, and a client that says nothing that a test did not
ask it to say."""

import socket
import struct

import hpack

from harness.bound import PATIENCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Frame types (§6).
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
# Flags.
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
# Error codes (§7).
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, \
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, \
    HTTP_1_1_REQUIRED = range(14)
# Settings (§6.5.2).
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, \
    MAX_HEADER_LIST_SIZE = range(1, 7)


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """One frame; `length` lies about that of the payload."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def number(value, prefix, first=0):
    """An integer with a prefix of so many bits (RFC 7541 §5.1), the bits before it in `first`."""
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([first | value])
    out, value = bytearray([first | limit]), value - limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value, huffman=False):
    """A string literal (RFC 7541 §5.2)."""
    raw = value if isinstance(value, bytes) else value.encode("latin-1")
    if huffman:
        coder = hpack.huffman.HuffmanEncoder(
            hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH)
        raw = coder.encode(raw)
    return number(len(raw), 7, 0x80 if huffman else 0) + raw


def literal(name, value, first=0, huffman=False):
    """A literal field line with a new name: without indexing (0), with (0x40), or never indexed (0x10)."""
    return bytes([first]) + text(name, huffman) + text(value, huffman)


def block(fields):
    """Fields as literals without indexing: what one row sends changes nothing for what follows."""
    return b"".join(literal(name, value) for name, value in fields)


def request(path="/", method="GET", scheme="http", authority="gate.test", more=()):
    """The fields of a request; `None` leaves a pseudo-field out."""
    pseudo = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    return [(name, value) for name, value in pseudo if value is not None] + list(more)


def headers(stream, fields=None, end=True, last=True, pad=None, priority=None, flags=0):
    """HEADERS with these fields, or with a field block that is bytes; `last` is END_HEADERS, `pad` a number of bytes,
    `priority` a triple of (depends on, weight, is exclusive)."""
    fields = request() if fields is None else fields
    payload = fields if isinstance(fields, bytes) else block(fields)
    flags |= (END_STREAM if end else 0) | (END_HEADERS if last else 0)
    if priority is not None:
        flags |= WITH_PRIORITY
        payload = dependency(*priority) + payload
    if pad is not None:
        flags |= PADDED
        payload = bytes([pad]) + payload + bytes(pad)
    return frame(HEADERS, flags, stream, payload)


def get(stream, path="/", **options):
    return headers(stream, request(path, **options))


def post(stream, path="/", more=(), **options):
    """The head of a request whose body is to come."""
    return headers(stream, request(path, "POST", more=more), end=False, **options)


def data(stream, payload=b"", end=False, pad=None):
    flags = END_STREAM if end else 0
    if pad is not None:
        flags |= PADDED
        payload = bytes([pad]) + payload + bytes(pad)
    return frame(DATA, flags, stream, payload)


def continuation(stream, payload, last=True):
    return frame(CONTINUATION, END_HEADERS if last else 0, stream, payload)


def dependency(on, weight=16, exclusive=False):
    return struct.pack(">IB", on | (1 << 31 if exclusive else 0), weight - 1)


def priority(stream, on, weight=16, exclusive=False):
    return frame(PRIORITY, 0, stream, dependency(on, weight, exclusive))


def reset(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in pairs))


def ping(payload=b"gatetest", flags=0, stream=0):
    return frame(PING, flags, stream, payload)


def goaway(code=NO_ERROR, last=0, stream=0, debug=b""):
    return frame(GOAWAY, 0, stream, struct.pack(">II", last, code) + debug)


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload

    def __repr__(self):
        return f"Frame(kind={self.kind}, flags={self.flags:#x}, stream={self.stream}, {self.payload[:40]!r})"


class Answer:
    """What came back on one stream."""

    def __init__(self):
        self.heads = []
        self.body = b""
        self.is_ended = False
        self.reset = None

    @property
    def status(self):
        """Of the last head that has one; 0 before."""
        found = [value for head in self.heads for name, value in head if name == ":status"]
        return int(found[-1]) if found else 0

    @property
    def is_over(self):
        return self.is_ended or self.reset is not None


class Peer:
    """A connection that sends what it is given and notes what comes, frame by frame. It acknowledges nothing."""

    def __init__(self, address, start=PREFACE + settings()):
        self.socket = socket.create_connection(address, PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frames = []
        self.answers = {}
        self.goaways = []
        self.pongs = []
        self.is_closed = False
        self._buffer = b""
        self._decoder = hpack.Decoder()
        self._block = b""
        self._pings = 0
        self.send(start)

    def close(self):
        self.socket.close()

    def answer(self, stream):
        return self.answers.setdefault(stream, Answer())

    def send(self, payload):
        try:
            self.socket.sendall(payload)
        except (BrokenPipeError, ConnectionResetError):
            # What the gateway said before it closed can still be read.
            pass

    def _exactly(self, count):
        while len(self._buffer) < count:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                return None
            self._buffer += more
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def take(self):
        """The next frame, noted; `None` at the end of the connection."""
        head = self._exactly(9)
        payload = self._exactly(int.from_bytes(head[:3], "big")) if head is not None else None
        if payload is None:
            self.is_closed = True
            return None
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        got = Frame(kind, flags, stream, payload)
        self.frames.append(got)
        self._note(got)
        return got

    def _note(self, got):
        if got.kind in (HEADERS, CONTINUATION):
            self._block += got.payload
            if got.flags & END_HEADERS:
                fields = [(str(name), str(value)) for name, value in self._decoder.decode(self._block)]
                self.answer(got.stream).heads.append(fields)
                self._block = b""
            if got.kind == HEADERS and got.flags & END_STREAM:
                self.answer(got.stream).is_ended = True
        elif got.kind == DATA:
            self.answer(got.stream).body += got.payload
            if got.flags & END_STREAM:
                self.answer(got.stream).is_ended = True
        elif got.kind == RST_STREAM:
            self.answer(got.stream).reset = int.from_bytes(got.payload, "big")
        elif got.kind == GOAWAY:
            self.goaways.append(int.from_bytes(got.payload[4:8], "big"))
        elif got.kind == PING and got.flags & ACK:
            self.pongs.append(got.payload)

    def until(self, check):
        """Reads until `check()` or the end of the connection."""
        while not check() and not self.is_closed:
            self.take()

    def settle(self):
        """Reads until everything sent so far has had its effect: a PING's acknowledgement may overtake a RST_STREAM of
        the same turn, that of the next PING cannot."""
        for _ in range(2):
            self._pings += 1
            mark = struct.pack(">Q", self._pings)
            self.send(ping(mark))
            self.until(lambda: mark in self.pongs)

    def until_answered(self, stream):
        self.until(lambda: self.answer(stream).is_over)
