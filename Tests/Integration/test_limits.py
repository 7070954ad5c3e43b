"""Sizes and times: each limit has its status, and what is within it passes."""

import select

import pytest

from harness.bound import until
from harness.gateway import plain
from harness.wire import Client, Closed, problem, request, response

TIGHT = {"request_line": "1KiB", "head": "4KiB", "fields": 20, "body": "10KiB"}
# Long enough that a test which must do something within them can, on a machine that is busy.
QUICK = {"head_timeout": "1s", "body_idle_timeout": "1s", "idle_timeout": "1s"}


@pytest.fixture
def tight(gateways, upstream):
    return gateways(plain(upstream, limits_of_http=TIGHT))


@pytest.fixture
def quick(gateways, upstream):
    return gateways(plain(upstream, limits_of_http=QUICK))


def test_a_request_line_past_the_limit_is_414(tight, clients, upstream):
    problem_ = clients(tight).ask(target="/" + "a" * 2000)
    problem(problem_, "uri_too_long")
    assert upstream.nothing_received()
    assert clients(tight).ask(target="/" + "a" * 900).status == 200


def test_a_head_past_the_limit_is_431(tight, clients):
    client = clients(tight)
    client.send(request(fields=[("X-A", "a" * 5000)]))
    problem(client.response(), "head_too_large")
    client.until_close()
    assert clients(tight).ask(fields=[("X-A", "a" * 3000)]).status == 200


def test_a_head_without_an_end_is_431_and_not_held(tight, clients):
    client = clients(tight)
    client.send(b"GET / HTTP/1.1\r\nHost: gate.test\r\n" + b"X-A: " + b"a" * 6000)
    problem(client.response(), "head_too_large")


def test_a_request_line_without_an_end_is_414(tight, clients):
    client = clients(tight)
    client.send(b"GET /" + b"a" * 3000)
    problem(client.response(), "uri_too_long")


def test_too_many_fields_are_431(tight, clients):
    client = clients(tight)
    client.send(request(fields=[(f"X-{number}", "1") for number in range(25)]))
    problem(client.response(), "head_too_large")
    assert clients(tight).ask(fields=[(f"X-{number}", "1") for number in range(15)]).status == 200


def test_a_body_past_the_limit_is_413_before_it_is_sent(tight, clients, upstream):
    client = clients(tight)
    client.send(request("POST", "/", [("Content-Length", "10241")]))
    problem(client.response(), "body_too_large")
    assert upstream.nothing_received()


def test_trailers_past_the_limit_are_refused(tight, clients, upstream):
    client = clients(tight)
    client.send(request("POST", "/", [("Transfer-Encoding", "chunked")]) + b"3\r\nabc\r\n0\r\nX-A: " + b"a" * 6000 + b"\r\n\r\n")
    assert client.response().status in (400, 431)
    assert upstream.nothing_received()


def test_a_head_that_does_not_come_is_408(quick, clients):
    client = clients(quick)
    client.send(b"GET / HTTP/1.1\r\nHost: ga")
    problem(client.response(), "request_timeout")
    assert client.until_close() == b""


def test_a_head_that_does_not_come_is_408_with_a_body_whatever_others_ask(quick, clients):
    """RFC 9110 section 9.3.2: only the answer to a HEAD has none."""
    client = clients(quick)
    client.send(b"GET / HTTP/1.1\r\nHost: ga")
    # Enough of them that each worker has parsed one last.
    for _ in range(8):
        assert clients(quick).ask("HEAD").status == 200
    problem(client.response(), "request_timeout")
    assert client.until_close() == b""


def test_a_head_that_comes_byte_by_byte_is_408_all_the_same(quick, clients):
    """Slowloris: the whole head has one deadline, which bytes do not move."""
    client = clients(quick)
    client.socket.settimeout(0.02)
    data = b"GET / HTTP/1.1\r\nHost: gate.test\r\nX-Slow: " + b"a" * 10_000

    def step():
        try:
            client.send(data[step.at:step.at + 1])
            step.at += 1
            client.buffer += client.socket.recv(4096)
        except TimeoutError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            return True
        return b"\r\n\r\n" in client.buffer

    step.at = 0
    until(step, "an answer to a slow head")
    assert client.buffer.startswith(b"HTTP/1.1 408") or step.at < 1000


def test_a_body_that_stops_is_408(quick, clients, upstream):
    client = clients(quick)
    client.send(request("POST", "/", [("Content-Length", "10")]) + b"half")
    problem(client.response(), "request_timeout")
    client.until_close()
    assert upstream.nothing_received()


def test_an_idle_connection_is_closed_quietly(quick, clients):
    client = clients(quick)
    assert client.ask().status == 200
    assert client.until_close() == b""


