"""An upstream that keeps every byte it gets, and answers as it was told to: what a gateway really sent is judged by this,
not by what a client was told."""

import collections
import selectors
import socket
import threading

from .bound import PATIENCE, TooLate

# Steps of a scripted answer, beside bytes to send.
CLOSE = "close"
RESET = "reset"

# A request to this path is answered after everything that has arrived on any connection has been read.
MARKER = b"/conformance-marker"


class Unreadable(Exception):
    """What arrived is no message: the gateway has sent what it must never send."""


class Received:
    """One request as it arrived, whole."""

    def __init__(self, raw, lines, body, trailers, framing):
        self.raw = raw
        self.line = lines[0]
        self.lines = lines[1:]
        self.method, self.target, self.version = lines[0].split(b" ")
        self.fields = [split_field(line) for line in self.lines]
        self.body = body
        self.trailers = trailers
        self.framing = framing

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def __repr__(self):
        return f"Received({self.raw[:400]!r})"


def split_field(line):
    name, colon, value = line.partition(b":")
    if not colon or not name or name.strip() != name:
        raise Unreadable(f"no field line: {line!r}")
    return name, value.strip(b" \t")


def head_lines(head):
    lines = head.split(b"\r\n")
    for line in lines:
        if b"\r" in line or b"\n" in line or b"\0" in line or line[:1] in (b" ", b"\t"):
            raise Unreadable(f"a line that two parsers read in two ways: {line!r}")
    return lines


