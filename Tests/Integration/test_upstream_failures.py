"""Services that refuse, reset, lie or go away: the client is told, once, and never told a whole answer that was not."""

import threading

import pytest

from harness.gateway import plain
from harness.ports import free_port
from harness.wire import Closed, problem, request, response


def test_a_service_that_nobody_listens_for_is_502(gateways, upstream, clients):
    held = free_port()
    config = plain(upstream)
    config["services"]["up"]["to"] = [f"http://127.0.0.1:{held.getsockname()[1]}"]
    gateway = gateways(config)
    client = clients(gateway)
    for _ in range(3):
        said = problem(client.ask(), "upstream_connect")
    line = gateway.access_line(said["request_id"])
    assert (line["status"], line["reason"], line["service"]) == (502, "upstream_connect", "up")
    held.close()


def test_a_service_that_resets_before_it_answers_a_post_is_502_and_asked_once(gateways, upstreams, clients):
    """A POST that may have arrived is not sent again (RFC 9110 §9.2.2)."""
    asked = []

    def serve(wire):
        asked.append(wire.request())
        wire.reset()

    client = clients(gateways(plain(upstreams(serve=serve))))
    problem(client.ask("POST", body=b"once"), "upstream_reset")
    assert len(asked) == 1


def test_a_service_that_closes_without_an_answer_is_502(gateways, upstreams, clients):
    client = clients(gateways(plain(upstreams(lambda wire, _: False))))
    problem(client.ask("POST", body=b"x"), "upstream_reset")
    # The client's own connection has lost nothing.
    problem(client.ask("POST", body=b"x"), "upstream_reset")


CUTS = {
    "Content-Length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this",
    "a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\nonly this",
    "the last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    "the trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n0\r\nX-A: 1\r\n",
}


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("what", CUTS)
def test_a_body_cut_before_its_end_is_not_presented_as_complete(gateways, upstreams, clients, what, ending):
    """RFC 9112 §8: an incomplete message must be recognisable as one by the client too."""
    def answer(wire, _):
        wire.send(CUTS[what])
        if ending == "reset":
            # The bytes have been read by the gateway before the reset can overtake them only once it asks again.
            wire.finish_sending()
        return False

    gateway = gateways(plain(upstreams(answer)))
    client = clients(gateway)
    client.send(request())
    try:
        got = client.response()
    except Closed:
        got = None
    assert got is None or got.status == 502


BAD_HEADS = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a status that is no number": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a NUL in a field": b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: three\r\n\r\nabc",
    "a head without an end": b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 200_000,
}


@pytest.mark.parametrize("what", BAD_HEADS)
def test_a_head_that_cannot_be_understood_is_502(gateways, upstreams, clients, what):
    def answer(wire, _):
        wire.send(BAD_HEADS[what])
        return False

    client = clients(gateways(plain(upstreams(answer))))
    assert client.ask("POST", body=b"x").status == 502
    assert client.ask("POST", body=b"x").status == 502


def test_bytes_after_an_answer_are_not_the_next_answer(gateways, upstreams, clients):
    """Response splitting by an upstream: what was not asked for is nobody's answer."""
    def answer(wire, request_):
        body = request_.target.encode()
        wire.send(response(200, body=body) + response(200, body=b"poison"))
        return True

    client = clients(gateways(plain(upstreams(answer), workers=1)))
    for number in range(10):
        got = client.ask(target=f"/{number}")
        assert got.body in (f"/{number}".encode(),) or got.status == 502


def test_a_stale_connection_is_tried_again_on_a_fresh_one(gateways, upstreams, clients):
    """§4: a kept connection that the service has closed meanwhile costs the client nothing, if its request surely did
    not arrive or is idempotent."""
    upstream = upstreams()
    gateway = gateways(plain(upstream, workers=1))
    client = clients(gateway)
    for round_ in range(10):
        assert client.ask(target=f"/{round_}").status == 200
        upstream.drop_connections()
        assert client.ask(target=f"/again/{round_}").status == 200
    assert upstream.connections >= 10


def test_a_service_that_closes_after_each_answer_without_saying_so(gateways, upstreams, clients):
    def answer(wire, request_):
        wire.send(response(200, body=request_.target.encode()))
        return False

    client = clients(gateways(plain(upstreams(answer), workers=1)))
    for number in range(50):
        assert client.ask(target=f"/{number}").body == f"/{number}".encode()


def test_a_service_that_says_close_gets_a_fresh_connection_each_time(gateways, upstreams, clients):
    def answer(wire, _):
        wire.send(response(200, [("Connection", "close")], b"x"))
        return False

    upstream = upstreams(answer)
    client = clients(gateways(plain(upstream)))
    for _ in range(10):
        assert client.ask("POST", body=b"y").status == 200
    assert upstream.connections == 10


def test_the_next_endpoint_is_tried_when_one_cannot_be_reached(gateways, upstream, clients):
    """A connect that failed surely brought nothing: any method may be tried again."""
    held = free_port()
    config = plain(upstream)
    config["services"]["up"]["to"] = [f"http://127.0.0.1:{held.getsockname()[1]}", f"http://{upstream.address}"]
    client = clients(gateways(config))
    statuses = {client.ask("POST", body=b"x").status for _ in range(10)}
    assert 200 in statuses and statuses <= {200, 502}
    held.close()


def test_a_client_that_goes_away_is_logged_as_499(gateways, upstreams, clients):
    arrived, gone = threading.Event(), threading.Event()

    def serve(wire):
        wire.head()
        arrived.set()
        try:
            wire.until_close()
        except Closed:
            pass
        gone.set()

    gateway = gateways(plain(upstreams(serve=serve)))
    client = clients(gateway)
    client.send(request(target="/left"))
    assert arrived.wait(20)
    client.close()
    line = gateway.access_line(path="/left")
    assert (line["status"], line["reason"]) == (499, "client_closed")
    assert gone.wait(20), "the service still waits for a client that has gone"


def test_a_client_that_goes_away_in_the_middle_of_a_download(gateways, upstreams, clients):
    def serve(wire):
        wire.head()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            wire.send(bytes(65536))

    gateway = gateways(plain(upstreams(serve=serve)))
    client = clients(gateway)
    client.send(request(target="/left"))
    assert client.head().status == 200
    client.reset()
    line = gateway.access_line(path="/left")
    assert line["reason"] == "client_closed"


def test_one_service_that_hangs_does_not_hold_another(gateways, upstreams, upstream, clients):
    silent = upstreams(serve=lambda wire: wire.until_close())
    config = plain(upstream, workers=1)
    config["services"]["silent"] = {"to": [f"http://{silent.address}"]}
    config["routes"].append({"name": "silent", "match": {"prefix": "/silent"}, "to": "silent"})
    gateway = gateways(config)
    waiting = [clients(gateway) for _ in range(50)]
    for client in waiting:
        client.send(request(target="/silent"))
    good = clients(gateway)
    for _ in range(20):
        assert good.ask().status == 200
