"""Upstream connections that end as they are used (RFC 9112 §9.3.1, RFC 9110 §9.2.2): the client notices only where a
second try could do what was asked twice."""

import threading

import pytest

from edge import HOST, asked, case, goes_on, problem, read_answer
from harness.recorder import CLOSE, RESET
from harness.wire import chunked, request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def one_idle_connection(edge):
    """The pool holds one connection that has carried an exchange, and no other."""
    for connection in edge.recorder.open_connections():
        edge.recorder.hang_up(connection)
    with edge.client() as client:
        goes_on(client)
    edge.settle()
    idle = edge.recorder.open_connections()
    assert len(idle) == 1
    return idle[0]


def ask(method, body=None, chunks=False):
    if chunks:
        return request(method, "/r", [("Transfer-Encoding", "chunked")]) + chunked(body, trailers=[("X-Sum", "1")])
    return request(method, "/r", body=body)


AGAIN = [
    case("9110 §9.2.2", name, ask(*arguments)) for name, arguments in [
        ("GET", ("GET",)), ("HEAD", ("HEAD",)), ("OPTIONS", ("OPTIONS",)), ("DELETE", ("DELETE",)), ("PUT without a body", ("PUT",)), ("PUT with a body", ("PUT", b"x" * 1000)),
        ("PUT in chunks with trailers", ("PUT", b"x" * 1000, True)), ("GET with a body", ("GET", b"x")), ("DELETE with a body of 60,000 bytes", ("DELETE", b"y" * 60000)),
        ("PUT in chunks of 60,000 bytes", ("PUT", b"z" * 60000, True))]]


@pytest.mark.parametrize("ending", [CLOSE, RESET])
@pytest.mark.parametrize("data", AGAIN)
def test_an_idempotent_request_is_sent_again_unseen(edge, data, ending):
    """The service took it on a kept connection and closed: that looks like a connection that it had given up."""
    idle = one_idle_connection(edge)
    with edge.client() as client:
        asked(edge, client, ending, send=data)
        answer = read_answer(client, data.split(b" ")[0].decode())
        assert (answer.status, answer.all(b"x-seen")) == (200, [b"/r"])
        goes_on(client)
    first, second, _ = edge.settle().requests
    assert first.connection is idle and second.connection is not idle
    assert (first.body, first.trailers, first.lines) == (second.body, second.trailers, second.lines), "byte for byte the same"


ONCE = [
    case("9110 §9.2.2", name, ask(*arguments)) for name, arguments in [
        ("POST", ("POST", b"x")), ("POST without a body", ("POST",)), ("PATCH", ("PATCH", b"x")), ("an unknown method", ("CHARGE", b"x")), ("get, which is not GET", ("get",)),
        ("POST in chunks", ("POST", b"x", True)), ("PUT that is too large to keep", ("PUT", b"x" * 200_000))]]


@pytest.mark.parametrize("ending", [CLOSE, RESET])
@pytest.mark.parametrize("data", ONCE)
def test_what_may_have_arrived_is_not_sent_twice(edge, data, ending):
    one_idle_connection(edge)
    with edge.client() as client:
        asked(edge, client, ending, send=data)
        assert problem(client.response(), "upstream_reset")["reason"] == "upstream_reset"
        goes_on(client)
    assert [received.target for received in edge.settle().requests] == [b"/r", b"/next"]


@pytest.mark.parametrize("ending", [CLOSE, RESET])
def test_a_second_loss_is_told(edge, ending):
    """A fresh connection that is lost was not stale: the service does not want this request."""
    one_idle_connection(edge)
    with edge.client() as client:
        edge.recorder.script(ending)
        asked(edge, client, ending, send=ask("GET"))
        assert problem(client.response(), "upstream_reset")["reason"] == "upstream_reset"
        goes_on(client)
    assert [received.target for received in edge.settle().requests] == [b"/r", b"/r", b"/next"]


@pytest.mark.parametrize("steps", [
    case("9110 §9.2.2", "a part of a head", (b"HTTP/1.1 2",)), case("9110 §9.2.2", "an interim answer", (b"HTTP/1.1 103 A\r\n\r\n",))])
