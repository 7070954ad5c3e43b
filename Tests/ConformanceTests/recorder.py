"""An upstream that records what it is sent, and holds every byte of it to the grammar of RFC 9112."""

import re
import selectors
import socket
import threading

from harness.bound import until

REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21\x22\x24-\x7e]+) HTTP/1\.1")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*"
                        rb"[\x21-\x7e\x80-\xff])?)?)[ \t]*")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
# What is about one connection and must not have come through (RFC 9110 §7.6.1).
ENDS_HERE = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings", b"expect"}


class NotHTTP(Exception):
    """What arrived is no request."""


class Request:
    def __init__(self, head):
        lines = head.split(b"\r\n")
        first = REQUEST_LINE.fullmatch(lines[0])
        if not first:
            raise NotHTTP(f"request line {lines[0]!r}")
        self.method, self.target = (part.decode() for part in first.groups())
        self.fields = [self._field(line) for line in lines[1:]]
        self.body = b""
        self.trailers = []
        self.is_complete = False
        self.is_cut = False
        self._check()

    @staticmethod
    def _field(line):
        found = FIELD_LINE.fullmatch(line)
        if not found:
            raise NotHTTP(f"field line {line!r}")
        return found.group(1).lower(), found.group(2)

    def _check(self):
        names = [name for name, _ in self.fields]
        if names.count(b"host") != 1:
            raise NotHTTP(f"{names.count(b'host')} Host fields")
        if names.count(b"content-length") + names.count(b"transfer-encoding") > 1:
            raise NotHTTP(f"framing told more than once: {self.fields}")
        found = ENDS_HERE & set(names)
        # The gateway's own handshake for a tunnel (RFC 6455 §4.1); nothing else may be asked of a service's connection.
        asked = [(name, value.lower()) for name, value in self.fields if name in (b"connection", b"upgrade")]
        if sorted(asked) == [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]:
            found -= {b"connection", b"upgrade"}
        if found:
            raise NotHTTP(f"fields of the client's connection: {found}")
        self.length = None
        for name, value in self.fields:
            if name == b"content-length":
                if not value.isdigit():
                    raise NotHTTP(f"content-length {value!r}")
                self.length = int(value)
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                raise NotHTTP(f"transfer-encoding {value!r}")
        self.is_chunked = b"transfer-encoding" in names

    def all(self, name):
        return [value.decode("latin-1") for key, value in self.fields if key == name.encode()]

    def __repr__(self):
        end = "" if self.is_complete else ", cut" if self.is_cut else ", unfinished"
        return f"{self.method} {self.target} ({len(self.body)} bytes{end})"


class Connection:
    def __init__(self, sock):
        self.socket = sock
        self.buffer = b""
        self.request = None
        self.out = b""
        self.closes = False

    def parse(self):
        """The next request whose head is whole, with whether it is complete; `None` when bytes are missing."""
        if self.request is None:
            head, mark, rest = self.buffer.partition(b"\r\n\r\n")
            if not mark:
                return None
            self.request, self.buffer = Request(head), rest
            return self.request
        return None

    def feed_body(self):
        """Whether the request under way is complete."""
        request = self.request
        if request.is_chunked:
            return self._chunks(request)
        wanted = (request.length or 0) - len(request.body)
        request.body += self.buffer[:wanted]
        self.buffer = self.buffer[wanted:]
        return len(request.body) == (request.length or 0)

    def _chunks(self, request):
        while True:
            line, mark, rest = self.buffer.partition(b"\r\n")
            if not mark:
                return False
            if not CHUNK_SIZE.fullmatch(line):
                raise NotHTTP(f"chunk size {line!r}")
            size = int(line, 16)
            if size == 0:
                return self._trailers(request, rest)
            if len(rest) < size + 2:
                return False
            if rest[size:size + 2] != b"\r\n":
                raise NotHTTP("a chunk is longer than it says")
            request.body += rest[:size]
            self.buffer = rest[size + 2:]

    def _trailers(self, request, rest):
        if rest.startswith(b"\r\n"):
            self.buffer = rest[2:]
            return True
        lines, mark, rest = rest.partition(b"\r\n\r\n")
        if not mark:
            return False
        request.trailers = [Request._field(line) for line in lines.split(b"\r\n")]
        self.buffer = rest
        return True


class Recorder:
    """Answers 200 to what is complete: with N bytes to `/bytes/N`, never to `/hold...`, else with a short body. To a target
    of `answers` it says those bytes, and closes where they come with `True`.

    One thread reads all connections, and answers only when none has anything more to read: what reached it before the
    request of a test's last question is recorded when that is answered."""

    def __init__(self):
        self.requests = []
        self.failures = []
        self.answers = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setblocking(False)
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._due = []
        self._stops = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._stops = True
        self._wake.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._wake.close()

    def until_cut(self, request):
        until(lambda: request.is_cut or request.is_complete, "the end of a request that was cut")

    def _run(self):
        while not self._stops:
            ready = self._selector.select(0 if self._due else None)
            for key, mask in ready:
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data is not None:
                    if mask & selectors.EVENT_WRITE:
                        self._write(key.data)
                    if mask & selectors.EVENT_READ:
                        self._read(key.data)
            if not ready:
                due, self._due = self._due, []
                for connection, request in due:
                    self._answer(connection, request)

    def _accept(self):
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(sock, selectors.EVENT_READ, Connection(sock))

    def _read(self, connection):
        try:
            more = connection.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            if connection.request is not None:
                connection.request.is_cut = True
            elif connection.buffer:
                self.failures.append(f"a head was cut: {connection.buffer!r}")
            self._drop(connection)
            return
        connection.buffer += more
        try:
            while self._parse(connection):
                pass
        except NotHTTP as error:
            self.failures.append(str(error))
            self._drop(connection)

    def _parse(self, connection):
        found = connection.parse()
        if found is not None:
            self.requests.append(found)
        if connection.request is None or not connection.feed_body():
            return False
        request, connection.request = connection.request, None
        request.is_complete = True
        self._due.append((connection, request))
        return bool(connection.buffer)

    def _answer(self, connection, request):
        if request.target.startswith("/hold"):
            return
        if request.target in self.answers:
            said, connection.closes = self.answers[request.target]
            connection.out += said
            self._write(connection)
            return
        body = b"whole\n"
        if request.target.startswith("/bytes/"):
            body = bytes(int(request.target.split("/")[2]))
        connection.out += b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        if request.method != "HEAD":
            connection.out += body
        self._write(connection)

    def _write(self, connection):
        if connection.socket.fileno() < 0:
            return
        try:
            sent = connection.socket.send(connection.out) if connection.out else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        connection.out = connection.out[sent:]
        if connection.closes and not connection.out:
            self._drop(connection)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.out else 0)
        self._selector.modify(connection.socket, wanted, connection)

    def _drop(self, connection):
        self._selector.unregister(connection.socket)
        connection.socket.close()
