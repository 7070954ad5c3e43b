"""WebSockets over HTTP/2 (RFC 8441): Extended CONNECT to a service that speaks HTTP/1.1."""

import base64

import pytest

from harness.bound import SANITIZER, until
from harness.gateway import merged, plain
from harness.http2 import Client2, Stream, problem
from harness.websocket import KEY, accept, echo_bytes, opens, switching
from harness.wire import response

CONNECT_PROTOCOL = 8
CANCEL = 8
PROTOCOL_ERROR = 1


def connect(client, path="/ws", fields=(), protocol="websocket", end=False, version="13"):
    """Opens a stream with an Extended CONNECT (§4)."""
    number = client.request(
        "CONNECT", path, [(":protocol", protocol), ("sec-websocket-version", version), *fields], end=end)
    return number, client.streams[number]


def opened(client, **options):
    number, stream = connect(client, **options)
    client.until(lambda: stream.fields or stream.reset is not None)
    assert stream.reset is None and stream.status == 200, (stream.fields, stream.reset)
    return number, stream


@pytest.fixture
def tunnels(gateways, upstreams):
    upstream = upstreams(opens(echo_bytes))
    gateway = gateways(plain(upstream))
    gateway.upstream = upstream
    return gateway


@pytest.fixture
def clients2():
    made = []

    def make(gateway, **options):
        made.append(Client2(gateway.address(), **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_section_3_the_setting_is_announced(tunnels, clients2):
    client = clients2(tunnels)
    client.until(lambda: client.settings is not None)
    assert client.settings[CONNECT_PROTOCOL] == 1


def test_section_5_a_connect_becomes_an_upgrade_with_a_key_of_our_own_and_a_101_becomes_200(tunnels, clients2):
    client = clients2(tunnels)
    keys = []
    for _ in range(2):
        number, stream = opened(client, path="/ws?room=1", fields=[
            ("sec-websocket-protocol", "chat"), ("sec-websocket-extensions", "permessage-deflate"),
            ("sec-websocket-key", KEY), ("origin", "https://app.example.com")])
        asked = tunnels.upstream.received()
        assert (asked.method, asked.target) == ("GET", "/ws?room=1")
        assert asked.all("connection") == ["Upgrade"] and asked.all("upgrade") == ["websocket"]
        assert asked.get("transfer-encoding") is None and asked.get("content-length") is None
        assert asked.get("sec-websocket-version") == "13" and asked.get("sec-websocket-protocol") == "chat"
        assert asked.get("origin") == "https://app.example.com"
        assert not [name for name in asked.field_names() if name.startswith(":")]
        keys.append(asked.get("sec-websocket-key"))
        names = [name for name, _ in stream.fields]
        assert not {"connection", "upgrade", "sec-websocket-accept", "content-length"} & set(names)
        assert stream.get("x-request-id")
        client.data(number, b"one", end=False)
        client.until(lambda: stream.body == b"one")
        client.data(number, b"two", end=True)
        client.until(lambda: stream.is_ended)
        assert stream.body == b"onetwo" and stream.reset is None
    assert len(set(keys)) == 2 and KEY not in keys
    assert [len(base64.b64decode(key, validate=True)) for key in keys] == [16, 16]


def test_the_access_line_says_101_and_counts_both_ways(tunnels, clients2):
    client = clients2(tunnels)
    number, stream = opened(client)
    client.data(number, b"x" * 300, end=True)
    client.until(lambda: stream.is_ended)
    line = tunnels.access_line(stream.get("x-request-id"))
    assert (line["status"], line["method"], line["bytes_in"], line["bytes_out"]) == (101, "CONNECT", 300, 300)
    assert line.get("reason") in (None, "")


@pytest.mark.parametrize("protocol", ["connect-udp", "webtransport", "websocket2", "h2c"])
def test_section_4_any_other_protocol_is_501(tunnels, clients2, protocol):
    client = clients2(tunnels)
    number, stream = connect(client, protocol=protocol)
    client.until(lambda: stream.is_ended or stream.reset is not None)
    problem(stream, "not_implemented")
    assert tunnels.upstream.nothing_received()


def test_a_plain_connect_stays_refused(tunnels, clients2):
    client = clients2(tunnels)
    number = client.connection.get_next_available_stream_id()
    client.streams[number] = stream = Stream()
    client.connection.send_headers(number, [(":method", "CONNECT"), (":authority", "gate.test:443")], end_stream=False)
    client.flush()
    client.until(lambda: stream.is_ended or stream.reset is not None)
    problem(stream, "not_implemented")
    assert tunnels.upstream.nothing_received()


@pytest.mark.parametrize("head", [
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), (":protocol", "websocket")],
    [(":method", "CONNECT"), (":authority", "a"), (":protocol", "websocket")],
    [(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":protocol", "websocket")],
    [(":method", "CONNECT"), (":scheme", "http"), (":authority", "a"), (":path", "/"), (":protocol", "websocket"),
     (":protocol", "websocket")],
    [(":method", "CONNECT"), (":scheme", "http"), (":authority", "a"), (":path", "/"), (":protocol", "websocket"),
     ("upgrade", "websocket")],
], ids=["GET", "no path and scheme", "no authority", "twice", "upgrade"])
def test_section_4_a_malformed_extended_connect_is_a_stream_error(tunnels, clients2, head):
    client = clients2(tunnels)
    number = client.connection.get_next_available_stream_id()
    client.streams[number] = stream = Stream()
    client.connection.send_headers(number, head, end_stream=False)
    client.flush()
    client.until(lambda: stream.is_ended or stream.reset is not None)
    assert stream.reset == PROTOCOL_ERROR
    assert tunnels.upstream.nothing_received()
    # And the connection goes on.
    opened(client)


