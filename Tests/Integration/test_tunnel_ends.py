"""How a tunnel's end on one side reaches the other: behind the last byte, and an end that was broken as a broken one."""

import socket
import time

import pytest

from harness.bound import until
from harness.gateway import merged, plain
from harness.http2 import Client2
from harness.websocket import handshake, opens
from harness.wire import Closed, Wire


def heard(ends):
    """A service that notes what comes in a tunnel, to its end, and which end that is."""
    def then(wire, _):
        got = wire.buffer
        try:
            while data := wire.socket.recv(65536):
                got += data
            ends.append((got, "end"))
        except ConnectionResetError:
            ends.append((got, "reset"))
    return opens(then)


def secured(upstream, certificate, protocol):
    return merged(plain(upstream), {
        "listeners": {"http": None, "https": {
            "bind": ["127.0.0.1:0"], "protocols": [protocol], "tls": certificate.settings()}}})


def opened(client):
    client.send(handshake())
    assert client.head().status == 101


def connected(client, scheme="http"):
    number = client.request(
        "CONNECT", "/ws", [(":protocol", "websocket"), ("sec-websocket-version", "13")], end=False, scheme=scheme)
    stream = client.streams[number]
    client.until(lambda: stream.fields)
    assert stream.status == 200
    return number


def cut(client):
    """The end of the transport, without a word of TLS."""
    socket.socket(fileno=client.socket.detach()).close()


# Over HTTP/2 the connection can end under its streams

@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("size", [9, 60_000])
def test_last_bytes_arrive_when_the_client_closes_its_connection_behind_them(gateways, upstreams, end, size):
    ends = []
    gateway = gateways(plain(upstreams(heard(ends))))
    client = Client2(gateway.address())
    first, second = connected(client), connected(client)
    said = b"w" * size
    client.connection.send_data(first, said[:16384], end_stream=end and size <= 16384)
    for start in range(16384, size, 16384):
        client.connection.send_data(first, said[start:start + 16384], end_stream=end and start + 16384 >= size)
    client.flush()
    # A close with unread frames would be a reset.
    client.socket.shutdown(socket.SHUT_WR)
    until(lambda: len(ends) == 2, "both ends at the service")
    assert sorted(ends) == [(b"", "end"), (said, "end")]
    for _ in range(2):
        assert gateway.access_line(status=101)
    assert second != first


def test_what_else_the_connection_carried_is_given_up_at_once(gateways, upstreams):
    """A tunnel whose service takes its time does not keep a request that nobody waits for."""
    ends = []

    def answer(wire, asked):
        if asked.target == "/ws":
            return heard(ends)(wire, asked)
        ends.append(("request", wire.until_close()))
        return False
    upstream = upstreams(answer)
    gateway = gateways(plain(upstream))
    client = Client2(gateway.address())
    number = connected(client)
    client.request("GET", "/other")
    until(lambda: upstream.requests.qsize() == 2, "both requests at the service")
    client.data(number, b"last words", end=True)
    client.close()
    until(lambda: len(ends) == 2, "both ends at the service")
    assert ("request", b"") in ends and (b"last words", "end") in ends
    assert gateway.access_line(path="/other")["reason"] == "client_closed"


def test_a_tunnel_does_not_outlive_its_client_for_long(gateways, upstreams):
    """The service does not end its side: two seconds, and it is given up."""
    ended = []

    def then(wire, _):
        until(lambda: ended, "the end of the tunnel")
    gateway = gateways(plain(upstreams(opens(then))))
    client = Client2(gateway.address())
    number = connected(client)
    began = time.monotonic()
    client.data(number, b"unread", end=False)
    client.close()
    assert gateway.access_line(status=101)["reason"] == "client_closed"
    ended.append(time.monotonic() - began)
    assert 1.5 < ended[0] < 10


@pytest.mark.parametrize("end, expected", [(True, "end"), (False, "reset")])
def test_last_bytes_arrive_before_a_reset_too(gateways, upstreams, end, expected):
    """A client that closes with unread frames in its kernel resets: that is how most leave."""
    ends = []
    gateway = gateways(plain(upstreams(heard(ends))))
    client = Client2(gateway.address())
    number = connected(client)
    client.connection.send_data(number, b"last words", end_stream=end)
    client.connection.ping(b"12345678")
    client.flush()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()
    until(lambda: ends, "the end at the service")
    assert ends == [(b"last words", expected)]


# TLS tells an end from a cut

@pytest.mark.parametrize("how, expected", [("close_notify", "end"), ("cut", "reset")])
def test_a_tls_client_that_is_cut_off_breaks_the_services_side(
        gateways, upstreams, clients, certificate, how, expected):
    """RFC 8446 §6.1: without close_notify anybody may have ended the stream. What came before it is authentic."""
    ends = []
    gateway = gateways(secured(upstreams(heard(ends)), certificate, "http/1.1"))
    client = clients(gateway, tls=certificate.client("http/1.1"))
    opened(client)
    client.send(b"last words")
    if how == "cut":
        cut(client)
    else:
        client.socket.unwrap()
    until(lambda: ends, "the end at the service")
    assert ends == [(b"last words", expected)]


@pytest.mark.parametrize("end, expected", [(True, "end"), (False, "reset")])
def test_over_http2_end_stream_is_a_word_of_its_own(gateways, upstreams, certificate, end, expected):
    ends = []
    gateway = gateways(secured(upstreams(heard(ends)), certificate, "h2"))
    client = Client2(gateway.address(), tls=certificate.client("h2"))
    number = connected(client, "https")
    client.data(number, b"last words", end=end)
    cut(client)
    until(lambda: ends, "the end at the service")
    assert ends == [(b"last words", expected)]


# A service that breaks off

@pytest.mark.parametrize("secure", [False, True])
def test_a_reset_of_the_service_is_a_reset_for_the_client_behind_the_last_byte(
        gateways, upstreams, clients, certificate, secure):
    go = []

    def then(wire, _):
        wire.send(b"l" * 50_000)
        until(lambda: go, "the test's word")
        wire.reset()
    upstream = upstreams(opens(then))
    gateway = gateways(secured(upstream, certificate, "http/1.1") if secure else plain(upstream))
    client = clients(gateway, tls=certificate.client("http/1.1")) if secure else clients(gateway)
    opened(client)
    assert client.exactly(50_000) == b"l" * 50_000
    # Below TLS: what the library makes of a reset differs from version to version.
    raw = Wire(socket.socket(fileno=client.socket.detach()))
    go.append(True)
    with pytest.raises(Closed, match="reset"):
        raw.exactly(1)
    raw.close()
    assert gateway.access_line(status=101)["reason"] == "upstream_truncated"