def test_a_service_that_has_begun_to_answer_is_not_asked_again(edge, steps):
    one_idle_connection(edge)
    with edge.client() as client:
        asked(edge, client, *steps, CLOSE, send=ask("GET"))
        assert problem(client.response(), "upstream_reset")["reason"] == "upstream_reset"
    assert len(edge.settle().requests) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize("how", ["close", "reset", "an answer to nobody, and close"])
def test_a_connection_that_was_closed_before_costs_nothing(edge, method, how):
    """It was closed before the request was written: that surely did not arrive, so that any method is sent on another. A
    request comes hard behind the close, so that both may be found in one turn."""
    rounds = 100
    with edge.client() as client:
        for _ in range(rounds):
            client.send(ask(method, b"x" if method != "GET" else None))
            assert read_answer(client).status == 200
            idle = edge.recorder.arrived(1).connection
            edge.recorder.take()
            if how == "reset":
                idle.socket.setsockopt(1, 13, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            elif how != "close":
                edge.recorder.say(idle, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            edge.recorder.hang_up(idle)
            client.send(ask(method, b"x" if method != "GET" else None))
            assert read_answer(client).status == 200
            assert len(edge.recorder.take().requests) == 1, "sent once"


@pytest.mark.parametrize("ending", [CLOSE, RESET])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_service_that_closes_after_each_answer_costs_nothing(edge, ending, framing):
    """400 requests over 8 connections: no client sees an error, though no answer said that it would be the last."""
    answer = OK if framing == "length" else b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    edge.recorder.each = (answer, ending)
    failures = []

    def run(number):
        with edge.client() as client:
            for index in range(50):
                method = ("GET", "PUT", "DELETE", "OPTIONS")[index % 4]
                client.send(ask(method, b"x" * index if method == "PUT" else None))
                got = read_answer(client)
                if (got.status, got.body) != (200, b"ok"):
                    failures.append((number, index, got.line, got.body))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    edge.recorder.each = None
    assert not failures, (len(failures), failures[:3])
    assert len(edge.settle().requests) >= 400


def test_a_post_to_a_service_that_closes_after_each_answer_is_sent_at_most_once(edge):
    """Whether the close or the request comes first nobody can know: a POST may end with 502, and never arrives twice."""
    edge.recorder.each = (OK, CLOSE)
    statuses = []
    with edge.client() as client:
        for number in range(300):
            client.send(request("POST", f"/n{number}", body=b"x"))
            answer = client.response()
            statuses.append(answer.status)
            if answer.status == 502:
                problem(answer, "upstream_reset")
    edge.recorder.each = None
    targets = [received.target for received in edge.settle().requests]
    assert len(set(targets)) == len(targets), "one of them arrived twice"
    assert set(statuses) <= {200, 502} and 200 in statuses


@pytest.mark.parametrize("data", [
    case("9112 §9.3", "an answer", OK), case("9112 §9.3", "one byte", b"\0"), case("9112 §9.3", "an empty line", b"\r\n"), case("9112 §9.3", "a timeout of the service", b"HTTP/1.1 408 Request Timeout\r\n\r\n"),
    case("9112 §9.3", "100 KiB", b"x" * 102400)])
def test_bytes_on_an_idle_connection_end_it(edge, data):
    idle = one_idle_connection(edge)
    edge.recorder.say(idle, data)
    edge.recorder.until_closed(idle)
    with edge.client() as client:
        goes_on(client)
        goes_on(client)
    assert len(edge.settle().requests) == 2


def test_bytes_that_come_with_the_next_request_are_not_its_answer(edge):
    """They were sent before the service can have seen the request: whoever reads them as its answer gives one client what
    was meant for another."""
    with edge.client() as client:
        for _ in range(200):
            client.send(ask("GET"))
            assert read_answer(client).body == b"/r"
            idle = edge.recorder.arrived(1).connection
            edge.recorder.take()
            edge.recorder.say(idle, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            client.send(ask("GET"))
            assert read_answer(client).body == b"/r"
            edge.recorder.take()


def test_nothing_is_left_behind(edge):
    with edge.client() as client:
        client.send(b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n")
        assert read_answer(client).body == b"/next"
    edge.settle()
