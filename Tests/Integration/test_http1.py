"""RFC 9112 through the gateway: framing, persistence and the order of things."""

import hashlib
import os

import pytest

from harness.gateway import plain
from harness.wire import Client, Closed, chunked, problem, request, response


def test_a_connection_serves_many_requests(client, upstream):
    """RFC 9112 §9.3: HTTP/1.1 connections persist, on both sides."""
    for number in range(20):
        answer = client.ask(target=f"/n/{number}")
        assert answer.status == 200
        assert answer.json()["target"] == f"/n/{number}"
        assert answer.get("connection", "keep-alive").lower() == "keep-alive"
    assert upstream.connections == 1


def test_pipelined_requests_are_answered_in_order(gateways, upstreams, clients):
    """RFC 9112 §9.3.2: the answers come in the order of the requests, whatever each of them takes."""
    upstream = upstreams()
    client = clients(gateways(plain(upstream)))
    client.send(b"".join(
        request("POST" if number % 3 == 0 else "GET", f"/{number}", body=b"x" * number if number % 3 == 0 else None)
        for number in range(60)))
    for number in range(60):
        assert client.response().json()["target"] == f"/{number}"


def test_a_pipelined_head_that_comes_in_pieces_waits_for_its_rest(client):
    whole = request(target="/one") + request(target="/two", fields=[("X-Long", "y" * 500)])
    for at in range(0, len(whole), 7):
        client.send(whole[at:at + 7])
    assert client.response().json()["target"] == "/one"
    assert client.response().json()["target"] == "/two"


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 1_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_request_body_arrives_whole(client, size, framing):
    """RFC 9112 §6: bodies by Content-Length and by chunks."""
    body = os.urandom(size)
    if framing == "length":
        client.send(request("POST", "/", body=body))
    else:
        pieces = [body[at:at + 50_000] for at in range(0, size, 50_000)]
        client.send(request("POST", "/", [("Transfer-Encoding", "chunked")]) + chunked(*pieces))
    said = client.response().json()
    assert (said["length"], said["sha256"]) == (size, hashlib.sha256(body).hexdigest())
    assert client.ask().status == 200


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 1_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_response_body_arrives_whole(gateways, upstreams, clients, size, framing):
    """RFC 9112 §6.3: by Content-Length, by chunks, and by the end of the connection."""
    body = os.urandom(size)

    def answer(wire, _):
        if framing == "length":
            wire.send(response(200, body=body))
        elif framing == "chunked":
            pieces = [body[at:at + 7_001] for at in range(0, size, 7_001)]
            wire.send(response(200, [("Transfer-Encoding", "chunked")]) + chunked(*pieces))
        else:
            wire.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        return framing != "close"

    client = clients(gateways(plain(upstreams(answer))))
    for _ in range(3):
        answer_ = client.ask()
        assert hashlib.sha256(answer_.body).digest() == hashlib.sha256(body).digest()


def test_chunk_extensions_are_not_forwarded_and_odd_sizes_are_read(client, upstream):
    """RFC 9112 §7.1.1: a recipient ignores extensions it does not know; sizes are hexadecimal in either case."""
    client.send(request("POST", "/", [("Transfer-Encoding", "chunked")]))
    client.send(b"00A;name=value\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n")
    assert client.response().json()["length"] == 20


@pytest.mark.parametrize("method,status", [("HEAD", 200), ("HEAD", 404), ("GET", 204), ("GET", 304)])
def test_an_answer_without_content_has_none_whatever_its_fields_say(gateways, upstreams, clients, method, status):
    """RFC 9112 §6.3: HEAD, 204 and 304 end with their head, and the connection goes on."""
    def answer(wire, _):
        fields = [] if status == 204 else [("Content-Length", "5000")]
        wire.send(response(status, [*fields, ("ETag", '"x"')]))
        return True

    client = clients(gateways(plain(upstreams(answer))))
    for _ in range(3):
        got = client.ask(method)
        assert (got.status, got.body, got.get("etag")) == (status, b"", '"x"')
        if status != 204:
            assert got.get("content-length") == "5000"
        else:
            assert got.get("content-length") is None and got.get("transfer-encoding") is None


def test_an_answer_can_begin_before_the_request_has_ended(gateways, upstreams, clients):
    """A service may stream: the head and first bytes of its answer do not wait for the body's end."""
    def serve(wire):
        wire.head()
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
        assert wire.exactly(4) == b"late"
        wire.send(chunked(b"and late"))

    client = clients(gateways(plain(upstreams(serve=serve))))
    client.send(request("POST", "/", [("Content-Length", "4")]))
    head = client.head()
    assert head.status == 200
    assert client.line() == "5" and client.exactly(7) == b"early\r\n"
    client.send(b"late")
    client.chunked(head)
    assert head.body == b"and late"


