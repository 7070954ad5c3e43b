"""What comes in pieces goes on in pieces: event streams, interim answers, ranges (RFC 9110 §15.2, §14; RFC 8297)."""

import threading

import pytest

from harness.bound import PATIENCE
from harness.gateway import merged, plain
from harness.http2 import Client2
from harness.wire import request, response

FORMS = ["chunked", "close", "length"]
EVENTS = [b"data: %d\n\n" % number for number in range(6)]


class Stream:
    """An upstream's `answer` that sends the next event only when the one before is at the client."""

    def __init__(self, form):
        self.form = form
        self.arrived = threading.Semaphore(0)

    def __call__(self, wire, _):
        fields = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")]
        if self.form == "chunked":
            fields.append(("Transfer-Encoding", "chunked"))
        elif self.form == "length":
            fields.append(("Content-Length", str(sum(map(len, EVENTS)))))
        head = response(200, fields)
        if self.form == "close":
            head = head.replace(b"Content-Length: 0\r\n", b"")
        # The head too is passed on by itself.
        wire.send(head)
        assert self.arrived.acquire(timeout=PATIENCE), "the head did not arrive at the client"
        for event in EVENTS:
            wire.send(b"%x\r\n%s\r\n" % (len(event), event) if self.form == "chunked" else event)
            assert self.arrived.acquire(timeout=PATIENCE), f"{event} did not arrive at the client"
        if self.form == "chunked":
            wire.send(b"0\r\n\r\n")
        return self.form != "close"


def secured(config, certificate):
    return merged(config, {"listeners": {
        "http": None, "https": {"bind": ["127.0.0.1:0"], "tls": certificate.settings()}}})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_over_http_1_each_event_is_at_the_client_before_the_next_is_sent(
        gateways, upstreams, clients, certificate, form, tls):
    stream = Stream(form)
    config = plain(upstreams(stream))
    gateway = gateways(secured(config, certificate) if tls else config)
    client = clients(gateway, tls=certificate.client("http/1.1") if tls else None)
    client.send(request())
    head = client.head()
    assert head.status == 200 and head.get("content-type") == "text/event-stream"
    stream.arrived.release()
    for event in EVENTS:
        if form == "length":
            assert client.exactly(len(event)) == event
        else:
            # A service that closes behind its body is read in chunks too.
            assert int(client.line(), 16) == len(event)
            assert client.exactly(len(event)) == event and client.exactly(2) == b"\r\n"
        stream.arrived.release()
    if form != "length":
        assert client.line() == "0" and client.line() == ""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_over_http_2_each_event_is_at_the_client_before_the_next_is_sent(
        gateways, upstreams, certificate, form, tls):
    stream = Stream(form)
    config = plain(upstreams(stream))
    gateway = gateways(secured(config, certificate) if tls else config)
    with Client2(gateway.address(), tls=certificate.client("h2", "http/1.1") if tls else None) as client:
        answer = client.streams[client.request()]
        client.until(lambda: answer.fields)
        stream.arrived.release()
        expected = b""
        for event in EVENTS:
            expected += event
            client.until(lambda: len(answer.body) >= len(expected))
            assert answer.body == expected
            stream.arrived.release()
        client.until(lambda: answer.is_ended)


def test_to_http_1_0_each_event_is_passed_on_too(gateways, upstreams, clients):
    stream = Stream("chunked")
    client = clients(gateways(plain(upstreams(stream))))
    client.send(b"GET / HTTP/1.0\r\nHost: gate.test\r\n\r\n")
    head = client.head()
    assert head.get("transfer-encoding") is None and head.get("connection") == "close"
    stream.arrived.release()
    for event in EVENTS:
        assert client.exactly(len(event)) == event
        stream.arrived.release()
    assert client.is_closed()


def test_a_request_body_is_passed_on_as_it_comes_too(gateways, upstreams, clients):
    """And its answer while it still comes, as bidirectional streams want."""
    def serve(wire):
        head = wire.head()
        assert head.get("transfer-encoding") == "chunked"
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (size := int(wire.line(), 16)) > 0:
            piece = wire.exactly(size)
            wire.exactly(2)
            wire.send(b"%x\r\n%s\r\n" % (size, piece))
        wire.line()
        wire.send(b"0\r\n\r\n")
    gateway = gateways(plain(upstreams(serve=serve)))
    with Client2(gateway.address()) as client:
        number = client.request("POST", end=False)
        answer = client.streams[number]
        client.until(lambda: answer.fields)
        for count in range(1, 6):
            client.data(number, b"ping", end=False)
            client.until(lambda: len(answer.body) == 4 * count)
        client.data(number, b"", end=True)
        client.until(lambda: answer.is_ended)