def test_a_connect_with_a_content_length_is_refused(tunnels, clients2):
    client = clients2(tunnels)
    number, stream = connect(client, fields=[("content-length", "5")])
    client.until(lambda: stream.is_ended or stream.reset is not None)
    problem(stream, "bad_framing")
    assert tunnels.upstream.nothing_received()


@pytest.mark.parametrize("status", [200, 204])
def test_an_answer_that_the_client_would_take_for_an_open_tunnel_is_502(gateways, upstreams, clients2, status):
    def answer(wire, _):
        wire.send(response(status))
        return True
    client = clients2(gateways(plain(upstreams(answer))))
    _, stream = connect(client)
    client.until(lambda: stream.is_ended)
    problem(stream, "upstream_invalid")


@pytest.mark.parametrize("status", [302, 400, 403, 426])
def test_any_other_answer_is_an_ordinary_one(gateways, upstreams, clients2, status):
    def answer(wire, _):
        wire.send(response(status, [("Sec-WebSocket-Version", "13")], b"no"))
        return True
    upstream = upstreams(answer)
    client = clients2(gateways(plain(upstream, workers=1)))
    for _ in range(3):
        number, stream = connect(client, version="7")
        # Bytes that the client sends without waiting are no request of the service's.
        client.data(number, b"too early", end=False)
        client.until(lambda: stream.is_ended)
        assert stream.status == status and stream.body == b"no" and stream.get("sec-websocket-version") == "13"
    assert upstream.connections == 1 and client.goaways == []


@pytest.mark.parametrize("bad", [{"proof": accept(KEY)}, {"proof": False}, {"upgrade": "h2c"}, {"connection": None}], ids=str)
def test_a_101_that_is_not_valid_is_502(gateways, upstreams, clients2, bad):
    def answer(wire, asked):
        wire.send(switching(asked.get("sec-websocket-key"), **bad))
        return False
    client = clients2(gateways(plain(upstreams(answer))))
    _, stream = connect(client)
    client.until(lambda: stream.is_ended)
    problem(stream, "upstream_invalid")


def test_data_before_the_101_waits_and_bytes_behind_it_are_not_lost(gateways, upstreams, clients2):
    go = []

    def answer(wire, asked):
        # Nothing but the head has come: what the client sends has no place in HTTP/1.1 yet.
        assert wire.buffer == b""
        until(lambda: go, "the test's word")
        wire.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            wire.socket.recv(1)
        wire.socket.settimeout(20)
        wire.send(switching(asked.get("sec-websocket-key")) + b"first")
        echo_bytes(wire, asked)
        return False
    client = clients2(gateways(plain(upstreams(answer))))
    number, stream = connect(client)
    client.data(number, b"early", end=True)
    client.connection.ping(b"12345678")
    client.flush()
    client.pump()
    go.append(True)
    client.until(lambda: stream.is_ended)
    assert stream.status == 200 and stream.body == b"firstearly"


def test_the_end_of_the_service_is_end_stream_and_the_client_can_still_speak(gateways, upstreams, clients2):
    heard = []

    def then(wire, _):
        wire.send(b"goodbye")
        wire.finish_sending()
        heard.append(wire.until_close())
    gateway = gateways(plain(upstreams(opens(then))))
    client = clients2(gateway)
    number, stream = opened(client)
    client.until(lambda: stream.is_ended)
    assert stream.body == b"goodbye"
    client.connection.send_data(number, b"one thing more", end_stream=True)
    client.flush()
    until(lambda: heard, "the client's words")
    assert heard == [b"one thing more"]
    line = gateway.access_line(status=101)
    assert line["bytes_in"] == 14 and line["bytes_out"] == 7


def test_the_clients_end_is_passed_on_and_the_service_can_still_speak(gateways, upstreams, clients2):
    def then(wire, _):
        assert wire.until_close() == b"last words"
        wire.send(b"x" * 200_000)
    client = clients2(gateways(plain(upstreams(opens(then)))))
    number, stream = opened(client)
    client.data(number, b"last words", end=True)
    client.until(lambda: stream.is_ended)
    assert len(stream.body) == 200_000