def parse(buffer):
    """The first request in `buffer` and how many bytes it took; `None` where more are due. As strict as RFC 9112 lets a
    server be, and written without a look at the gateway's own parser."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    lines = head_lines(bytes(buffer[:end]))
    if lines[0].count(b" ") != 2 or not lines[0].endswith(b" HTTP/1.1"):
        raise Unreadable(f"no request line: {lines[0]!r}")
    fields = [split_field(line) for line in lines[1:]]
    codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    if len(codings) + len(lengths) > 1:
        raise Unreadable(f"two framings: {lines!r}")
    at = end + 4
    if codings:
        if codings[0] != b"chunked":
            raise Unreadable(f"an unknown coding: {codings[0]!r}")
        body, trailers = b"", []
        while True:
            line_end = buffer.find(b"\r\n", at)
            if line_end < 0:
                return None
            digits = bytes(buffer[at:line_end])
            if not digits or digits.strip(b"0123456789abcdefABCDEF"):
                raise Unreadable(f"a chunk size: {digits!r}")
            size, at = int(digits, 16), line_end + 2
            if size == 0:
                break
            if len(buffer) < at + size + 2:
                return None
            body += bytes(buffer[at:at + size])
            if buffer[at + size:at + size + 2] != b"\r\n":
                raise Unreadable("a chunk without an end")
            at += size + 2
        while True:
            line_end = buffer.find(b"\r\n", at)
            if line_end < 0:
                return None
            line, at = bytes(buffer[at:line_end]), line_end + 2
            if not line:
                return Received(bytes(buffer[:at]), lines, body, trailers, "chunked"), at
            head_lines(line)
            trailers.append(split_field(line))
    if lengths:
        if not lengths[0].isdigit():
            raise Unreadable(f"a length: {lengths[0]!r}")
        size = int(lengths[0])
        if len(buffer) < at + size:
            return None
        return Received(bytes(buffer[:at + size]), lines, bytes(buffer[at:at + size]), [], "length"), at + size
    return Received(bytes(buffer[:at]), lines, b"", [], "none"), at


def answer_to(received):
    """What is said where nothing was told: whose answer this is."""
    body = received.target
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Seen: %s\r\n\r\n" % (len(body), received.target) + (
        b"" if received.method == b"HEAD" else body)


class Connection:
    def __init__(self, sock, number):
        self.socket = sock
        self.number = number
        self.buffer = bytearray()
        self.is_open = True
        # Answers under way were begun at the head of the request that is still arriving.
        self.is_early = False


class Recorder:
    """One thread serves all connections, so that what was sent first is seen first."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.connections = []
        self._requests = []
        self._partial = []
        self._scripts = collections.deque()
        self._changed = threading.Condition()
        self.violations = []
        # The steps that answer a request for which there is no script.
        self.each = None
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    # What a test says and asks.

    def script(self, *steps, early=False):
        """The steps that answer the next request: bytes, `CLOSE`, `RESET`. Without steps nothing is said. `early`: at the
        request's head, before its body has come."""
        self._scripts.append((steps, early))

    def arrived(self, count=1):
        """Waits until so many requests have arrived whole since the last `take`; the last of them."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, PATIENCE):
                raise TooLate(f"{len(self._requests)} of {count} requests arrived: {self._requests}")
            return self._requests[count - 1]

    def open_connections(self):
        with self._changed:
            return [connection for connection in self.connections if connection.is_open]

    def say(self, connection, data):
        """Sends what nobody asked for; so little that no socket refuses it."""
        connection.socket.sendall(data)

    def hang_up(self, connection):
        """Closes a connection; by a reset where the test has set the socket so."""
        with self._changed:
            if connection.is_open:
                self._end(connection)

    def until_closed(self, connection):
        with self._changed:
            if not self._changed.wait_for(lambda: not connection.is_open, PATIENCE):
                raise TooLate("the gateway keeps the connection")

    def take(self):
        """What has arrived since the last call: requests that were whole, and what was begun and broken off. To be called
        when a marker has been answered."""
        with self._changed:
            requests, partial = self._requests, self._partial
            self._requests, self._partial = [], []
            unfinished = [bytes(each.buffer) for each in self.connections if each.is_open and each.buffer]
            violations, self.violations = self.violations, []
            assert not self._scripts, f"answers that nobody asked for: {self._scripts}"
        assert not violations, violations
        return Seen(requests, partial, unfinished)

    def forget(self):
        """Begins anew after a test that failed."""
        with self._changed:
            self._requests, self._partial, self.violations = [], [], []
            self.each = None
            self._scripts.clear()

    def close(self):
        self._wake.close()
        self._thread.join(PATIENCE)

    # The thread.

    def _serve(self):
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    for each in self.connections:
                        each.socket.close()
                    self._listener.close()
                    self._woken.close()
                    self._selector.close()
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data.is_open:
                    self._read(key.data)

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, len(self.connections))
            with self._changed:
                self.connections.append(connection)
                self._changed.notify_all()
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def _read(self, connection):
        with self._changed:
            self._take(connection)
            self._changed.notify_all()

    def _take(self, connection):
        is_over = False
        while connection.is_open:
            try:
                data = connection.socket.recv(262144)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                is_over = True
                break
            connection.buffer += data
        try:
            self._answer(connection)
        except Unreadable as error:
            self.violations.append(str(error))
            is_over = True
        if is_over:
            self._end(connection)

    def _answer(self, connection):
        while connection.is_open and connection.buffer:
            if self._scripts and self._scripts[0][1] and not connection.is_early and (
                    b"\r\n\r\n" in connection.buffer and MARKER not in connection.buffer):
                connection.is_early = True
                self._run(connection, self._scripts.popleft()[0])
                continue
            found = parse(connection.buffer)
            if found is None:
                return
            received, count = found
            del connection.buffer[:count]
            if received.target == MARKER:
                self._accept()
                for other in list(self.connections):
                    if other.is_open and other is not connection:
                        self._take(other)
                self._send(connection, answer_to(received))
                continue
            received.connection = connection
            self._requests.append(received)
            if connection.is_early:
                connection.is_early = False
            elif self._scripts:
                self._run(connection, self._scripts.popleft()[0])
            else:
                self._run(connection, self.each or (answer_to(received),))

    def _run(self, connection, steps):
        for step in steps:
            if step == RESET:
                connection.socket.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                self._end(connection)
            elif step == CLOSE:
                self._end(connection)
            else:
                self._send(connection, step)

    def _send(self, connection, data):
        connection.socket.setblocking(True)
        connection.socket.settimeout(PATIENCE)
        try:
            connection.socket.sendall(data)
        except OSError:
            self._end(connection)
            return
        connection.socket.setblocking(False)

    def _end(self, connection):
        if not connection.is_open:
            return
        connection.is_open = False
        if connection.buffer:
            self._partial.append(bytes(connection.buffer))
        self._selector.unregister(connection.socket)
        connection.socket.close()


class Seen:
    """What the upstream got."""

    def __init__(self, requests, broken, unfinished):
        self.requests = requests
        # Begun, and then the connection ended.
        self.broken = broken
        # Begun, and the connection still stands.
        self.unfinished = unfinished

    def __repr__(self):
        return f"Seen({self.requests}, broken={self.broken}, unfinished={self.unfinished})"
