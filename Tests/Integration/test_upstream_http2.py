"""Services of HTTP/2: many requests on one connection, and every way in which such a service can misbehave."""

import hashlib
import threading
import time

import h2.events
import h2.settings
import pytest

from harness.authority import Authority
from harness.bound import until
from harness.gateway import plain
from harness.http2 import Client2
from harness.upstream2 import echo
from harness.wire import Closed, chunked, problem, request


def before(service, scheme="h2c", workers=1, **change):
    config = plain(service, workers=workers, **change)
    config["services"]["up"]["to"] = [f"{scheme}://{service.address}"]
    return config


# MARK: What works


def test_a_request_of_http1_is_passed_on_and_its_answer_back(gateways, services, clients):
    service = services()
    gateway = gateways(before(service))
    answer = clients(gateway).ask(
        "POST", "/a/b?c=d", [("X-Mixed-Case", "Kept Value"), ("TE", "trailers")], b"body", host="gate.test")
    assert answer.status == 200
    said = answer.json()
    assert (said["method"], said["target"], said["scheme"]) == ("POST", "/a/b?c=d", "http")
    assert said["authority"] == service.address
    fields = dict(map(tuple, said["fields"]))
    assert fields["x-mixed-case"] == "Kept Value" and fields["te"] == "trailers"
    assert fields["x-forwarded-host"] == "gate.test" and fields["content-length"] == "4"
    names = [name for name, _ in said["fields"]]
    assert not {"host", "connection", "transfer-encoding", "keep-alive", "upgrade"} & set(names)
    assert all(name == name.lower() for name in names)
    assert said["sha256"] == hashlib.sha256(b"body").hexdigest()
    line = gateway.access_line(status=200)
    assert line["endpoint"] == f"h2c://{service.address}"


def test_a_request_of_http2_is_passed_on_too(gateways, services):
    service = services()
    gateway = gateways(before(service))
    with Client2(gateway.address()) as client:
        number = client.request("PUT", "/x", [("te", "trailers")], end=False)
        client.data(number, b"q" * 200_000)
        answer = client.answer(number)
        assert answer.status == 200 and answer.json()["length"] == 200_000
        assert answer.json()["sha256"] == hashlib.sha256(b"q" * 200_000).hexdigest()


def test_host_is_kept_where_the_route_says_so(gateways, services, clients):
    config = before(services())
    config["routes"][0]["preserve_host"] = True
    assert clients(gateways(config)).ask(host="asked.test").json()["authority"] == "asked.test"


