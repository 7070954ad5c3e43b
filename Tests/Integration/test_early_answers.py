"""An answer before the request body has ended: the client reads it whole, and not a reset (acceptance 8)."""

import os

import pytest

from harness.bound import FULL, PATIENCE
from harness.gateway import plain
from harness.http2 import Client2
from harness.http2 import problem as problem2
from harness.wire import Client, problem, request, response

BODY = bytes(50 * 1024 * 1024)
TIMES = 1000 if FULL else 15


def guarded(upstream, key_file, **change):
    """`/small` takes 1 KiB of body, `/secret` a token."""
    config = plain(upstream, **change)
    config["auth"] = {"main": {"jwt": {"issuer": "https://auth.test", "audience": ["platform-api"],
                                       "keys": {"file": str(key_file)}}}}
    config["routes"] = [
        {"name": "small", "match": {"prefix": "/small"}, "to": "up", "body": {"max": "1KiB"}},
        {"name": "secret", "match": {"prefix": "/secret"}, "to": "up", "auth": "main", "body": {"max": "none"}},
        {"name": "open", "match": {"prefix": "/"}, "to": "up", "body": {"max": "none"}}]
    return config


@pytest.fixture
def gate(gateways, upstream, key, tmp_path):
    key_file = tmp_path / "keys.pem"
    key_file.write_bytes(key.public_pem)
    return gateways(guarded(upstream, key_file))


def push(client, data):
    """Sends all of it, or as much as the gateway takes: it may close while the client still sends."""
    try:
        client.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


@pytest.mark.bound(300)
@pytest.mark.parametrize("path,reason", [("/small", "body_too_large"), ("/secret", "token_missing")])
def test_a_refused_50_mib_post_is_answered_in_full_over_http_1(gate, path, reason):
    """A client that sends all before it reads finds the whole problem, since the gateway discards for a while before
    it closes."""
    for _ in range(TIMES):
        with Client(gate.address()) as client:
            client.send(request("POST", path, [("Content-Length", str(len(BODY)))]))
            answer = client.response()
            problem(answer, reason)
            assert answer.get("connection").lower() == "close"
            push(client, BODY[:1_000_000])
            assert client.until_close() == b""


@pytest.mark.bound(300)
@pytest.mark.parametrize("path,reason", [("/small", "body_too_large"), ("/secret", "token_missing")])
def test_a_client_that_sends_while_it_reads_gets_the_answer(gate, path, reason):
    """As curl does: it writes while it can, and looks for an answer at each turn."""
    for _ in range(TIMES):
        with Client(gate.address()) as client:
            client.send(request("POST", path, [("Content-Length", str(len(BODY)))]) + BODY[:200_000])
            problem(client.response(), reason)


@pytest.mark.bound(300)
@pytest.mark.parametrize("path,reason", [("/small", "body_too_large"), ("/secret", "token_missing")])
def test_a_refused_50_mib_post_is_answered_in_full_over_http_2(gate, path, reason):
    """The answer, then RST_STREAM(NO_ERROR); the connection and its credit live on."""
    made = 0
    client = None
    for _ in range(TIMES):
        if client is None or made == 50:
            if client is not None:
                client.close()
            client, made = Client2(gate.address()), 0
        made += 1
        number = client.request("POST", path, [("content-length", str(len(BODY)))], end=False)
        client.data(number, BODY)
        stream = client.streams[number]
        client.until(lambda: stream.is_ended or stream.reset is not None)
        problem2(stream, reason)
        assert stream.reset in (None, 0)
    assert client.ask(path="/").status == 200
    client.close()


@pytest.mark.bound(300)
@pytest.mark.parametrize("protocol", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_shows_the_problem(gate, tmp_path, protocol):
    """A client that people use: it sends 50 MiB, and prints what it was told instead."""
    import json
    import subprocess
    body = tmp_path / "body"
    body.write_bytes(BODY)
    for path, reason in (("/small", "body_too_large"), ("/secret", "token_missing")):
        for _ in range(TIMES // 5):
            # Its exit status may speak of the upload that was cut short; what counts is what it printed.
            done = subprocess.run(
                ["curl", "-s", protocol, "--max-time", str(PATIENCE), "-H", "Expect:", "-X", "POST", "--data-binary",
                 f"@{body}", gate.url(path)], capture_output=True, timeout=PATIENCE + 10, check=False)
            assert json.loads(done.stdout)["reason"] == reason, done


def test_a_chunked_body_past_the_limit_is_refused_where_it_passes(gate, upstream):
    with Client(gate.address()) as client:
        client.send(request("POST", "/small", [("Transfer-Encoding", "chunked")]))
        client.send(b"200\r\n" + bytes(0x200) + b"\r\n")
        client.send(b"400\r\n" + bytes(0x400) + b"\r\n")
        problem(client.response(), "body_too_large")
        client.until_close()
    assert upstream.nothing_received()


def test_a_body_of_just_the_limit_passes(gate):
    with Client(gate.address()) as client:
        assert client.ask("POST", "/small", body=os.urandom(1024)).json()["length"] == 1024
        problem(client.ask("POST", "/small", body=os.urandom(1025)), "body_too_large")


def test_a_quick_answer_of_the_service_reaches_the_client(gateways, upstreams, clients):
    """The service refuses at the head; the client is still sending."""
    def serve(wire):
        wire.head()
        wire.send(response(403, [("Connection", "close")], b"no"))
        wire.finish_sending()
        wire.until_close()

    config = plain(upstreams(serve=serve))
    config["routes"][0]["body"] = {"max": "none"}
    client = clients(gateways(config))
    client.send(request("POST", "/", [("Content-Length", str(len(BODY)))]) + BODY[:100_000])
    answer = client.response()
    assert (answer.status, answer.body) == (403, b"no")


def test_the_gateway_does_not_discard_for_ever(gate):
    """At most 1 MiB or 2 s: then the connection is closed, whatever still comes."""
    with Client(gate.address()) as client:
        client.send(request("POST", "/small", [("Content-Length", str(len(BODY)))]))
        problem(client.response(), "body_too_large")
        client.socket.settimeout(PATIENCE)
        sent = 0
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while sent < len(BODY):
                sent += client.socket.send(BODY[:65536])


def test_expect_100_continue_is_refused_without_the_body(gate, upstream):
    """RFC 9110 §10.1.1: a final answer instead of 100, and nothing was sent for nothing."""
    with Client(gate.address()) as client:
        client.send(request("POST", "/small", [("Expect", "100-continue"), ("Content-Length", "5000")]))
        answer = client.response()
        problem(answer, "body_too_large")
        assert client.interim == []
    assert upstream.nothing_received()
