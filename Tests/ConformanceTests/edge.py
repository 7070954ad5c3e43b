"""The gateway under judgement between a client that sends any bytes and an upstream that keeps all it gets."""

from harness.gateway import Gateway, plain
from harness.recorder import MARKER, Recorder, head_lines, split_field
from harness.wire import Client, Closed, problem

# Fields that the gateway writes itself into each request, behind those of the client.
OURS = [b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"Forwarded", b"X-Request-ID"]


def case(clause, name, *values):
    """One row of a table: its id is the clause that it holds the gateway to, and what it sends."""
    import pytest
    assert len(clause.split(" ")) == 2, clause
    return pytest.param(*values, id=f"RFC {clause.replace('§', '')}: {name}")


class Edge:
    def __init__(self, folder):
        self.recorder = Recorder()
        # One worker: what a connection brings is dealt with before what comes after it on another.
        config = plain(self.recorder, workers=1)
        config["listeners"]["http"]["connections"] = {"per_client": 10000}
        config["services"]["quick"] = {"to": [f"http://{self.recorder.address}"]}
        config["routes"] += [
            {"name": "host", "match": {"prefix": "/host"}, "to": "up", "preserve_host": True},
            {"name": "small", "match": {"prefix": "/small"}, "to": "up", "body": {"max": "1KiB"}},
            {"name": "chunks", "match": {"prefix": "/c"}, "to": "up", "body": {"max": "none"}},
            {"name": "quick", "match": {"prefix": "/quick"}, "to": "quick", "timeouts": {"request": "300ms"}},
        ]
        self.gateway = Gateway(folder, config)
        self._control = None

    def close(self):
        if self._control is not None:
            self._control.close()
        try:
            self.gateway.stop()
        finally:
            self.recorder.close()

    def client(self):
        return Client(self.gateway.address())

    def settle(self):
        """What the upstream has got since the last look: all that the gateway had sent when it was asked."""
        if self._control is None:
            self._control = self.client()
        try:
            answer = self._control.ask(target=MARKER.decode())
        except Closed:
            self._control = self.client()
            answer = self._control.ask(target=MARKER.decode())
        assert answer.status == 200, answer.start_line
        return self.recorder.take()


def push(client, data, piece=None):
    """Sends all, or as much as the gateway takes: it may close before the rest."""
    try:
        if piece is None:
            client.send(data)
        else:
            for at in range(0, len(data), piece):
                client.send(data[at:at + piece])
    except (BrokenPipeError, ConnectionResetError):
        pass


def refusal(client, reason, method="GET"):
    """The gateway's own answer, for exactly this reason, after which it closes."""
    answer = client.response(method)
    said = problem(answer, reason)
    assert said["reason"] == reason, said
    assert [value.lower() for value in answer.all("connection")] == ["close"], answer.fields
    assert client.until_close() == b"", "bytes behind the last answer"
    return said


def forwarded(received, line, lines, upstream, host=None):
    """The request arrived as this line and these field lines, byte for byte, with the gateway's own around them."""
    assert received.line == line, received.raw
    assert received.lines[0] == b"Host: " + (host or upstream.encode()), received.raw
    count = len(received.lines) - len(lines) - 1
    own = [name for name, _ in received.fields[1 + len(lines):]]
    # A request of HTTP/1.0 may have no host, of which nothing is said then.
    has_host = any(b"host=" in value for name, value in received.fields if name == b"Forwarded")
    ours = [name for name in OURS if has_host or name != b"X-Forwarded-Host"]
    wanted = ours + ([b"Transfer-Encoding"] if received.framing == "chunked" else [])
    assert received.lines[1:1 + len(lines)] == lines, received.raw
    assert own == wanted and count == len(wanted), received.raw


HOST = b"Host: gate.test\r\n"
# What stands behind a message that is refused, and wants past the gateway.
NEXT = b"GET /smuggled HTTP/1.1\r\nHost: gate.test\r\n\r\n"


