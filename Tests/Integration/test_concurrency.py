"""Requests under way at once: each key holds its places as long as its exchanges last, and gives each back exactly once."""

import threading

import pytest

from harness.bound import until
from harness.gateway import plain
from harness.http2 import Client2
from harness.http2 import problem as problem2
from harness.websocket import KEY, echo_bytes, handshake, opens
from harness.wire import Client, problem, request, response


class Turnstile:
    """A service that answers when it is told to: `/drop` with the end of its connection, anything else with 200."""

    def __init__(self):
        self.arrived = threading.Semaphore(0)
        self.may_answer = threading.Semaphore(0)

    def __call__(self, wire, asked):
        if asked.target == "/free":
            wire.send(response(200, body=b"x"))
            return True
        self.arrived.release()
        if asked.target == "/left":
            wire.until_close()
            return False
        assert self.may_answer.acquire(timeout=20)
        if asked.target == "/drop":
            return False
        wire.send(response(200, body=b"x"))
        return True

    def wait(self, count=1):
        for _ in range(count):
            assert self.arrived.acquire(timeout=20), "the request did not arrive"

    def answer(self, count=1):
        for _ in range(count):
            self.may_answer.release()


def narrow(upstream, most=2, per="client", **change):
    config = plain(upstream, **change)
    config["routes"][0]["concurrency"] = {"max": most, "per": per}
    return config


@pytest.mark.parametrize("workers", [1, 2])
def test_as_many_as_allowed_and_no_more_whatever_protocol_connection_and_worker(gateways, upstreams, workers):
    service = Turnstile()
    gateway = gateways(narrow(upstreams(service), workers=workers))
    with Client(gateway.address()) as first, Client2(gateway.address()) as second, Client(gateway.address()) as third:
        first.send(request(target="/wait"))
        number = second.request(path="/wait")
        service.wait(2)
        said = problem(third.ask(target="/wait"), "too_many_in_flight")
        assert gateway.access_line(said["request_id"])["reason"] == "too_many_in_flight"
        refused = second.ask(path="/wait")
        problem2(refused, "too_many_in_flight")
        assert refused.get("retry-after") == "1"
        service.answer(2)
        assert first.response().status == 200 and second.answer(number).status == 200
        # Both places are free again, and only both.
        assert third.ask(target="/free").status == 200
        first.send(request(target="/wait"))
        number = second.request(path="/wait")
        service.wait(2)
        problem(third.ask(target="/free"), "too_many_in_flight")
        service.answer(2)
        assert first.response().status == 200 and second.answer(number).status == 200


def dropped(gateway, service):
    with Client(gateway.address()) as client:
        client.send(request("POST", "/drop", body=b"x"))
        service.wait()
        service.answer()
        problem(client.response(), "upstream_reset")


def left(gateway, service):
    with Client(gateway.address()) as client:
        client.send(request(target="/left"))
        service.wait()
    gateway.access_line(path="/left", reason="client_closed")


def reset(gateway, service):
    with Client2(gateway.address()) as client:
        number = client.request(path="/left")
        service.wait()
        client.reset(number)
        gateway.access_line(path="/left", reason="client_closed", protocol="HTTP/2")


def timed_out(gateway, service):
    with Client(gateway.address()) as client:
        problem(client.ask(target="/slow/left"), "upstream_timeout")


def refused_by_rate(gateway, service):
    with Client(gateway.address()) as client:
        for _ in range(5):
            problem(client.ask(target="/limited"), "rate_limited")


def too_large(gateway, service):
    with Client(gateway.address()) as client:
        client.send(request("POST", "/", [("Content-Length", "1000000")]))
        problem(client.response(), "body_too_large")


def reloaded(gateway, service):
    with Client(gateway.address()) as client:
        client.send(request(target="/wait"))
        service.wait()
        for _ in range(3):
            gateway.reload()
        service.answer()
        assert client.response().status == 200


def answered(gateway, service):
    with Client(gateway.address()) as client:
        assert client.ask(target="/free").status == 200


@pytest.mark.parametrize(
    "end", [dropped, left, reset, timed_out, refused_by_rate, too_large, reloaded, answered], ids=lambda end: end.__name__)
def test_a_place_is_given_back_however_the_exchange_ends(gateways, upstreams, end):
    service = Turnstile()
    upstream = upstreams(service)
    silent = upstreams(serve=lambda wire: wire.until_close())
    config = narrow(upstream, most=1, workers=1, limits_of_http={"body": "10KiB"})
    config["services"]["silent"] = {"to": [f"http://{silent.address}"]}
    place = {"concurrency": {"max": 1, "per": "client"}}
    config["limits"] = {"none": {"rate": "1/h", "per": "route"}}
    config["routes"] += [
        {"name": "slow", "match": {"prefix": "/slow"}, "to": "silent", "timeouts": {"request": "50ms"}, **place},
        {"name": "limited", "match": {"prefix": "/limited"}, "to": "up", "limits": ["none"], **place}]
    gateway = gateways(config)
    if end is refused_by_rate:
        with Client(gateway.address()) as client:
            client.send(request(target="/limited"))
            service.wait()
            service.answer()
            assert client.response().status == 200
    for _ in range(3):
        end(gateway, service)
    # The one place is there, and is one: while it is taken the next is refused.
    with Client(gateway.address()) as one, Client(gateway.address()) as other:
        one.send(request(target="/wait"))
        service.wait()
        problem(other.ask(target="/free"), "too_many_in_flight")
        service.answer()
        assert one.response().status == 200
        assert other.ask(target="/free").status == 200


def test_a_tunnel_holds_its_place_until_it_ends(gateways, upstreams, clients):
    gateway = gateways(narrow(upstreams(opens(echo_bytes)), most=1))
    tunnel, other = clients(gateway), clients(gateway)
    tunnel.send(handshake(key=KEY))
    assert tunnel.head().status == 101
    problem(other.ask(), "too_many_in_flight")
    gateway.reload()
    problem(other.ask(), "too_many_in_flight")
    tunnel.finish_sending()
    assert tunnel.until_close() == b""
    gateway.access_line(status=101)
    assert other.ask().status == 400


def test_per_field_and_per_route(gateways, upstreams):
    service = Turnstile()
    gateway = gateways(narrow(upstreams(service), most=1, per="header:X-Key"))
    with Client2(gateway.address()) as client:
        held = client.request(path="/wait", fields=[("x-key", "a")])
        service.wait()
        problem2(client.ask(path="/free", fields=[("x-key", "a")]), "too_many_in_flight")
        # Another key has another place, and who has none is not counted.
        assert client.ask(path="/free", fields=[("x-key", "b")]).status == 200
        assert client.ask(path="/free").status == 200
        gateway.reload(narrow(upstreams(service), most=1, per="route"))
        service.answer()
        assert client.answer(held).status == 200


def test_a_raised_limit_applies_at_once(gateways, upstreams):
    service = Turnstile()
    upstream = upstreams(service)
    gateway = gateways(narrow(upstream, most=1, workers=1))
    with Client2(gateway.address()) as client:
        held = client.request(path="/wait")
        service.wait()
        problem2(client.ask(path="/free"), "too_many_in_flight")
        gateway.reload(narrow(upstream, most=2, workers=1))
        until(lambda: client.ask(path="/free").status == 200, "the new limit")
        service.answer()
        assert client.answer(held).status == 200