def test_expect_100_continue_is_answered_before_the_body_is_sent(client, upstream):
    """RFC 9110 §10.1.1."""
    client.send(request("POST", "/", [("Expect", "100-continue"), ("Content-Length", "4")]))
    assert client.head().status == 100
    client.send(b"body")
    assert client.response().json()["length"] == 4


def test_expect_100_continue_with_the_body_already_there(client):
    client.send(request("POST", "/", [("Expect", "100-continue")], b"body"))
    assert client.response().json()["length"] == 4
    assert client.ask().status == 200


def test_an_interim_answer_of_the_service_is_passed_on(gateways, upstreams, clients):
    """RFC 9110 §15.2: a proxy forwards 1xx answers, 100 apart when it made that itself."""
    def answer(wire, _):
        wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + response(200, body=b"x"))
        return True

    client = clients(gateways(plain(upstreams(answer))))
    got = client.ask()
    assert got.body == b"x"
    assert [interim.status for interim in client.interim] in ([103], [])
    for interim in client.interim:
        assert interim.get("link") == "</a.css>; rel=preload"


def test_request_trailers_reach_the_service(client):
    """RFC 9110 §6.5."""
    client.send(request("POST", "/", [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")]))
    client.send(chunked(b"abc", trailers=[("X-Sum", "42")]))
    assert ["x-sum", "42"] in [[name.lower(), value] for name, value in client.response().json()["trailers"]]


def test_response_trailers_reach_the_client(gateways, upstreams, clients):
    def answer(wire, _):
        wire.send(response(200, [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")]))
        wire.send(chunked(b"abc", trailers=[("X-Sum", "42")]))
        return True

    client = clients(gateways(plain(upstreams(answer))))
    got = client.ask(fields=[("TE", "trailers")])
    assert got.body == b"abc"
    assert [(name.lower(), value) for name, value in got.trailers] == [("x-sum", "42")]


HOP_BY_HOP = [
    ("Connection", "keep-alive, X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "close"),
    ("TE", "gzip"), ("Upgrade", "foo/1"),
]


def test_hop_by_hop_fields_stop_here_on_the_way_in(client):
    """RFC 9110 §7.6.1: the connection's own fields, and those that Connection names."""
    said = client.ask(fields=[*HOP_BY_HOP, ("X-End", "2")]).json()
    names = [name.lower() for name, _ in said["fields"]]
    assert "x-end" in names
    for name in ("x-hop", "keep-alive", "proxy-connection", "te", "upgrade"):
        assert name not in names, said["fields"]


def test_hop_by_hop_fields_stop_here_on_the_way_out(gateways, upstreams, clients):
    def answer(wire, _):
        wire.send(response(200, [("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"),
                                 ("Proxy-Connection", "close"), ("X-End", "2")], b"x"))
        return True

    client = clients(gateways(plain(upstreams(answer))))
    names = client.ask().field_names()
    assert "x-end" in names
    for name in ("x-hop", "keep-alive", "proxy-connection"):
        assert name not in names
    assert client.ask().status == 200


def test_the_fields_between_are_forwarded_as_they_came(client):
    """Order of equal names, odd but legal values, and spelling of the value: unchanged."""
    fields = [("X-A", "1"), ("X-B", "two  spaces"), ("X-A", "2"), ("X-Empty", ""), ("X-High", "caf\xe9"),
              ("Cookie", "a=b; c=d")]
    said = client.ask(fields=fields).json()["fields"]
    kept = [(name.lower(), value) for name, value in said if name.lower().startswith(("x-a", "x-b", "x-e", "x-h", "coo"))]
    assert kept == [(name.lower(), value) for name, value in fields]


def test_connection_close_is_kept(client):
    """RFC 9112 §9.6."""
    answer = client.ask(fields=[("Connection", "close")])
    assert answer.get("connection").lower() == "close"
    assert client.is_closed()


def test_http_1_0_gets_an_answer_that_ends_with_the_connection(client):
    """RFC 9112 §9.3: an HTTP/1.0 request without keep-alive closes."""
    client.send(b"GET /old HTTP/1.0\r\nHost: gate.test\r\n\r\n")
    answer = client.response()
    assert answer.json()["target"] == "/old"
    assert client.is_closed()


def test_http_1_0_is_never_sent_chunks(gateways, upstreams, clients):
    """RFC 9112 §6.1: no Transfer-Encoding to a recipient that may not know it."""
    def answer(wire, _):
        wire.send(response(200, [("Transfer-Encoding", "chunked")]) + chunked(b"abc", b"def"))
        return True

    client = clients(gateways(plain(upstreams(answer))))
    client.send(b"GET / HTTP/1.0\r\nHost: gate.test\r\n\r\n")
    got = client.head()
    assert got.get("transfer-encoding") is None
    assert client.until_close() == b"abcdef"


def test_an_absolute_target_names_the_host(client):
    """RFC 9112 §3.2.2: absolute-form is accepted; where its authority and Host disagree, nobody may guess."""
    client.send(b"GET http://gate.test/abs?q HTTP/1.1\r\nHost: gate.test\r\n\r\n")
    assert client.response().json()["target"] == "/abs?q"
    client.send(b"GET http://gate.test/abs?q HTTP/1.1\r\nHost: other.test\r\n\r\n")
    problem(client.response(), "bad_request")


def test_an_asterisk_is_for_options(client):
    """RFC 9112 §3.2.4."""
    client.send(b"OPTIONS * HTTP/1.1\r\nHost: gate.test\r\n\r\n")
    assert client.response().status in (200, 204, 404)


def test_a_slow_reader_does_not_make_the_gateway_hold_the_body(gateways, upstreams, clients):
    """§9 Backpressure: what the client does not take stays with the service."""
    size = 256 * 1024 * 1024
    sent = []

    def serve(wire):
        wire.head()
        wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        wire.socket.settimeout(1)
        block = b"x" * 65536
        try:
            while sum(sent) < size:
                sent.append(wire.socket.send(block))
        except OSError:
            pass

    gateway = gateways(plain(upstreams(serve=serve)))
    client = clients(gateway)
    client.send(request())
    assert client.head().status == 200
    # The service blocks for a second: everything between has filled up.
    from harness.bound import until
    last = [-1]

    def is_still():
        now = sum(sent)
        still = now == last[0] and now > 0
        last[0] = now
        return still

    until(is_still, "the service stops sending")
    assert gateway.resident_bytes() < 200 * 1024 * 1024
    assert sum(sent) < size / 4


def test_two_listeners_and_ipv6(gateways, upstream, clients):
    config = plain(upstream, listeners={"http": {"bind": ["127.0.0.1:0"]}, "second": {"bind": ["127.0.0.1:0"]}})
    gateway = gateways(config)
    for listener in ("http", "second"):
        assert clients(gateway, listener).ask().status == 200


def test_tls_serves_http_1_1(gateways, upstream, certificate):
    """TLS 1.2 and 1.3, ALPN http/1.1 and none."""
    import ssl
    gateway = gateways(plain(upstream, listeners={
        "http": None, "https": {"bind": ["127.0.0.1:0"], "tls": certificate.settings()}}))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for protocols in (["http/1.1"], []):
            trust = certificate.client(*protocols, version=version) if protocols else certificate.client("http/1.1", version=version)
            with Client(gateway.address(), tls=trust) as client:
                assert client.ask().json()["target"] == "/"
                body = os.urandom(300_000)
                said = client.ask("POST", "/up", body=body).json()
                assert said["sha256"] == hashlib.sha256(body).hexdigest()


def test_tls_sessions_resume_on_any_worker(gateways, upstream, certificate):
    """Ticket keys are shared: each new connection resumes, whichever worker takes it."""
    import ssl
    gateway = gateways(plain(upstream, listeners={
        "http": None, "https": {"bind": ["127.0.0.1:0"], "tls": certificate.settings()}}))
    trust = certificate.client("http/1.1", version=ssl.TLSVersion.TLSv1_2)
    import socket
    session = None
    for _ in range(12):
        with socket.create_connection(gateway.address(), 10) as plain_socket:
            with trust.wrap_socket(plain_socket, server_hostname="localhost", session=session) as sock:
                assert session is None or sock.session_reused
                sock.sendall(request())
                assert sock.recv(12) == b"HTTP/1.1 200"
                session = sock.session


def test_plaintext_to_a_tls_port_is_no_crash(gateways, upstream, certificate, clients):
    gateway = gateways(plain(upstream, listeners={
        "http": None, "https": {"bind": ["127.0.0.1:0"], "tls": certificate.settings()}}))
    client = clients(gateway)
    client.send(request())
    try:
        client.until_close()
    except Closed:
        pass
    with Client(gateway.address(), tls=certificate.client("http/1.1")) as good:
        assert good.ask().status == 200