def is_refused(edge, data, reason, piece=None, method="GET"):
    """The client is told why, its connection ends, and the upstream gets no whole request of it."""
    with edge.client() as client:
        push(client, data + NEXT, piece)
        said = refusal(client, reason, method)
    seen = edge.settle()
    # A body may be refused in its middle, when its head has gone on: then the upstream's connection ends there.
    assert not seen.requests and not seen.unfinished, seen
    return said, seen


def passes(edge, data, line, lines, body=b"", trailers=(), piece=None, host=None, status=200):
    """The upstream gets exactly this, the client its answer, and both connections go on."""
    with edge.client() as client:
        push(client, data, piece)
        method = line.split(b" ")[0].decode("latin-1")
        answer = client.response(method)
        assert answer.status == status, (answer.start_line, answer.body)
        assert answer.get("x-seen") == line.split(b" ")[1].decode("latin-1"), answer.fields
        goes_on(client)
    seen = edge.settle()
    assert not seen.broken and not seen.unfinished, seen
    assert [received.target for received in seen.requests[1:]] == [b"/next"], seen
    received = seen.requests[0]
    forwarded(received, line, lines, edge.recorder.address, host)
    assert (received.body, received.trailers) == (body, list(trailers)), received
    return received


def goes_on(client):
    """The connection carries a further request, and its answer is that request's own."""
    answer = client.ask(target="/next")
    assert (answer.status, answer.body) == (200, b"/next"), (answer.start_line, answer.body)


# The upstream's side.

GET = b"GET /r HTTP/1.1\r\n" + HOST + b"\r\n"
HEAD = b"HEAD /r HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /r HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nbody"
OLD = b"GET /r HTTP/1.0\r\n\r\n"
# What an upstream sends behind an answer that was asked for; nobody may ever get it.
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Poison: yes\r\n\r\npoison"


class Answer:
    """A response as it reached the client, line by line."""

    def __init__(self, lines):
        self.line = lines[0]
        self.lines = lines[1:]
        self.fields = [split_field(line) for line in self.lines]
        self.status = int(lines[0].split(b" ")[1])
        self.body = b""
        self.trailers = []

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]


def read_answer(client, method="GET"):
    """The next final response, read strictly; the interim ones are its `interim`."""
    interim = []
    while True:
        while b"\r\n\r\n" not in client.buffer:
            client._more()
        head, _, client.buffer = client.buffer.partition(b"\r\n\r\n")
        answer = Answer(head_lines(head))
        if answer.status >= 200:
            break
        interim.append(answer)
    answer.interim = interim
    codings, lengths = answer.all(b"transfer-encoding"), answer.all(b"content-length")
    assert len(codings) + len(lengths) <= 1 or method == "HEAD" or answer.status == 304, answer.lines
    if method == "HEAD" or answer.status in (204, 304):
        return answer
    if codings:
        assert codings == [b"chunked"], answer.lines
        while (size := int(client.line(), 16)) > 0:
            answer.body += client.exactly(size)
            assert client.exactly(2) == b"\r\n"
        while line := client.line():
            answer.trailers.append(line.encode("latin-1"))
    elif lengths:
        answer.body = client.exactly(int(lengths[0]))
    else:
        answer.body = client.until_close()
    return answer


def asked(edge, client, *steps, send=GET, early=False):
    """Sends a request that the upstream answers by these steps."""
    edge.recorder.script(*steps, early=early)
    client.send(send)


def nothing_is_poisoned(edge, client, count=1):
    """Asked again, on the client's connection where it stands and on a new one: each gets its own answer. The upstream has
    had the request `count` times."""
    if client is not None:
        goes_on(client)
    with edge.client() as other:
        goes_on(other)
        goes_on(other)
    seen = edge.settle()
    targets = [received.target for received in seen.requests]
    assert targets == [b"/r"] * count + [b"/next"] * (3 if client is not None else 2), seen
    assert not seen.broken and not seen.unfinished, seen
    return seen.requests[0].connection


def given_up(edge, connection):
    """The gateway does not use an upstream's connection any more."""
    edge.recorder.until_closed(connection)