# Interim answers

HINTS = (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\r\n"
         b"HTTP/1.1 102 Processing\r\nConnection: X-Gone\r\nX-Gone: 1\r\n\r\n")


class Hinting:
    """Sends hints, and the final answer only when they are at the client."""

    def __init__(self):
        self.arrived = threading.Event()

    def __call__(self, wire, _):
        wire.send(HINTS)
        assert self.arrived.wait(PATIENCE), "the hints did not arrive at the client"
        wire.send(response(200, body=b"late"))
        return True


def test_early_hints_are_at_a_client_of_http_1_1_before_the_answer(gateways, upstreams, clients):
    answer = Hinting()
    client = clients(gateways(plain(upstreams(answer))))
    client.send(request())
    hints, processing = client.head(), client.head()
    assert hints.status == 103 and hints.all("link") == ["</a.css>; rel=preload", "</b.js>; rel=preload"]
    assert processing.status == 102 and processing.fields == []
    answer.arrived.set()
    final = client.response()
    assert final.status == 200 and final.body == b"late" and client.interim == []


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_early_hints_are_at_a_client_of_http_2_before_the_answer(gateways, upstreams, certificate, tls):
    answer = Hinting()
    config = plain(upstreams(answer))
    gateway = gateways(secured(config, certificate) if tls else config)
    with Client2(gateway.address(), tls=certificate.client("h2", "http/1.1") if tls else None) as client:
        number = client.request()
        stream = client.streams[number]
        client.until(lambda: len(stream.interim) == 2)
        assert [dict(fields)[":status"] for fields in stream.interim] == ["103", "102"]
        assert [value for name, value in stream.interim[0] if name == "link"] == [
            "</a.css>; rel=preload", "</b.js>; rel=preload"]
        answer.arrived.set()
        assert client.answer(number).body == b"late"


def test_a_client_of_http_1_0_gets_no_interim_answer(gateways, upstreams, clients):
    def answer(wire, _):
        wire.send(HINTS + response(200, body=b"late"))
        return True
    client = clients(gateways(plain(upstreams(answer))))
    client.send(b"GET / HTTP/1.0\r\nHost: gate.test\r\n\r\n")
    assert client.head().status == 200
    assert client.until_close() == b"late"


# Ranges

RANGES = {
    "one": ("bytes=2-5", 206, [("Content-Range", "bytes 2-5/10"), ("ETag", '"v1"')], b"2345"),
    "many": ("bytes=0-1,8-9", 206, [("Content-Type", "multipart/byteranges; boundary=X")],
             b"--X\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n--X\r\nContent-Range: bytes 8-9/10\r\n\r\n89\r\n--X--\r\n"),
    "none": ("bytes=99-", 416, [("Content-Range", "bytes */10")], b""),
    "ignored": ("lines=1-2", 200, [("Accept-Ranges", "bytes")], b"0123456789"),
}


@pytest.mark.parametrize("case", RANGES)
@pytest.mark.parametrize("version", [1, 2])
def test_ranges_and_their_answers_pass_unchanged(gateways, upstreams, clients, case, version):
    wanted, status, fields, body = RANGES[case]

    def answer(wire, _):
        wire.send(response(status, fields, body))
        return True
    upstream = upstreams(answer)
    gateway = gateways(plain(upstream))
    if version == 1:
        got = clients(gateway).ask(fields=[("Range", wanted), ("If-Range", '"v1"')])
    else:
        with Client2(gateway.address()) as client:
            got = client.ask(fields=[("range", wanted), ("if-range", '"v1"')])
    asked = upstream.received()
    assert asked.get("range") == wanted and asked.get("if-range") == '"v1"'
    assert got.status == status and got.body == body
    assert got.get("content-length") == str(len(body))
    for name, value in fields:
        assert got.get(name) == value
