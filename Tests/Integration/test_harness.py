"""The harness itself: what a test of the gateway believes, shown against peers of known behaviour."""

import pytest

from harness.bound import TooLate
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
