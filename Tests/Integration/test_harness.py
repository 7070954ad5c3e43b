"""The harness itself: what a test of the gateway believes, shown against peers of known behaviour."""

import errno
import socket
import struct

import pytest

from harness.bound import TooLate
from harness.ports import free_port, number
from harness.tools import curl
from harness.upstream import Upstream
from harness.wire import Client, Closed, chunked, request


def test_a_client_and_an_upstream_understand_each_other():
    upstream = Upstream()
    with Client(("127.0.0.1", upstream.port)) as client:
        said = client.ask("POST", "/a?b=c", [("X-One", "1")], b"body").json()
        assert (said["method"], said["target"], said["length"]) == ("POST", "/a?b=c", 4)
        assert ["X-One", "1"] in said["fields"]
        client.send(request("POST", "/", [("Transfer-Encoding", "chunked")]) + chunked(b"ab", b"c", trailers=[("T", "1")]))
        assert client.response().json()["trailers"] == [["T", "1"]]
    assert b'"GET"' in curl(f"http://{upstream.address}/")
    assert upstream.connections == 2
    upstream.close()


def test_a_cut_body_is_seen_as_cut():
    def cut(wire, _):
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        return False
    upstream = Upstream(cut)
    with Client(("127.0.0.1", upstream.port)) as client, pytest.raises(Closed):
        client.ask()
    upstream.close()


def test_an_error_in_an_upstream_thread_fails_the_test_that_made_it():
    upstream = Upstream(lambda wire, request: 1 / 0)
    with Client(("127.0.0.1", upstream.port)) as client:
        client.send(request())
        assert client.is_closed()
    with pytest.raises(AssertionError, match="division"):
        upstream.close()


def test_a_wait_ends(monkeypatch):
    monkeypatch.setattr("harness.bound.PATIENCE", 0.05)
    from harness.bound import until
    with pytest.raises(TooLate):
        until(lambda: False, "never")


def listener(port, **options):
    return socket.create_server(("127.0.0.1", port), **options)


def test_a_port_that_is_held_is_for_him_who_names_it_and_for_him_again():
    with free_port() as held, free_port() as other:
        port = number(held)
        assert port != number(other)
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            # Killed in the midst of a connection, which stays behind.
            with listener(port) as server, socket.create_connection(("127.0.0.1", port)):
                server.accept()[0].close()
        with socket.socket() as careless, pytest.raises(OSError) as refused:
            careless.bind(("127.0.0.1", port))
        assert refused.value.errno == errno.EADDRINUSE


# Of Linux 6.3: from which ports one socket takes its own. The whole range is too wide to be tried.
IP_LOCAL_PORT_RANGE = 51


@pytest.mark.parametrize("act, refusal", [
    (lambda sock, server: sock.bind(("127.0.0.1", 0)), errno.EADDRINUSE),
    (lambda sock, server: sock.connect(server.getsockname()), errno.EADDRNOTAVAIL)])
def test_a_port_that_is_held_is_given_to_nobody_who_asks_for_any(act, refusal):
    def is_given(port):
        with listener(0) as server, socket.socket() as sock:
            try:
                sock.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("I", port << 16 | port))
            except OSError:
                pytest.skip("the kernel takes no range of ports for one socket")
            try:
                act(sock, server)
            except OSError as error:
                assert error.errno == refusal
                return False
            return number(sock) == port

    def let_go():
        with free_port() as held:
            return number(held)

    with free_port() as held:
        assert not is_given(number(held))
    # One that was let go may be another's at once.
    assert any(is_given(let_go()) for _ in range(10))