@pytest.mark.parametrize("size", [0, 1, 16384, 65536, 65537, 3_000_000])
def test_bodies_of_any_size_come_back_as_they_went(gateways, services, clients, size):
    body = (hashlib.sha256(b"seed").digest() * (size // 32 + 1))[:size]
    service = services(lambda peer, call: peer.answer(call.number, 200, [], call.body))
    gateway = gateways(before(service))
    client = clients(gateway)
    for _ in range(2):
        answer = client.ask("POST", body=body)
        assert answer.get("transfer-encoding") == "chunked" and answer.body == body
    client.send(request("POST", fields=[("Transfer-Encoding", "chunked")]) + chunked(body[:1000], body[1000:])
                if len(body) > 1000 else request("POST", body=body))
    assert client.response().body == body
    with Client2(gateway.address()) as second:
        number = second.request("POST", end=False)
        second.data(number, body)
        assert second.answer(number).body == body
    assert service.connections == 1


def test_content_length_is_passed_on_and_used(gateways, services, clients):
    service = services(lambda peer, call: peer.answer(call.number, 200, [("content-length", "5")], b"hello"))
    answer = clients(gateways(before(service))).ask()
    assert answer.get("content-length") == "5" and answer.get("transfer-encoding") is None
    assert answer.body == b"hello"


@pytest.mark.parametrize("status", [200, 204, 304, 404])
def test_an_answer_of_a_head_alone_is_whole(gateways, services, clients, status):
    service = services(lambda peer, call: peer.head(call.number, status, end=True))
    client = clients(gateways(before(service)))
    for _ in range(3):
        answer = client.ask()
        assert answer.status == status and answer.body == b""
        if status in (200, 404):
            assert answer.get("content-length") == "0"


def test_head_requests_have_no_body_whatever_the_length(gateways, services, clients):
    service = services(lambda peer, call: peer.head(call.number, 200, [("content-length", "1000")], end=True))
    client = clients(gateways(before(service)))
    for _ in range(2):
        answer = client.ask("HEAD")
        assert (answer.status, answer.get("content-length"), answer.body) == (200, "1000", b"")


def test_trailers_go_both_ways(gateways, services, clients):
    service = services(
        lambda peer, call: peer.answer(
            call.number, 200, [], call.described(), trailers=[("x-sum", "abc"), ("vary", "*")]))
    gateway = gateways(before(service))
    client = clients(gateway)
    client.send(request("POST", fields=[("Transfer-Encoding", "chunked")])
                + chunked(b"data", trailers=[("X-Check", "1"), ("Host", "evil")]))
    answer = client.response()
    assert answer.trailers == [("x-sum", "abc")]
    assert answer.json()["trailers"] == [["x-check", "1"]]
    with Client2(gateway.address()) as second:
        number = second.request("POST", end=False)
        second.data(number, b"data", end=False)
        second.trailers(number, [("x-check", "2")])
        answer = second.answer(number)
        assert answer.json()["trailers"] == [["x-check", "2"]] and answer.trailers == [("x-sum", "abc")]


def test_interim_answers_are_passed_on_in_their_order(gateways, services, clients):
    def answer(peer, call):
        for number in range(3):
            peer.h2.send_headers(call.number, [(":status", "103"), ("link", f"</{number}>; rel=preload")])
        peer.answer(call.number, 200, [], b"ok")

    gateway = gateways(before(services(answer)))
    client = clients(gateway)
    assert client.ask().body == b"ok"
    assert [(one.status, one.get("link")) for one in client.interim] == [
        (103, f"</{number}>; rel=preload") for number in range(3)]
    with Client2(gateway.address()) as second:
        got = second.answer(second.request())
        assert got.body == b"ok" and len(got.interim) == 3


def test_streamed_bytes_are_passed_on_as_they_come(gateways, services, clients):
    held = threading.Event()

    def answer(peer, call):
        peer.head(call.number)
        peer.data(call.number, b"first")
        assert held.wait(20)
        peer.data(call.number, b"second", end=True)

    client = clients(gateways(before(services(answer))))
    client.send(request())
    message = client.head()
    assert (int(client.line(), 16), client.exactly(7)) == (5, b"first\r\n")
    held.set()
    client.chunked(message)
    assert message.body == b"second"


def test_one_connection_carries_many_requests_at_once(gateways, services):
    """A burst on a fresh gateway opens one connection, not one a request."""
    release = threading.Event()
    waiting = []

    def answer(peer, call):
        waiting.append(call.number)
        if len(waiting) == 60:
            for number in waiting:
                peer.answer(number, 200, [], b"together")

    service = services(answer)
    gateway = gateways(before(service))
    with Client2(gateway.address()) as client:
        numbers = [client.request(path=f"/{n}") for n in range(60)]
        assert all(client.answer(number).body == b"together" for number in numbers)
    release.set()
    assert service.connections == 1


def test_over_tls_alpn_must_choose_h2(gateways, services, clients, tmp_path):
    authority = Authority(tmp_path)
    pair = authority.issue("service", "DNS:localhost,IP:127.0.0.1")
    service = services(tls=authority.server(pair, "h2"))
    config = before(service, "h2")
    config["services"]["up"]["tls"] = {"ca": str(authority.cert)}
    client = clients(gateways(config))
    for _ in range(3):
        assert client.ask("POST", body=b"x" * 100_000).json()["scheme"] == "https"
    assert service.connections == 1


@pytest.mark.parametrize("protocols", [[], ["http/1.1"]])
def test_a_service_that_does_not_choose_h2_is_502(gateways, services, clients, tmp_path, protocols):
    authority = Authority(tmp_path)
    pair = authority.issue("service", "IP:127.0.0.1")
    service = services(tls=authority.server(pair, *protocols))
    config = before(service, "h2")
    config["services"]["up"]["tls"] = {"ca": str(authority.cert)}
    gateway = gateways(config)
    problem(clients(gateway).ask(), "upstream_tls")
    assert gateway.event("upstream_tls_failed")["reason"] in ("no_shared_protocol", "alert_received: no application protocol")


# MARK: What the service asks for


def test_no_more_streams_are_opened_than_the_service_grants(gateways, services):
    """MAX_CONCURRENT_STREAMS 1: others wait, or have a connection of their own; none is refused."""
    most = []

    def event(peer, one):
        if isinstance(one, h2.events.RequestReceived):
            most.append(sum(1 for call in peer.calls.values() if not call.is_ended))
        return False

    service = services(event=event, settings={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    gateway = gateways(before(service))
    with Client2(gateway.address()) as client:
        numbers = [client.request(path=f"/{n}") for n in range(40)]
        answers = [client.answer(number) for number in numbers]
        assert [(one.status, one.body[:99]) for one in answers if one.status != 200] == [], service.protocol_errors
    assert max(most) == 1
    assert service.connections <= 40


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_stream_is_asked_again(gateways, services, clients, method):
    """RFC 9113 §8.7: nothing was done with it, so that even a POST may be sent again."""
    refused = []

    def answer(peer, call):
        if len(refused) < 2:
            refused.append(call.body)
            peer.reset(call.number, 7)
        else:
            echo(peer, call)

    service = services(answer)
    answer = clients(gateways(before(service))).ask(method, body=b"again" if method == "POST" else None)
    assert answer.status == 200 and answer.json()["length"] == (5 if method == "POST" else 0)
    assert len(refused) == 2


def test_a_service_that_refuses_for_ever_is_502(gateways, services, clients):
    service = services(lambda peer, call: peer.reset(call.number, 7))
    problem(clients(gateways(before(service))).ask("POST", body=b"x"), "upstream_reset")
    assert service.calls.qsize() == 3


def test_goaway_lets_streams_below_finish_and_moves_the_others(gateways, services):
    """RFC 9113 §6.8: what is above the last stream was not processed and is sent again, on another connection."""
    def answer(peer, call):
        first = peer is service.peers[0]
        if not first:
            echo(peer, call)
        elif len(peer.calls) == 3:
            peer.goaway(1)
            peer.answer(1, 200, [], b"from the old one")

    service = services(answer)
    gateway = gateways(before(service))
    with Client2(gateway.address()) as client:
        numbers = [client.request("POST", f"/{n}", end=False) for n in range(3)]
        for number in numbers:
            client.data(number, b"body")
        answers = [client.answer(number) for number in numbers]
        assert answers[0].body == b"from the old one"
        assert [one.json()["target"] for one in answers[1:]] == ["/1", "/2"]
        assert all(one.json()["length"] == 4 for one in answers[1:])
        # And what comes later goes to the new one.
        assert client.answer(client.request(path="/later")).json()["target"] == "/later"
    assert service.connections == 2


def test_a_goaway_between_requests_costs_nobody_anything(gateways, services, clients):
    def answer(peer, call):
        echo(peer, call)
        peer.goaway(call.number)

    service = services(answer)
    client = clients(gateways(before(service)))
    for _ in range(10):
        assert client.ask("POST", body=b"x").status == 200
    assert service.connections == 10


def test_a_connection_that_ends_while_idle_is_replaced_unseen(gateways, services, clients):
    service = services()
    client = clients(gateways(before(service)))
    for _ in range(3):
        assert client.ask("POST", body=b"x").status == 200
        service.drop_connections()


def test_windows_of_a_few_bytes_are_kept_to(gateways, services):
    service = services(settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
    gateway = gateways(before(service))
    with Client2(gateway.address()) as client:
        number = client.request("POST", end=False)
        client.data(number, b"w" * 20_000)
        assert client.answer(number).json()["length"] == 20_000


def test_a_service_that_takes_no_body_stops_only_its_own_stream(gateways, services):
    def event(peer, one):
        # The library takes credit as it is told: none, on a path that says so.
        return isinstance(one, h2.events.DataReceived) and peer.calls[one.stream_id].get(":path") == "/stuck"

    service = services(event=event, credit=False)
    gateway = gateways(before(service))
    with Client2(gateway.address()) as client:
        stuck = client.request("POST", "/stuck", end=False)
        client.connection.send_data(stuck, b"s" * 16_000)
        client.flush()
        assert client.answer(client.request("GET", "/free")).status == 200


def test_a_client_that_takes_nothing_stops_only_its_own_stream(gateways, services):
    big = b"b" * 4_000_000
    service = services(
        lambda peer, call: peer.answer(call.number, 200, [], big if call.get(":path") == "/big" else b"small"))
    gateway = gateways(before(service))
    with Client2(gateway.address(), gives_credit=False) as slow, Client2(gateway.address()) as quick:
        slow.request(path="/big")
        for _ in range(5):
            assert quick.answer(quick.request(path="/small")).body == b"small"
    assert service.connections == 1


# MARK: What goes wrong


def test_a_reset_before_the_answer_is_502(gateways, services, clients):
    service = services(lambda peer, call: peer.reset(call.number, 2))
    client = clients(gateways(before(service)))
    problem(client.ask("POST", body=b"x"), "upstream_reset")
    problem(client.ask("GET"), "upstream_reset")
    assert service.calls.qsize() == 2 and service.connections == 1


@pytest.mark.parametrize("length", [None, "1000"])
def test_a_reset_inside_a_body_shows_as_a_cut(gateways, services, clients, length):
    def answer(peer, call):
        peer.head(call.number, 200, [("content-length", length)] if length else [])
        peer.data(call.number, b"only this")
        peer.reset(call.number, 2)

    gateway = gateways(before(services(answer)))
    client = clients(gateway)
    client.send(request())
    with pytest.raises(Closed):
        client.response()
    assert gateway.access_line(status=200)["reason"] == "upstream_truncated"
    with Client2(gateway.address()) as second:
        number = second.request()
        with pytest.raises(AssertionError, match="was reset with 2"):
            second.answer(number)


def test_a_connection_that_breaks_inside_a_body_shows_as_a_cut(gateways, services, clients):
    def answer(peer, call):
        peer.head(call.number)
        peer.data(call.number, b"only this")
        peer.socket.close()

    client = clients(gateways(before(services(answer))))
    client.send(request())
    with pytest.raises(Closed):
        client.response()


def frame(kind, flags, number, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + payload


def literal(name, value):
    """A field without indexing and without Huffman (RFC 7541 §6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


BAD_HEADS = {
    "connection": literal(b"connection", b"close"),
    "transfer-encoding": literal(b"transfer-encoding", b"chunked"),
    "keep-alive": literal(b"keep-alive", b"timeout=5"),
    "upper case": literal(b"X-Upper", b"1"),
    "a NUL": literal(b"x-a", b"a\x00b"),
    "a line end": literal(b"x-a", b"a\r\nx-b: c"),
    "two lengths": literal(b"content-length", b"3") + literal(b"content-length", b"4"),
    "a length that is none": literal(b"content-length", b"three"),
    "a late pseudo-field": literal(b"x-a", b"1") + literal(b":status", b"200"),
    "an unknown pseudo-field": literal(b":method", b"GET"),
}


@pytest.mark.parametrize("what", BAD_HEADS)
def test_a_head_that_http2_forbids_is_502(gateways, services, clients, what):
    """RFC 9113 §8.2, §8.3: malformed, so that nobody is handed any of it."""
    service = services(
        lambda peer, call: peer.raw(frame(1, 5, call.number, literal(b":status", b"200") + BAD_HEADS[what])))
    client = clients(gateways(before(service)))
    problem(client.ask("POST", body=b"x"), "upstream_invalid")
    problem(client.ask("POST", body=b"x"), "upstream_invalid")
    assert service.connections == 1


@pytest.mark.parametrize("status", [b"", b"abc", b"20", b"2000", b"101", b"099", b"600"])
def test_a_status_that_is_none_is_502(gateways, services, clients, status):
    service = services(lambda peer, call: peer.raw(frame(1, 5, call.number, literal(b":status", status))))
    problem(clients(gateways(before(service))).ask("POST", body=b"x"), "upstream_invalid")


@pytest.mark.parametrize("sent", [b"four", b"much more than five"])
def test_a_body_that_is_not_as_long_as_was_said_is_cut(gateways, services, clients, sent):
    """RFC 9113 §8.1.1."""
    def answer(peer, call):
        peer.raw(frame(1, 4, call.number, literal(b":status", b"200") + literal(b"content-length", b"5")))
        peer.raw(frame(0, 1, call.number, sent))

    client = clients(gateways(before(services(answer))))
    client.send(request("POST", body=b"x"))
    try:
        got = client.response()
        assert got.status == 502
    except Closed:
        pass


@pytest.mark.parametrize("what", ["HTTP/1", "nothing", "garbage"])
def test_a_service_that_does_not_speak_http2_is_502(gateways, upstreams, clients, what):
    said = {"HTTP/1": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "nothing": b"", "garbage": b"\x00" * 64}
    upstream = upstreams(serve=lambda wire: wire.send(said[what]))
    config = plain(upstream, workers=1)
    config["services"]["up"]["to"] = [f"h2c://{upstream.address}"]
    problem(clients(gateways(config)).ask("POST", body=b"x"), "upstream_invalid")


def test_a_service_that_greets_nobody_runs_into_the_connect_timeout(gateways, upstreams, clients):
    upstream = upstreams(serve=lambda wire: wire.until_close())
    config = plain(upstream, workers=1)
    config["services"]["up"]["to"] = [f"h2c://{upstream.address}"]
    config["routes"][0]["timeouts"] = {"connect": "200ms"}
    problem(clients(gateways(config)).ask(), "upstream_connect_timeout")


def test_nobody_listens(gateways, services, clients):
    service = services()
    config = before(service)
    service.close()
    problem(clients(gateways(config)).ask("POST", body=b"x"), "upstream_connect")


def test_a_service_that_does_not_answer_is_504_and_its_stream_is_cancelled(gateways, services, clients):
    service = services(lambda peer, call: None)
    config = before(service)
    config["routes"][0]["timeouts"] = {"request": "2s"}
    client = clients(gateways(config))
    problem(client.ask("POST", body=b"x"), "upstream_timeout")
    assert service.was_reset() == (1, 8)
    service.answer = echo
    assert client.ask().status == 200 and service.connections == 1


def test_a_body_that_stalls_is_cut(gateways, services, clients):
    def answer(peer, call):
        peer.head(call.number)
        peer.data(call.number, b"begun")

    service = services(answer)
    config = before(service)
    config["routes"][0]["timeouts"] = {"idle": "2s"}
    gateway = gateways(config)
    client = clients(gateway)
    client.send(request())
    with pytest.raises(Closed):
        client.response()
    assert gateway.access_line(status=200)["reason"] == "upstream_timeout"
    assert service.was_reset() == (1, 8)


def test_a_client_that_goes_away_cancels_its_stream_alone(gateways, services, clients):
    held = threading.Event()

    def answer(peer, call):
        if call.get(":path") == "/held":
            held.set()
        else:
            echo(peer, call)

    service = services(answer)
    gateway = gateways(before(service))
    leaving = clients(gateway)
    leaving.send(request(target="/held"))
    assert held.wait(20)
    leaving.close()
    assert service.was_reset() == (1, 8)
    assert clients(gateway).ask().status == 200
    assert service.connections == 1
    assert gateway.access_line(status=499)["reason"] == "client_closed"


def test_an_early_answer_ends_the_upload(gateways, services):
    """RFC 9113 §8.1: an answer before the request has ended is whole; the rest of the request is not wanted."""
    def event(peer, one):
        if isinstance(one, h2.events.RequestReceived):
            peer.answer(one.stream_id, 413, [], b"too much")
            peer.reset(one.stream_id, 0)
            return True
        return isinstance(one, (h2.events.DataReceived, h2.events.StreamEnded))

    gateway = gateways(before(services(event=event)))
    with Client2(gateway.address()) as client:
        number = client.request("POST", end=False)
        got = client.answer(number)
        assert got.status == 413 and got.body == b"too much"


def test_a_flood_of_pings_ends_the_connection_and_nobody_elses(gateways, services, clients):
    def begin(peer):
        if len(service.peers) == 1:
            for _ in range(40):
                peer.raw(frame(6, 0, 0, b"\x00" * 8) * 100)

    service = services(begin=begin)
    gateway = gateways(before(service))
    client = clients(gateway)
    assert until(lambda: client.ask().status == 200, "an answer")
    assert client.ask("POST", body=b"x").status == 200


def test_interim_answers_without_end_are_refused(gateways, services, clients):
    def answer(peer, call):
        for _ in range(1000):
            peer.raw(frame(1, 4, call.number, literal(b":status", b"103")))
        echo(peer, call)

    problem(clients(gateways(before(services(answer)))).ask("POST", body=b"x"), "upstream_invalid")


def test_a_silent_connection_is_asked_for_a_sign_of_life(gateways, services, upstreams, clients):
    """RFC 9113 §6.7. A service that answers PINGs may think as long as the request's timeout lets it; the connection of one
    that does not is ended, and what it carried is 502. Both at once, since it takes its time."""
    done = threading.Event()
    heard = []

    def dead(wire):
        # SETTINGS, and not a word more.
        wire.send(frame(4, 0, 0, b""))
        heard.append(wire.until_close())

    def event(peer, one):
        if isinstance(one, h2.events.PingReceived) and not done.is_set():
            done.set()
            peer.answer(1, 200, [], b"late")
        return False

    service = services(lambda peer, call: None, event=event)
    config = before(service)
    config["services"]["dead"] = {"to": [f"h2c://{upstreams(serve=dead).address}"]}
    config["routes"].insert(0, {"name": "dead", "match": {"prefix": "/dead"}, "to": "dead"})
    gateway = gateways(config)
    client, other = clients(gateway), clients(gateway)
    began = time.monotonic()
    other.send(request("POST", "/dead", body=b"x"))
    assert client.ask().body == b"late"
    assert time.monotonic() - began > 5 and service.peers[0].pings >= 1
    problem(other.response(), "upstream_reset")
    assert 10 < time.monotonic() - began < 25
    until(lambda: heard, "the end at the dead service")
    assert frame(6, 0, 0, b"\x00" * 8)[:9] in heard[0], "it was asked"


def test_reloads_lose_nothing(gateways, services, clients):
    service = services()
    config = before(service)
    gateway = gateways(config)
    client = clients(gateway)
    for _ in range(10):
        assert client.ask("POST", body=b"x").status == 200
        gateway.reload(config)
        assert client.ask().status == 200
    assert service.connections == 1