def test_a_connection_that_never_says_anything_is_closed(quick, clients):
    client = clients(quick)
    left = client.until_close()
    assert left == b"" or left.startswith(b"HTTP/1.1 408")


def test_a_service_that_does_not_answer_is_504(gateways, upstreams, clients):
    silent = upstreams(serve=lambda wire: wire.until_close())
    config = plain(silent)
    config["resilience"] = {"quick": {"timeouts": {"connect": "1s", "request": "200ms", "idle": "200ms"}}}
    config["services"]["up"]["resilience"] = "quick"
    gateway = gateways(config)
    client = clients(gateway)
    said = problem(client.ask(), "upstream_timeout")
    line = gateway.access_line(said["request_id"])
    assert (line["status"], line["reason"]) == (504, "upstream_timeout")
    assert line["duration_us"] >= 200_000


def test_a_route_has_its_own_timeouts(gateways, upstreams, clients):
    silent = upstreams(serve=lambda wire: wire.until_close())
    config = plain(silent)
    config["routes"] = [{"name": "quick", "match": {"prefix": "/"}, "to": "up", "timeouts": {"request": "150ms"}}]
    problem(clients(gateways(config)).ask(), "upstream_timeout")


def test_a_response_body_that_stops_is_cut_and_not_presented_as_complete(gateways, upstreams, clients):
    def serve(wire):
        wire.head()
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        wire.until_close()

    config = plain(upstreams(serve=serve))
    config["resilience"] = {"quick": {"timeouts": {"connect": "1s", "request": "1s", "idle": "200ms"}}}
    config["services"]["up"]["resilience"] = "quick"
    client = clients(gateways(config))
    client.send(request())
    with pytest.raises(Closed):
        client.response()


def test_a_listener_takes_no_more_connections_than_it_may(gateways, upstream):
    """The cap counts what is open: one more waits or is closed, and one less makes room again."""
    gateway = gateways(plain(upstream, workers=1, listeners={"http": {"connections": {"max": 8}}}))
    held = [Client(gateway.address()) for _ in range(8)]
    for client in held:
        assert client.ask().status == 200
    extra = Client(gateway.address())
    extra.socket.settimeout(0.3)
    answered = b""
    try:
        extra.send(request())
        answered = extra.socket.recv(100)
    except (TimeoutError, ConnectionResetError, BrokenPipeError):
        pass
    assert not answered.startswith(b"HTTP/1.1 200")
    extra.close()
    held.pop().close()

    def again():
        with Client(gateway.address()) as client:
            client.socket.settimeout(0.5)
            try:
                client.send(request())
                return client.socket.recv(12) == b"HTTP/1.1 200"
            except (TimeoutError, ConnectionResetError, BrokenPipeError):
                return False

    until(again, "room for a new connection")
    for client in held:
        client.close()


def test_a_client_takes_no_more_connections_than_its_share(gateways, upstream):
    gateway = gateways(plain(upstream, workers=1, listeners={"http": {"connections": {"max": 100, "per_client": 4}}}))
    held = [Client(gateway.address()) for _ in range(4)]
    for client in held:
        assert client.ask().status == 200
    with Client(gateway.address()) as extra:
        try:
            extra.send(request())
            assert not extra.socket.recv(100).startswith(b"HTTP/1.1 200")
        except (ConnectionResetError, BrokenPipeError):
            pass
    for client in held:
        assert client.ask().status == 200
        client.close()


def test_quick_answers_are_not_touched_by_the_timeouts(gateways, upstreams, clients):
    """A connection in use is not idle, however long the exchange takes in pieces."""
    import threading

    def serve(wire):
        while wire.request() is not None:
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(6):
                threading.Event().wait(0.25)
                wire.send(b"1\r\nx\r\n")
            wire.send(b"0\r\n\r\n")

    client = clients(gateways(plain(upstreams(serve=serve), limits_of_http=QUICK)))
    assert client.ask().body == b"xxxxxx"
    assert client.ask().body == b"xxxxxx"


def test_an_answer_of_many_fields_passes_or_is_502(gateways, upstreams, clients):
    def answer(wire, _):
        wire.send(response(200, [(f"X-{number}", "v" * 20) for number in range(400)], b"x"))
        return True

    assert clients(gateways(plain(upstreams(answer)))).ask().status in (200, 502)


def test_a_client_that_sends_on_and_reads_nothing_is_closed(gateways, upstreams, clients):
    """Each further request had put off the deadline of the blocked write, the last one for ever."""

    def large(wire, _):
        wire.send(response(200, body=b"x" * 100_000))
        return True

    client = clients(gateways(plain(upstreams(large), limits_of_http=QUICK)))
    client.send(request() * 300)
    poller = select.poll()
    poller.register(client.socket, 0)
    assert poller.poll(10_000), "the connection is still open"
