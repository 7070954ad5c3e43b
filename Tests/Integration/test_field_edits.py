"""`headers` of a route: what is set and removed on the way to the service, and on the way back."""

import pytest

from harness.gateway import plain
from harness.http2 import Client2
from harness.wire import chunked, problem, response

EDITS = {"request": {"set": {"X-Service-Name": "core", "Accept-Language": "en"}, "remove": ["X-Debug", "Cookie"]},
         "response": {"set": {"Cache-Control": "no-store", "X-Frame-Options": "DENY"}, "remove": ["Server", "X-Powered-By"]}}


def edited(upstream, **edits):
    config = plain(upstream)
    config["routes"][0]["headers"] = edits or EDITS
    return config


def got(answer):
    """The fields that the service got, but for the gateway's own."""
    return [(name, value) for name, value in answer.json()["fields"] if not name.lower().startswith(
        ("x-forwarded", "forwarded", "x-request-id", "host", "content-length", "transfer-encoding"))]


FIELDS = [("x-one", "1"), ("X-Debug", "on"), ("x_debug", "on"), ("Accept-Language", "de"), ("X-Two", "2"),
          ("x-service-name", "evil"), ("X_Service_Name", "evil"), ("X-SERVICE_NAME", "evil"), ("cookie", "a=b"),
          ("X-Debugger", "stays"), ("x-one", "3")]
KEPT = [("x-one", "1"), ("X-Two", "2"), ("X-Debugger", "stays"), ("x-one", "3"), ("X-Service-Name", "core"),
        ("Accept-Language", "en")]


def test_a_request_is_edited_and_the_rest_keeps_its_order(gateways, upstream, clients):
    gateway = gateways(edited(upstream))
    client = clients(gateway)
    assert got(client.ask(fields=FIELDS)) == KEPT
    assert got(client.ask("POST", fields=FIELDS, body=b"x")) == KEPT
    assert got(client.ask()) == KEPT[-2:]
    with Client2(gateway.address()) as http2:
        answer = http2.ask(fields=[(name.lower(), value) for name, value in FIELDS])
        assert got(answer) == [(name.lower(), value) for name, value in KEPT[:-2]] + KEPT[-2:]


def test_a_field_that_connection_lists_is_set_all_the_same(gateways, upstream, clients):
    """Edits come after the rules about hops (RFC 9110 §7.6.1)."""
    client = clients(gateways(edited(upstream)))
    answer = client.ask(fields=[("Connection", "X-Service-Name, Accept-Language"), ("X-Service-Name", "evil")])
    assert got(answer) == KEPT[-2:]


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_what_is_set_does_not_come_back_in_trailers(gateways, upstream, protocol):
    gateway = gateways(edited(upstream))
    trailers = [("x-service-name", "evil"), ("x_service-name", "evil"), ("x-debug", "on"), ("x-sum", "1")]
    if protocol == "h2":
        with Client2(gateway.address()) as client:
            number = client.request("POST", "/", end=False)
            client.data(number, b"abc", end=False)
            client.trailers(number, trailers)
            said = client.answer(number).json()
    else:
        from harness.wire import Client
        with Client(gateway.address()) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                        + chunked(b"abc", trailers=trailers))
            said = client.response().json()
    assert "evil" not in str(said) and "x-debug" not in str(said).lower()
    assert said["trailers"] == [["x-sum", "1"]]


@pytest.fixture
def talkative(upstreams):
    def answer(wire, _request):
        wire.send(response(200, [("Server", "secret/1.2"), ("X-One", "1"), ("x-powered-by", "x"), ("CACHE-CONTROL", "public"),
                                 ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")], b"body"))
        return True
    return upstreams(answer)


def test_an_answer_is_edited_over_both_protocols(gateways, talkative, clients):
    gateway = gateways(edited(talkative))
    answer = clients(gateway).ask()
    names = ["x-one", "set-cookie", "set-cookie", "content-length", "cache-control", "x-frame-options", "x-request-id"]
    assert answer.field_names() == names and answer.body == b"body"
    assert (answer.get("cache-control"), answer.get("x-frame-options")) == ("no-store", "DENY")
    assert clients(gateway).ask("HEAD").get("cache-control") == "no-store"
    with Client2(gateway.address()) as client:
        stream = client.ask()
        assert [name for name, _ in stream.fields if not name.startswith(":")] == names
        assert (stream.get("cache-control"), stream.get("x-frame-options")) == ("no-store", "DENY")


def test_an_answer_of_the_gateway_is_not_edited(gateways, upstreams, clients):
    gateway = gateways(edited(upstreams(lambda wire, request: False)))
    answer = clients(gateway).ask("POST", body=b"x")
    problem(answer, "upstream_reset")
    assert answer.get("x-frame-options") is None


def test_other_routes_are_not_edited(gateways, upstream, clients):
    config = edited(upstream)
    config["routes"].append({"name": "other", "match": {"prefix": "/other"}, "to": "up"})
    client = clients(gateways(config))
    assert got(client.ask(target="/other", fields=FIELDS)) == FIELDS
    assert got(client.ask(target="/", fields=FIELDS)) == KEPT


def test_a_head_near_its_limit_still_fits_with_what_is_set(gateways, upstream, clients):
    edits = {"request": {"set": {f"X-Set-{index}": "v" * 90 for index in range(20)}}}
    client = clients(gateways(edited(upstream, **edits)))
    for size in (7_000, 11_000, 14_000, 16_000, 24_000, 31_000):
        answer = client.ask(fields=[("X-Big", "b" * size)])
        assert answer.status == 200 and len(got(answer)) == 21, size


def test_a_reload_changes_edits_and_an_exchange_keeps_its_own(gateways, upstream, clients):
    gateway = gateways(edited(upstream))
    client = clients(gateway)
    assert got(client.ask()) == KEPT[-2:]
    gateway.reload(edited(upstream, request={"set": {"X-New": "1"}}))
    assert got(client.ask()) == [("X-New", "1")]
    gateway.reload(plain(upstream))
    assert got(client.ask()) == []
