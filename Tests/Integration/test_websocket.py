"""WebSockets over HTTP/1.1 (RFC 6455), byte by byte: the handshake, the tunnel, its ends."""

import contextlib
import socket
import ssl
import threading

import pytest

from harness import names
from harness.authority import Authority
from harness.bound import PATIENCE, SANITIZER, until
from harness.gateway import merged, plain
from harness.tokens import bearer, key_set
from harness.upstream2 import Upstream2
from harness.websocket import KEY, accept, echo_bytes, handshake, opens, switching
from harness.wire import Closed, problem, request, response

# One who talks must be able to say something within the time of one who does not.
QUICK = {"websocket_idle_timeout": "2s", "body_idle_timeout": "100ms"}


def opened(client, **options):
    """Sends a handshake and reads its 101."""
    client.send(handshake(**options))
    answer = client.head()
    assert answer.status == 101, answer.start_line
    return answer


def line_of(gateway, **fields):
    return gateway.access_line(status=101, **fields)


@pytest.fixture
def tunnels(gateways, upstreams):
    """The plain configuration before an upstream that opens tunnels and echoes bytes."""
    upstream = upstreams(opens(echo_bytes))
    gateway = gateways(plain(upstream))
    gateway.upstream = upstream
    return gateway


# The handshake

def test_the_handshake_goes_on_as_it_came_with_only_its_own_hop_by_hop_fields(tunnels, clients):
    client = clients(tunnels)
    answer = opened(client, fields=[
        ("Connection", "Keep-Alive, X-Gone"), ("X-Gone", "1"), ("Keep-Alive", "timeout=5"), ("TE", "trailers"),
        ("Sec-WebSocket-Protocol", "chat, superchat"), ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Origin", "https://app.example.com")])
    asked = tunnels.upstream.received()
    assert asked.all("connection") == ["Upgrade"] and asked.all("upgrade") == ["websocket"]
    assert asked.get("sec-websocket-key") == KEY and asked.get("sec-websocket-version") == "13"
    assert asked.get("sec-websocket-protocol") == "chat, superchat"
    assert asked.get("sec-websocket-extensions") == "permessage-deflate"
    assert asked.get("origin") == "https://app.example.com" and asked.get("x-request-id")
    assert not {"x-gone", "keep-alive", "te", "http2-settings"} & set(asked.field_names())
    assert answer.get("sec-websocket-accept") == accept(KEY)
    assert answer.all("connection") == ["Upgrade"] and answer.all("upgrade") == ["websocket"]
    assert answer.get("x-request-id") and answer.get("transfer-encoding") is None
    client.send(b"\x00bytes")
    assert client.exactly(6) == b"\x00bytes"


def test_the_fields_of_a_101_follow_the_rules_of_every_answer(gateways, upstreams, clients):
    def answer(wire, asked):
        wire.send(switching(asked.get("sec-websocket-key"), connection="upgrade, X-Gone, keep-alive", upgrade="WebSocket", fields=[
            ("X-Gone", "1"), ("Keep-Alive", "timeout=5"), ("Sec-WebSocket-Protocol", "chat"), ("Set-Cookie", "a=b"),
            ("Proxy-Authenticate", "Basic")]))
        return False
    client = clients(gateways(plain(upstreams(answer))))
    answered = opened(client)
    assert answered.get("sec-websocket-protocol") == "chat" and answered.get("set-cookie") == "a=b"
    assert not {"x-gone", "keep-alive", "proxy-authenticate"} & set(answered.field_names())
    assert answered.all("connection") == ["Upgrade"] and answered.all("upgrade") == ["websocket"]


@pytest.mark.parametrize("change", [
    {"upgrade": "h2c"}, {"upgrade": "TLS/1.0"}, {"upgrade": "websocket/13"}, {"upgrade": None},
    {"connection": "keep-alive"}, {"connection": None}, {"key": None}, {"version": None}, {"version": ""},
    {"key": "short=="}, {"key": "dGhlIHNhbXBsZSBub25jZQ=A"}, {"key": "dGhlIHNhbXBsZSBub25j*Q=="},
    {"fields": [("Sec-WebSocket-Key", KEY)]}, {"fields": [("Sec-WebSocket-Version", "13")]},
    {"method": "HEAD"}, {"method": "DELETE"},
], ids=str)
def test_any_other_upgrade_is_stripped_and_the_request_is_an_ordinary_one(gateway, upstream, clients, change):
    client = clients(gateway)
    client.send(handshake(**change))
    assert client.response(method=change.get("method", "GET")).status == 200
    asked = upstream.received()
    assert asked.all("upgrade") == [] and asked.all("connection") == []
    # And the connection goes on.
    assert client.ask().status == 200


def test_a_handshake_with_a_body_or_in_http_1_0_is_an_ordinary_request(gateway, upstream, clients):
    with clients(gateway) as client:
        client.send(handshake(fields=[("Content-Length", "2")]) + b"hi")
        assert client.response().json()["length"] == 2
        assert upstream.received().all("upgrade") == []
    with clients(gateway) as client:
        client.send(handshake().replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert client.response().status == 200
        assert upstream.received().all("upgrade") == []


def test_of_a_list_of_upgrades_only_websocket_goes_on_and_http2_settings_never(tunnels, clients):
    client = clients(tunnels)
    opened(client, upgrade="h2c, websocket", connection="Upgrade, HTTP2-Settings",
           fields=[("HTTP2-Settings", "AAMAAABkAAQAAP__"), ("Upgrade", "foo/2")])
    asked = tunnels.upstream.received()
    assert asked.all("upgrade") == ["websocket"] and asked.all("http2-settings") == []


def test_a_connection_field_that_takes_the_handshakes_own_fields_away_is_refused(gateway, upstream, clients):
    client = clients(gateway)
    client.send(handshake(connection="Upgrade, Sec-WebSocket-Key"))
    problem(client.response(), "bad_request")
    assert upstream.nothing_received()


BAD = {
    "wrong proof": lambda key: switching(key, proof=accept("AAAAAAAAAAAAAAAAAAAAAA==")),
    "proof with other case": lambda key: switching(key, proof=accept(key).swapcase()),
    "no proof": lambda key: switching(key, proof=False),
    "two proofs": lambda key: switching(key, fields=[("Sec-WebSocket-Accept", accept(key))]),
    "proof that Connection takes away": lambda key: switching(key, connection="Upgrade, Sec-WebSocket-Accept"),
    "no Connection": lambda key: switching(key, connection=None),
    "other Connection": lambda key: switching(key, connection="keep-alive"),
    "no Upgrade": lambda key: switching(key, upgrade=None),
    "other Upgrade": lambda key: switching(key, upgrade="h2c"),
    "two Upgrades": lambda key: switching(key, upgrade="websocket, h2c"),
    "Transfer-Encoding": lambda key: switching(key, fields=[("Transfer-Encoding", "chunked")]),
    "HTTP/1.0": lambda key: switching(key).replace(b"HTTP/1.1", b"HTTP/1.0"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_101_that_is_not_valid_is_502_and_opens_nothing(gateways, upstreams, clients, bad):
    def answer(wire, asked):
        wire.send(BAD[bad](asked.get("sec-websocket-key")) + b"tunnel bytes")
        return False
    gateway = gateways(plain(upstreams(answer)))
    client = clients(gateway)
    client.send(handshake())
    problem(client.response(), "upstream_invalid")
    assert gateway.access_line(reason="upstream_invalid")["status"] == 502


@pytest.mark.parametrize("ask", [request(), handshake(upgrade="h2c"), handshake(key=None)], ids=["plain", "h2c", "no key"])
def test_a_101_that_was_not_asked_for_is_502(gateways, upstreams, clients, ask):
    def answer(wire, _):
        wire.send(switching(KEY) + b"tunnel bytes")
        return False
    client = clients(gateways(plain(upstreams(answer))))
    client.send(ask)
    problem(client.response(), "upstream_invalid")


@pytest.mark.parametrize("status", [200, 302, 400, 403, 426])
def test_any_other_answer_is_an_ordinary_one_and_both_connections_go_on(gateways, upstreams, clients, status):
    def answer(wire, asked):
        fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
        wire.send(response(status, fields if status == 426 else [], b"no"))
        return True
    upstream = upstreams(answer)
    gateway = gateways(plain(upstream, workers=1))
    client = clients(gateway)
    for _ in range(3):
        client.send(handshake(version="7"))
        answered = client.response()
        assert answered.status == status and answered.body == b"no"
        assert upstream.received().get("sec-websocket-version") == "7"
        if status == 426:
            assert answered.get("sec-websocket-version") == "13"
    assert upstream.connections == 1


def test_interim_answers_may_come_before_the_101(gateways, upstreams, clients):
    def answer(wire, asked):
        wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + switching(asked.get("sec-websocket-key")) + b"x")
        echo_bytes(wire, asked)
        return False
    client = clients(gateways(plain(upstreams(answer))))
    client.send(handshake())
    hint, answered = client.head(), client.head()
    assert (hint.status, hint.get("link")) == (103, "</a>")
    assert answered.status == 101 and client.exactly(1) == b"x"


def test_tokens_limits_and_routes_hold_for_a_handshake(gateways, upstreams, clients, key, tmp_path):
    keys = tmp_path / "keys.json"
    keys.write_text(key_set(key))
    upstream = upstreams(opens(echo_bytes))
    gateway = gateways(plain(
        upstream, auth={"main": {"jwt": {
            "issuer": "https://auth.test", "audience": ["platform-api"], "keys": {"file": str(keys)},
            "forward": {"X-User-ID": "sub"}}}},
        limits={"client": {"rate": "2/min", "per": "client"}},
        routes=[{"name": "ws", "match": {"prefix": "/ws"}, "to": "up", "auth": "main", "limits": ["client"]}]))
    with clients(gateway) as client:
        client.send(handshake(target="/other", fields=bearer(key.token())))
        problem(client.response(), "no_route")
        client.send(handshake())
        problem(client.response(), "token_missing")
    with clients(gateway) as client:
        opened(client, fields=bearer(key.token()))
        assert upstream.received().get("x-user-id") == "user-1"
    with clients(gateway) as client:
        client.send(handshake(fields=bearer(key.token())))
        problem(client.response(), "rate_limited")
    assert upstream.nothing_received()


def test_a_handshake_is_sent_again_only_where_it_surely_did_not_arrive(gateways, upstreams, clients):
    asked = []

    def serve(wire):
        # The first connection is kept after a first answer, and closed when a handshake has arrived on it.
        while (message := wire.request()) is not None:
            asked.append(message)
            if message.get("upgrade"):
                return
            wire.send(response(200))
    gateway = gateways(plain(upstreams(serve=serve), workers=1))
    client = clients(gateway)
    assert client.ask().status == 200
    client.send(handshake())
    problem(client.response(), "upstream_reset")
    assert len([message for message in asked if message.get("upgrade")]) == 1


# The tunnel

def test_bytes_behind_the_heads_are_not_lost_either_way(gateways, upstreams, clients):
    def answer(wire, asked):
        # With the head, in one packet.
        wire.send(switching(asked.get("sec-websocket-key")) + b"from the service")
        echo_bytes(wire, asked)
        return False
    gateway = gateways(plain(upstreams(answer)))
    client = clients(gateway)
    client.send(handshake() + b"GET / HTTP/1.1\r\n\r\n from the client")
    assert client.head().status == 101
    expected = b"from the service" + b"GET / HTTP/1.1\r\n\r\n from the client"
    assert client.exactly(len(expected)) == expected


def test_a_request_behind_a_handshake_that_is_refused_is_answered(gateway, upstream, clients):
    client = clients(gateway)
    client.send(handshake(target="/first") + request(target="/second"))
    assert client.response().json()["target"] == "/first"
    assert client.response().json()["target"] == "/second"


def test_megabytes_move_untouched_both_ways_at_once(tunnels, clients):
    client = clients(tunnels)
    opened(client)
    block = bytes(range(256)) * 256
    total = 48
    sender = threading.Thread(target=lambda: [client.send(block) for _ in range(total)], daemon=True)
    sender.start()
    for _ in range(total):
        assert client.exactly(len(block)) == block
    sender.join()
    client.close()
    line = line_of(tunnels)
    assert line["bytes_in"] == line["bytes_out"] == total * len(block)


def test_a_side_that_takes_nothing_stops_the_other(gateways, upstreams, clients):
    """Backpressure: what is held for a client or a service that does not read is bounded."""
    sent = []
    has_stopped = threading.Event()

    def flood(wire, _):
        wire.socket.settimeout(0.5)
        try:
            while True:
                sent.append(wire.socket.send(b"x" * 65536))
        except TimeoutError:
            has_stopped.set()
        wire.socket.settimeout(PATIENCE)
        wire.finish_sending()
        assert wire.until_close() == b"now I read"
    gateway = gateways(plain(upstreams(opens(flood)), workers=1))
    before = gateway.resident_bytes()
    client = clients(gateway)
    opened(client)
    assert has_stopped.wait(PATIENCE), "the flood went on"
    # The kernel's buffers hold what they hold; the gateway's share is bounded.
    # A sanitizer's own memory grows as it likes.
    assert SANITIZER or gateway.resident_bytes() - before < 4 << 20
    client.send(b"now I read")
    assert len(client.until_close()) == sum(sent)


# Ends

def test_the_end_of_the_client_is_passed_on_and_the_service_can_still_speak(gateways, upstreams, clients):
    def then(wire, _):
        assert wire.until_close() == b"last words"
        wire.send(b"and mine")
    gateway = gateways(plain(upstreams(opens(then))))
    client = clients(gateway)
    opened(client)
    client.send(b"last words")
    client.finish_sending()
    assert client.until_close() == b"and mine"
    line = line_of(gateway)
    assert line["bytes_in"] == 10 and line["bytes_out"] == 8 and line.get("reason") in (None, "")


def test_the_end_of_the_service_is_passed_on_and_the_client_can_still_speak(gateways, upstreams, clients):
    heard = []

    def then(wire, _):
        wire.send(b"goodbye")
        wire.finish_sending()
        heard.append(wire.until_close())
    gateway = gateways(plain(upstreams(opens(then))))
    client = clients(gateway)
    opened(client)
    assert client.until_close() == b"goodbye"
    client.send(b"one thing more")
    client.close()
    until(lambda: heard, "the client's words")
    assert heard == [b"one thing more"]
    line = line_of(gateway)
    assert line["bytes_in"] == 14 and line["bytes_out"] == 7 and line.get("reason") in (None, "")


def test_a_client_that_breaks_off_breaks_the_services_side(gateways, upstreams, clients):
    ends = []

    def then(wire, _):
        try:
            ends.append(wire.socket.recv(1))
        except ConnectionResetError:
            ends.append("reset")
    gateway = gateways(plain(upstreams(opens(then))))
    client = clients(gateway)
    opened(client)
    client.reset()
    until(lambda: ends, "the end at the service")
    assert ends == ["reset"]
    assert line_of(gateway)["reason"] == "client_closed"


def test_a_service_that_breaks_off_ends_the_clients_side_behind_the_last_byte(gateways, upstreams, clients):
    go = []

    def then(wire, _):
        wire.send(b"last")
        until(lambda: go, "the test's word")
        wire.reset()
    gateway = gateways(plain(upstreams(opens(then))))
    client = clients(gateway)
    opened(client)
    assert client.exactly(4) == b"last"
    go.append(True)
    with pytest.raises(Closed, match="reset"):
        client.exactly(1)
    assert line_of(gateway)["reason"] == "upstream_truncated"


def test_a_service_that_is_gone_while_the_client_speaks_on_ends_the_tunnel(gateways, upstreams, clients):
    """The service closes, the client goes on: its bytes meet a reset, and the tunnel does not live on for its timeout."""
    gateway = gateways(plain(upstreams(opens(lambda wire, _: wire.close()))))
    client = clients(gateway)
    opened(client)
    assert client.until_close() == b""

    def is_gone():
        try:
            client.send(b"x" * 1024)
            return False
        except (BrokenPipeError, ConnectionResetError):
            return True
    until(is_gone, "the gateway's end of the tunnel")
    assert line_of(gateway)["status"] == 101


def test_a_tunnel_in_which_nothing_moves_is_closed_on_both_sides_and_one_that_moves_is_not(gateways, upstreams, clients):
    ends = []

    def then(wire, _):
        echo_bytes(wire, _)
        ends.append(True)
    gateway = gateways(plain(upstreams(opens(then)), limits_of_http=QUICK))
    with clients(gateway) as idle, clients(gateway) as busy:
        opened(busy, target="/busy")
        opened(idle, target="/idle")
        # Longer than the timeout in all, and never as long between two.
        idle.socket.settimeout(0.05)
        moved = 0
        while True:
            busy.send(b"x")
            assert busy.exactly(1) == b"x"
            moved += 1
            try:
                assert idle.socket.recv(1) == b""
                break
            except TimeoutError:
                continue
        assert moved > 3
        line = line_of(gateway, path="/idle")
        assert line["reason"] == "websocket_idle" and line["duration_us"] >= 1_990_000
        busy.send(b"y")
        assert busy.exactly(1) == b"y"
        busy.finish_sending()
        assert busy.until_close() == b""
        assert line_of(gateway, path="/busy")["bytes_in"] == moved + 1
    until(lambda: len(ends) == 2, "both ends at the service")


def test_one_access_line_at_the_end_with_both_counts(tunnels, clients):
    client = clients(tunnels)
    answer = opened(client, target="/ws/room?x=1")
    client.send(b"x" * 1000)
    assert client.exactly(1000) == b"x" * 1000
    assert not [line for line in tunnels.access.all if line.get("status") == 101]
    client.finish_sending()
    assert client.until_close() == b""
    line = tunnels.access_line(answer.get("x-request-id"))
    assert names.ACCESS_FIELDS >= {key for key in line if key in names.ACCESS_FIELDS}
    assert (line["status"], line["bytes_in"], line["bytes_out"], line["method"], line["path"]) == (
        101, 1000, 1000, "GET", "/ws/room")


# Drain and reload

def test_a_tunnel_lives_through_a_drain_until_its_deadline(gateways, upstreams, clients):
    upstream = upstreams(opens(echo_bytes))
    gateway = gateways(plain(upstream), options=("--drain-timeout", "1"))
    client = clients(gateway)
    opened(client)
    gateway.process.terminate()
    # The listening socket is gone when the drain has begun, and the tunnel is not.
    until(lambda: refused(gateway), "the end of the listening socket")
    client.send(b"still here")
    assert client.exactly(10) == b"still here"
    assert client.is_closed()
    assert gateway.wait() == 0
    assert line_of(gateway)["reason"] == "draining"


def refused(gateway):
    try:
        socket.create_connection(gateway.address(), 1).close()
        return False
    except OSError:
        return True


def test_a_drain_ends_when_the_last_tunnel_does(gateways, upstreams, clients):
    gateway = gateways(plain(upstreams(opens(echo_bytes))), options=("--drain-timeout", "60"))
    client = clients(gateway)
    opened(client)
    gateway.process.terminate()
    until(lambda: refused(gateway), "the end of the listening socket")
    client.finish_sending()
    assert client.until_close() == b""
    assert gateway.wait() == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("says_goodbye", [True, False])
def test_to_a_service_with_tls_with_both_ends_passed_on(
        gateways, upstreams, clients, tmp_path, version, says_goodbye):
    authority = Authority(tmp_path)
    heard = []

    def then(wire, _):
        wire.socket.suppress_ragged_eofs = False
        # close_notify, and not a cut: Python would raise on an end without it.
        heard.append(wire.until_close())
        wire.send(b"x" * 200_000 + b"bye")
        if says_goodbye:
            wire.socket.unwrap()
    upstream = upstreams(opens(then), tls=authority.server(
        authority.issue("service", "IP:127.0.0.1"), version=version))
    gateway = gateways(plain(upstream, services={"up": {
        "to": [f"https://{upstream.address}"], "tls": {"ca": str(authority.cert)}}}))
    client = clients(gateway)
    opened(client)
    client.send(b"y" * 200_000)
    client.finish_sending()
    assert client.until_close() == b"x" * 200_000 + b"bye"
    assert heard == [b"y" * 200_000]
    line = line_of(gateway)
    assert line.get("reason") in (None, "") and line["bytes_out"] == 200_003


def test_over_tls_with_both_ends_passed_on(gateways, upstreams, certificate, clients):
    def then(wire, _):
        assert wire.exactly(5) == b"hello"
        wire.send(b"x" * 200_000)
        wire.finish_sending()
        assert wire.until_close() == b"bye"
    upstream = upstreams(opens(then))
    gateway = gateways(merged(plain(upstream), {"listeners": {
        "http": None, "https": {"bind": ["127.0.0.1:0"], "tls": certificate.settings()}}}))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client = clients(gateway, tls=certificate.client("http/1.1", version=version))
        opened(client)
        client.send(b"hello")
        # close_notify, and not a cut: Python would raise on an end without it.
        client.socket.suppress_ragged_eofs = False
        assert client.exactly(200_000) == b"x" * 200_000
        assert client.is_closed()
        client.send(b"bye")
        client.socket.unwrap()
        client.close()
    until(lambda: len([line for line in gateway.access.all if line.get("status") == 101]) == 2, "two access lines")
    assert {line.get("reason") for line in gateway.access.all} <= {None, ""}


def test_a_service_of_http_2_takes_no_websocket_and_is_not_asked(gateways, clients):
    with contextlib.closing(Upstream2()) as service:
        config = plain(service)
        config["services"]["up"]["to"] = [f"h2c://{service.address}"]
        gateway = gateways(config)
        client = clients(gateway)
        client.send(handshake())
        problem(client.response(), "not_implemented")
        assert client.ask().status == 200
