"""RFC 9113 through the gateway: streams onto HTTP/1.1 services."""

import hashlib
import os
import threading
import time

import pytest

from harness.bound import PATIENCE
from harness.gateway import plain
from harness.http2 import Client2, problem
from harness.tools import curl
from harness.wire import chunked, response


@pytest.fixture
def client2(gateway):
    with Client2(gateway.address()) as client:
        yield client


@pytest.fixture
def secure(gateways, upstream, certificate):
    return gateways(plain(upstream, listeners={
        "http": None, "https": {"bind": ["127.0.0.1:0"], "tls": certificate.settings()}}))


def connect(gateways, upstreams, **behaviour):
    gateway = gateways(plain(upstreams(**behaviour)))
    return Client2(gateway.address())


def test_curl_speaks_http_2_with_prior_knowledge_and_over_tls(gateway, secure, certificate):
    assert b'"/a"' in curl("--http2-prior-knowledge", gateway.url("/a"))
    host, port = secure.address()
    out = curl("--http2", "--cacert", str(certificate.ca), "-w", "\n%{http_version}", f"https://localhost:{port}/a",
               "--resolve", f"localhost:{port}:{host}")
    assert out.endswith(b"\n2") and b'"/a"' in out
    out = curl("--http1.1", "--cacert", str(certificate.ca), "-w", "\n%{http_version}", f"https://localhost:{port}/a",
               "--resolve", f"localhost:{port}:{host}")
    assert out.endswith(b"\n1.1")


def test_streams_are_served_side_by_side(gateways, upstreams):
    """A slow stream does not hold the others of its connection."""
    slow = threading.Event()

    def answer(wire, request):
        if request.target == "/slow":
            slow.wait(PATIENCE)
        wire.send(response(200, body=request.target.encode()))
        return True

    with connect(gateways, upstreams, answer=answer) as client:
        first = client.request(path="/slow")
        numbers = {client.request(path=f"/{number}"): number for number in range(50)}
        for number, name in numbers.items():
            assert client.answer(number).body == f"/{name}".encode()
        assert not client.streams[first].is_ended
        slow.set()
        assert client.answer(first).body == b"/slow"


