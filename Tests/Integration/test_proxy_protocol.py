"""PROXY protocol before a listener's own (proxy-protocol.txt): who is believed, what is refused, what it changes."""

import http.client
import socket
import struct
import time

import pytest

from harness.bound import PATIENCE, until
from harness.gateway import plain
from harness.http2 import Client2
from harness.wire import Client, Closed, request

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 55000 443\r\n"
UNKNOWN = b"PROXY UNKNOWN\r\n"


def v2(block=b"", command=0x21, family=0x11):
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", len(block)) + block


FOUR = socket.inet_aton("203.0.113.7") + socket.inet_aton("192.0.2.1") + struct.pack(">HH", 55000, 443)
SIX = (socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
       + struct.pack(">HH", 55000, 443))
V2 = v2(FOUR)
LOCAL = v2(command=0x20, family=0)


def behind(upstream, **change):
    """A listener that needs the preamble, one with TLS too where a certificate is given, the loopback trusted."""
    return plain(upstream, **{"client_address": {"trusted_proxies": ["127.0.0.0/8"]},
                              "admin": {"listen": "127.0.0.1:0"},
                              "listeners": {"http": {"proxy_protocol": "required"}}, **change})


def refused_preambles(gateway):
    connection = http.client.HTTPConnection(*gateway.address("admin"), timeout=PATIENCE)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return int(next(line.split()[1] for line in text.splitlines()
                    if line.startswith("gatehouse_proxy_preambles_refused_total ")))


def fields_of(answer):
    return {name.lower(): value for name, value in answer.json()["fields"]}