def test_rst_stream_breaks_the_services_side_and_back(gateways, upstreams, clients2):
    ends = []

    def then(wire, asked):
        if asked.target == "/service":
            wire.exactly(3)
            wire.reset()
            return
        try:
            ends.append(wire.socket.recv(1))
        except ConnectionResetError:
            ends.append("reset")
    gateway = gateways(plain(upstreams(opens(then))))
    client = clients2(gateway)
    number, _ = opened(client, path="/client")
    client.reset(number)
    until(lambda: ends, "the end at the service")
    assert ends == ["reset"]
    assert gateway.access_line(path="/client")["reason"] == "client_closed"
    number, stream = opened(client, path="/service")
    client.data(number, b"now", end=False)
    client.until(lambda: stream.reset is not None)
    assert stream.reset == CANCEL
    assert gateway.access_line(path="/service")["reason"] == "upstream_truncated"


def test_headers_in_a_tunnel_are_a_stream_error(tunnels, clients2):
    client = clients2(tunnels)
    number, stream = opened(client)
    client.trailers(number, [("x-not", "here")])
    client.until(lambda: stream.reset is not None)
    assert stream.reset == PROTOCOL_ERROR


def test_an_idle_tunnel_is_reset_and_its_neighbour_is_not(gateways, upstreams, clients2):
    gateway = gateways(plain(upstreams(opens(echo_bytes)), limits_of_http={"websocket_idle_timeout": "2s"}))
    client = clients2(gateway)
    busy_number, busy = opened(client, path="/busy")
    _, idle = opened(client, path="/idle")
    sent = 0
    while idle.reset is None:
        client.data(busy_number, b"x", end=False)
        sent += 1
        client.until(lambda: len(busy.body) == sent or idle.reset is not None)
    assert idle.reset == CANCEL
    assert gateway.access_line(path="/idle")["reason"] == "websocket_idle"
    client.until(lambda: len(busy.body) == sent)
    assert busy.reset is None and not busy.is_ended


def test_megabytes_in_many_streams_at_once_with_windows_that_fill(tunnels, clients2):
    client = clients2(tunnels)
    streams = [opened(client) for _ in range(8)]
    block = bytes(range(256)) * 64
    for _ in range(64):
        for number, _ in streams:
            client.data(number, block, end=False)
    for _, stream in streams:
        client.until(lambda: len(stream.body) == 64 * len(block))
        assert stream.body == block * 64
    for number, stream in streams:
        client.data(number, b"", end=True)
        client.until(lambda: stream.is_ended)


def test_a_client_that_gives_no_credit_stops_the_service_and_nobody_else(gateways, upstreams, clients2):
    """Backpressure towards the service: window, then sink, then the kernel's buffers, and no more."""
    def then(wire, asked):
        if asked.target == "/flood":
            wire.socket.settimeout(0.5)
            sent = 0
            try:
                while True:
                    sent += wire.socket.send(b"x" * 65536)
            except TimeoutError:
                stops.append(sent)
            return
        echo_bytes(wire, asked)
    stops = []
    gateway = gateways(plain(upstreams(opens(then)), workers=1))
    before = gateway.resident_bytes()
    client = clients2(gateway, gives_credit=False)
    _, flooded = opened(client, path="/flood")
    until(lambda: stops, "the flood's stop")
    assert SANITIZER or gateway.resident_bytes() - before < 4 << 20
    # The connection's own window is full of the flood; another client's is not.
    other = clients2(gateway)
    number, stream = opened(other, path="/echo")
    other.data(number, b"hello", end=False)
    other.until(lambda: stream.body == b"hello")


def test_a_tunnel_lives_through_a_drain_until_it_ends(gateways, upstreams, clients2):
    gateway = gateways(plain(upstreams(opens(echo_bytes))), options=("--drain-timeout", "60"))
    client = clients2(gateway)
    number, stream = opened(client)
    gateway.process.terminate()
    client.until(lambda: len(client.goaways) == 2)
    client.data(number, b"still here", end=False)
    client.until(lambda: stream.body == b"still here")
    client.data(number, b"", end=True)
    client.until(lambda: stream.is_ended)
    client.until_closed()
    assert gateway.wait() == 0


def test_over_tls_beside_other_streams(gateways, upstreams, certificate):
    def answer(wire, asked):
        if asked.get("upgrade"):
            return opens(echo_bytes)(wire, asked)
        wire.send(response(200, body=b"plain"))
        return True
    gateway = gateways(merged(plain(upstreams(answer)), {"listeners": {
        "http": None, "https": {"bind": ["127.0.0.1:0"], "tls": certificate.settings()}}}))
    with Client2(gateway.address(), tls=certificate.client("h2", "http/1.1")) as client:
        number, stream = opened(client)
        for count in range(1, 6):
            client.data(number, b"x" * 1000, end=False)
            client.until(lambda: len(stream.body) == 1000 * count)
            assert client.ask(path="/plain").body == b"plain"


def test_handshakes_by_upgrade_have_no_place_in_http_2(tunnels, clients2):
    """RFC 9113 §8.6: no Upgrade, no 101; a GET with the fields of a handshake is a request like any other."""
    client = clients2(tunnels)
    number = client.request("GET", "/ws", [("sec-websocket-key", KEY), ("sec-websocket-version", "13")])
    stream = client.streams[number]
    client.until(lambda: stream.is_ended or stream.reset is not None)
    asked = tunnels.upstream.received()
    assert asked.all("upgrade") == [] and asked.all("connection") == []