@pytest.mark.parametrize("size", [0, 1, 16384, 65535, 65536, 3_000_000])
def test_a_request_body_arrives_whole(client2, size):
    body = os.urandom(size)
    said = client2.ask("POST", "/up", body=body).json()
    assert (said["length"], said["sha256"]) == (size, hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("size", [0, 1, 16384, 65535, 65536, 3_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_response_body_arrives_whole(gateways, upstreams, size, framing):
    body = os.urandom(size)

    def answer(wire, _):
        if framing == "length":
            wire.send(response(200, body=body))
        elif framing == "chunked":
            wire.send(response(200, [("Transfer-Encoding", "chunked")]) + chunked(*([body] if body else [])))
        else:
            wire.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        return framing != "close"

    with connect(gateways, upstreams, answer=answer) as client:
        for _ in range(2):
            assert client.ask().body == body


def test_the_head_is_translated(client2):
    """RFC 9113 §8.3.1: :authority is the host; nothing of HTTP/2 leaks; cookie crumbs are one field (§8.2.3)."""
    said = client2.ask(path="/x?y", fields=[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]).json()
    assert said["target"] == "/x?y"
    fields = [(name.lower(), value) for name, value in said["fields"]]
    assert ("x-forwarded-host", "gate.test") in fields
    assert [value for name, value in fields if name == "cookie"] == ["a=1; b=2"]
    assert not any(name.startswith(":") for name, _ in fields)
    assert len([name for name, _ in fields if name == "host"]) == 1


def test_the_answers_connection_fields_do_not_leak(gateways, upstreams):
    """RFC 9113 §8.2.2."""
    def answer(wire, _):
        wire.send(response(200, [("Connection", "keep-alive, X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"),
                                 ("X-Mixed-Case", "Kept")], b"x"))
        return True

    with connect(gateways, upstreams, answer=answer) as client:
        stream = client.ask()
        names = [name for name, _ in stream.fields]
        assert not {"connection", "keep-alive", "x-hop", "transfer-encoding"} & set(names)
        assert stream.get("x-mixed-case") == "Kept"


@pytest.mark.parametrize("method,status", [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_answers_without_content(gateways, upstreams, method, status):
    def answer(wire, _):
        wire.send(response(status, [] if status == 204 else [("Content-Length", "10")]))
        return True

    with connect(gateways, upstreams, answer=answer) as client:
        for _ in range(2):
            stream = client.ask(method)
            assert (stream.status, stream.body) == (status, b"")


def test_trailers_go_both_ways(gateways, upstreams):
    """RFC 9113 §8.1."""
    def answer(wire, request):
        wire.send(response(200, [("Transfer-Encoding", "chunked")]))
        wire.send(chunked(repr(request.trailers).encode(), trailers=[("X-Sum", "42")]))
        return True

    with connect(gateways, upstreams, answer=answer) as client:
        number = client.request("POST", end=False, fields=[("te", "trailers")])
        client.data(number, b"abc", end=False)
        client.trailers(number, [("x-in", "7")])
        stream = client.answer(number)
        assert b"'7'" in stream.body and b"x-in" in stream.body.lower()
        assert stream.trailers == [("x-sum", "42")]


def test_a_reset_of_the_client_reaches_the_service(gateways, upstreams):
    arrived, gone = threading.Event(), threading.Event()

    def serve(wire):
        wire.head()
        arrived.set()
        try:
            wire.until_close()
        finally:
            gone.set()

    gateway = gateways(plain(upstreams(serve=serve)))
    with Client2(gateway.address()) as client:
        number = client.request(path="/left")
        assert arrived.wait(PATIENCE)
        client.reset(number)
        assert gone.wait(PATIENCE)
        assert gateway.access_line(path="/left")["reason"] == "client_closed"


def test_a_cut_of_the_service_reaches_the_client_as_a_reset(gateways, upstreams):
    """An incomplete body must not end with END_STREAM."""
    def answer(wire, request):
        if request.target == "/cut":
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            return False
        wire.send(response(200, body=b"whole"))
        return True

    with connect(gateways, upstreams, answer=answer) as client:
        number = client.request(path="/cut")
        stream = client.streams[number]
        client.until(lambda: stream.is_ended or stream.reset is not None)
        assert stream.reset is not None or stream.status == 502
        assert client.ask().body == b"whole"


def test_a_stream_that_is_not_read_does_not_hold_the_others(gateways, upstreams):
    """Flow control is by stream: its credit is given back when the bytes leave, the connection's at receipt."""
    big = bytes(2_000_000)

    def answer(wire, request):
        wire.send(response(200, body=big if request.target == "/big" else b"small"))
        return True

    gateway = gateways(plain(upstreams(answer)))
    with Client2(gateway.address(), gives_credit=False) as client:
        # The connection's window is opened wide, the stream's is left at its start: the stream stalls at 64 KiB.
        client.connection.increment_flow_control_window(10_000_000)
        client.flush()
        stalled = client.request(path="/big")
        client.until(lambda: len(client.streams[stalled].body) >= 65_535)
        for _ in range(20):
            assert client.ask().body == b"small"
        assert len(client.streams[stalled].body) == 65_535
        client.connection.increment_flow_control_window(3_000_000, stalled)
        client.flush()
        assert client.answer(stalled).body == big


def test_a_stalled_service_does_not_hold_other_uploads(gateways, upstreams, upstream):
    """One upstream that does not read must not stop the other streams of the connection."""
    stop = threading.Event()

    def serve(wire):
        wire.head()
        stop.wait(PATIENCE)

    stalled = upstreams(serve=serve)
    config = plain(upstream)
    config["services"]["stalled"] = {"to": [f"http://{stalled.address}"]}
    config["routes"].append({"name": "stalled", "match": {"prefix": "/stalled"}, "to": "stalled"})
    with Client2(gateways(config).address()) as client:
        numbers = [client.request("POST", "/stalled", end=False) for _ in range(4)]
        for number in numbers:
            room = client.connection.local_flow_control_window(number)
            client.data(number, bytes(min(room, 60_000)), end=False)
        body = os.urandom(1_000_000)
        assert client.ask("POST", "/up", body=body).json()["length"] == len(body)
    stop.set()


def test_the_gateways_own_answers(client2, gateway):
    said = problem(client2.ask(path="/a%00"), "bad_request")
    assert gateway.access_line(said["request_id"])["status"] == 400


MALFORMED = {
    "a connection field": [("connection", "keep-alive")],
    "transfer-encoding": [("transfer-encoding", "chunked")],
    "a name in capitals": [("X-Upper", "1")],
    "te that is not trailers": [("te", "gzip")],
    "a line break in a value": [("x-a", "1\r\nx-b: 2")],
    "a NUL in a value": [("x-a", "1\x002")],
    "a space in a name": [("x a", "1")],
    "a second path": [(":path", "/other")],
    "an unknown pseudo-field": [(":custom", "1")],
    "two lengths": [("content-length", "0"), ("content-length", "1")],
    "a length that is none": [("content-length", "abc")],
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_never_reaches_a_service(client2, upstream, what):
    """RFC 9113 §8.1.1: a stream error or 400; the other streams go on, unless the error is the connection's."""
    number = client2.request(fields=MALFORMED[what])
    stream = client2.streams[number]
    try:
        client2.until(lambda: stream.is_ended or stream.reset is not None or client2.goaways)
    except Exception:
        assert client2.is_closed
    if stream.fields:
        assert stream.status == 400
    assert upstream.nothing_received()


def test_a_body_that_is_not_as_long_as_it_says_is_not_complete(client2, upstream):
    """RFC 9113 §8.1.1."""
    number = client2.request("POST", fields=[("content-length", "10")], end=False)
    client2.data(number, b"half")
    stream = client2.streams[number]
    client2.until(lambda: stream.is_ended or stream.reset is not None or client2.goaways)
    assert stream.reset is not None or stream.status == 400 or client2.goaways
    assert upstream.nothing_received()


def test_no_more_streams_than_announced(gateways, upstreams):
    slow = threading.Event()

    def answer(wire, request):
        slow.wait(PATIENCE)
        wire.send(response(200, body=b"x"))
        return True

    gateway = gateways(plain(upstreams(answer), limits_of_http={"streams": 10}))
    with Client2(gateway.address()) as client:
        client.until(lambda: client.settings is not None)
        import h2.settings
        assert client.settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] == 10
        numbers = [client.request() for _ in range(10)]
        slow.set()
        for number in numbers:
            assert client.answer(number).status == 200


def test_a_flood_of_resets_ends_the_connection(gateways, upstream):
    """Rapid reset (CVE-2023-44487): more cancelled streams than allowed, and the client is told to calm down."""
    gateway = gateways(plain(upstream, limits_of_http={"resets": "50/s"}))
    with Client2(gateway.address()) as client:
        for _ in range(400):
            if client.is_closed:
                break
            client.reset(client.request())
        client.until_closed()
        assert client.goaways and client.goaways[-1][0] == 11
    with Client2(gateway.address()) as client:
        assert client.ask().status == 200


def test_a_connection_error_ends_writing_with_its_goaway(gateways, upstream):
    """RFC 9113 §5.4.1: GOAWAY, then the end. The gateway reads on for 2 s, so that no reset overtakes what it said; its own end
    does not wait for that."""
    gateway = gateways(plain(upstream))
    took = []
    # The machine may be busy with something else for as long, but hardly each time.
    while not took or min(took) >= 1.5 and len(took) < 3:
        with Client2(gateway.address()) as client:
            assert client.ask().status == 200
            # PING on a stream (§6.7).
            began = time.monotonic()
            client.socket.sendall(b"\x00\x00\x08\x06\x00\x00\x00\x00\x01" + bytes(8))
            client.until_closed()
            took.append(time.monotonic() - began)
            assert client.goaways and client.goaways[-1][0] == 1
    assert min(took) < 1.5, took


def test_an_idle_connection_is_told_before_it_is_closed(gateways, upstream):
    gateway = gateways(plain(upstream, limits_of_http={"idle_timeout": "1s"}))
    with Client2(gateway.address()) as client:
        assert client.ask().status == 200
        client.until_closed()
        assert client.goaways and client.goaways[-1][0] == 0


def test_expect_100_continue(client2):
    number = client2.request("POST", fields=[("expect", "100-continue"), ("content-length", "4")], end=False)
    stream = client2.streams[number]
    client2.until(lambda: stream.interim)
    assert dict(stream.interim[0])[":status"] == "100"
    client2.data(number, b"body")
    assert client2.answer(number).json()["length"] == 4


def test_over_tls_with_both_protocols(secure, certificate):
    with Client2(secure.address(), tls=certificate.client("h2", "http/1.1")) as client:
        body = os.urandom(500_000)
        said = client.ask("POST", "/up", body=body, scheme="https").json()
        assert said["sha256"] == hashlib.sha256(body).hexdigest()
        assert ["x-forwarded-proto", "https"] in [[name.lower(), value] for name, value in said["fields"]]
        line = secure.access_line(client.ask(scheme="https").get("x-request-id"))
        assert "2" in line["protocol"] and "1.3" in line["tls"]