@pytest.mark.parametrize("preamble, client, port", [
    (V1, "203.0.113.7", 55000), (V2, "203.0.113.7", 55000), (v2(SIX, family=0x21), "2001:db8::7", 55000),
    (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 9 443\r\n", "203.0.113.7", 9),
    (v2(FOUR + b"\x02\0\x09gate.test"), "203.0.113.7", 55000)], ids=["v1", "v2", "v2-6", "v1-mapped", "tlv"])
def test_the_address_that_is_told_is_the_client_everywhere(gateways, upstream, preamble, client, port):
    gateway = gateways(behind(upstream))
    with Client(gateway.address("http"), preamble=preamble) as wire:
        answer = wire.ask()
        # It is no trusted proxy, though the peer of the socket is one: its own list is not believed.
        second = wire.ask(fields=[("X-Forwarded-For", "9.9.9.9")])
    for each in (answer, second):
        assert fields_of(each)["x-forwarded-for"] == client
        line = gateway.access_line(each.get("x-request-id"))
        assert (line["client"], line["client_port"]) == (client, port)


@pytest.mark.parametrize("preamble", [
    UNKNOWN, b"PROXY UNKNOWN 1.2.3.4 what ever\r\n", LOCAL, v2(b"/" * 216, family=0x31), v2(family=0)],
    ids=["unknown", "unknown-more", "local", "unix", "unspec"])
def test_a_proxy_that_speaks_for_itself_keeps_its_own_address(gateways, upstream, preamble):
    gateway = gateways(behind(upstream))
    with Client(gateway.address("http"), preamble=preamble) as wire:
        answer = wire.ask(fields=[("X-Forwarded-For", "203.0.113.9")])
    # The proxy is trusted, but it does not say whose words these are: a client behind it may have written the list.
    assert fields_of(answer)["x-forwarded-for"] == "127.0.0.1"
    assert gateway.access_line(answer.get("x-request-id"))["client"] == "127.0.0.1"


def test_whether_x_forwarded_for_is_believed_is_judged_by_the_address_told(gateways, upstream):
    gateway = gateways(behind(upstream, client_address={"trusted_proxies": ["127.0.0.0/8", "203.0.113.0/24"]}))
    with Client(gateway.address("http"), preamble=V1) as wire:
        answer = wire.ask(fields=[("X-Forwarded-For", "198.51.100.4")])
    assert gateway.access_line(answer.get("x-request-id"))["client"] == "198.51.100.4"


@pytest.mark.parametrize("preamble", [V1, V2], ids=["v1", "v2"])
def test_split_at_every_byte(gateways, upstream, preamble):
    """The preamble and the request behind it arrive in two parts, cut everywhere, and byte by byte."""
    gateway = gateways(behind(upstream))
    whole = preamble + request()
    for cut in range(1, len(whole)):
        with Client(gateway.address("http")) as wire:
            wire.send(whole[:cut])
            wire.send(whole[cut:])
            assert fields_of(wire.response())["x-forwarded-for"] == "203.0.113.7", cut
    with Client(gateway.address("http")) as wire:
        for byte in whole:
            wire.send(bytes([byte]))
        assert fields_of(wire.response())["x-forwarded-for"] == "203.0.113.7"
    assert refused_preambles(gateway) == 0


@pytest.mark.parametrize("preamble", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_before_tls(gateways, upstream, certificate, preamble, protocol):
    gateway = gateways(behind(upstream, listeners={"http": {
        "proxy_protocol": "required", "protocols": None, "tls": certificate.settings()}}))
    made = Client if protocol == "http/1.1" else Client2
    with made(gateway.address("http"), tls=certificate.client(protocol), preamble=preamble) as wire:
        answer = wire.ask()
        assert fields_of(answer)["x-forwarded-for"] == "203.0.113.7"
        assert fields_of(answer)["x-forwarded-proto"] == "https"


def test_in_one_packet_with_the_client_hello(gateways, upstream, certificate):
    """Bytes behind the preamble are TLS's, also those that came with it."""
    import ssl
    gateway = gateways(behind(upstream, listeners={"http": {
        "proxy_protocol": "required", "protocols": None, "tls": certificate.settings()}}))
    context = certificate.client("http/1.1")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(gateway.address("http"), PATIENCE) as sock:
        first = V2
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(first + outgoing.read())
                first = b""
                incoming.write(sock.recv(65536))
        session.write(request())
        sock.sendall(outgoing.read())
        got = b""
        while b"203.0.113.7" not in got:
            try:
                got += session.read(65536)
            except ssl.SSLWantReadError:
                incoming.write(sock.recv(65536))


def test_before_http2_with_prior_knowledge(gateways, upstream):
    gateway = gateways(behind(upstream))
    with Client2(gateway.address("http"), preamble=V1) as wire:
        assert fields_of(wire.ask())["x-forwarded-for"] == "203.0.113.7"


@pytest.mark.parametrize("sent", [
    request(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\0\x01", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", b"PROXY UNKNOWN " + b"x" * 100, v2(FOUR, command=0x31), v2(FOUR, family=0x17),
    v2(FOUR[:11]), v2(FOUR + b"\x04\0"), SIGNATURE + b"\x21\x11\xff\xff"],
    ids=["http1", "http2", "tls", "port", "bare-lf", "long", "version", "family", "short", "tlv", "huge"])
def test_anything_but_a_valid_preamble_is_closed_without_an_answer(gateways, upstream, sent):
    gateway = gateways(behind(upstream))
    with Client(gateway.address("http")) as wire:
        wire.send(sent)
        assert wire.is_closed()
    assert refused_preambles(gateway) == 1
    with Client(gateway.address("http"), preamble=V1) as wire:
        assert wire.ask().status == 200


def test_from_anyone_but_a_trusted_proxy_is_closed(gateways, upstream):
    gateway = gateways(behind(upstream, client_address={"trusted_proxies": ["192.0.2.1"]}))
    with Client(gateway.address("http")) as wire:
        try:
            wire.send(V1 + request())
            wire.is_closed()
        except (BrokenPipeError, ConnectionResetError, Closed):
            pass
    assert until(lambda: refused_preambles(gateway) == 1, "the refusal is counted")
    assert upstream.requests.empty()


def test_a_preamble_has_the_time_of_a_head(gateways, upstream):
    gateway = gateways(behind(upstream, limits_of_http={"head_timeout": "1s"}))
    began = time.monotonic()
    with Client(gateway.address("http")) as wire:
        wire.send(V1[:20])
        assert wire.is_closed()
        assert time.monotonic() - began >= 0.95
    assert refused_preambles(gateway) == 1


def test_a_look_at_the_port_is_no_mistake(gateways, upstream):
    """What health checks of balancers do: connect, and close."""
    gateway = gateways(behind(upstream))
    with Client(gateway.address("http")) as wire:
        wire.finish_sending()
        assert wire.is_closed()
    assert refused_preambles(gateway) == 0


def test_connections_of_one_client_are_counted_by_the_address_told(gateways, upstream):
    gateway = gateways(behind(upstream, listeners={"http": {
        "proxy_protocol": "required", "connections": {"per_client": 2}}}))
    address = gateway.address("http")
    with Client(address, preamble=V1) as first, Client(address, preamble=V1) as second:
        assert first.ask().status == second.ask().status == 200
        with Client(address, preamble=V1) as third:
            assert third.is_closed()
        with Client(address, preamble=v2(SIX, family=0x21)) as other:
            assert other.ask().status == 200
    def again():
        with Client(address, preamble=V1) as wire:
            try:
                return wire.ask().status == 200
            except (Closed, BrokenPipeError, ConnectionResetError):
                return False
    assert until(again, "a closed connection makes room")


def test_limits_count_by_the_address_told(gateways, upstream):
    gateway = gateways(behind(upstream, limits={"client": {"rate": "1/h", "per": "client"}},
                              defaults={"auth": "none", "limits": ["client"]}))
    for preamble in (V1, v2(SIX, family=0x21)):
        with Client(gateway.address("http"), preamble=preamble) as wire:
            assert [wire.ask().status, wire.ask().status] == [200, 429]
