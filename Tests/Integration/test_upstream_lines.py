"""Who waits for a stream to a service of HTTP/2: how often the service is connected to meanwhile, who gets room that has come
free, and what a reload changes for them."""

import socket
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
from harness.wire import Client, problem, request

STREAMS = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS


def before(*services, scheme="h2c", connect="2s", host="127.0.0.1"):
    config = plain(services[0], workers=1)
    config["services"]["up"]["to"] = [f"{scheme}://{host}:{service.port}" for service in services]
    config["routes"][0]["timeouts"] = {"connect": connect}
    return config


def crowd(gateway, seconds, enough=lambda: True, count=8):
    """So many clients ask as fast as they are answered, for so long and until it is enough; what they were told, and how long
    it took."""
    told = []
    began = time.monotonic()

    def ask():
        with Client(gateway.address()) as client:
            while time.monotonic() - began < seconds or not told or not enough():
                told.append(client.ask("POST", body=b"x"))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told, time.monotonic() - began


# MARK: Pauses


@pytest.mark.parametrize("granted", [None, 0, 100])
def test_a_service_that_hangs_up_is_connected_to_ten_times_a_second(gateways, services, upstreams, granted):
    """Before its SETTINGS, or behind them without a stream: not once a round trip, whoever waits."""
    if granted is None:
        service = upstreams(serve=lambda wire: None)
    elif granted == 0:
        service = services(settings={STREAMS: 0}, begin=lambda peer: peer.socket.close())
    else:
        # An error of the connection in its greeting (RFC 9113 §3.4).
        service = upstreams(serve=lambda wire: wire.send(b"\x00" * 64))
    gateway = gateways(before(service))
    told, seconds = crowd(gateway, 1, lambda: service.connections >= 2)
    assert {answer.status for answer in told} <= {502, 503}
    assert 2 <= service.connections <= 10 * seconds + 2, (service.connections, seconds)


def test_a_service_that_grants_no_stream_has_one_connection(gateways, services, clients):
    """RFC 9113 §5.1.2: it may. Another connection would be granted as little."""
    service = services(settings={STREAMS: 0})
    gateway = gateways(before(service, connect="2s"))
    told, _ = crowd(gateway, 1)
    assert {answer.status for answer in told} == {503}
    problem(told[0], "upstream_overloaded")
    assert service.connections == 1
    # What it grants later is used by who waits by then.
    client = clients(gateway)
    client.send(request("POST", body=b"x"))
    peer = service.peers[0]
    peer.h2.update_settings({STREAMS: 10})
    peer.flush()
    while (answer := client.response()).status == 503:
        client.send(request("POST", body=b"x"))
    assert answer.status == 200 and service.connections == 1


def test_another_endpoint_is_asked_meanwhile(gateways, services, upstreams):
    broken, good = upstreams(serve=lambda wire: None), services()
    gateway = gateways(before(broken, good))
    told, seconds = crowd(gateway, 1, lambda: broken.connections)
    assert {answer.status for answer in told} == {200}
    assert good.connections == 1
    assert 1 <= broken.connections <= 10 * seconds + 2, (broken.connections, seconds)


def test_a_service_that_comes_back_within_the_pause_is_reached(gateways, services, clients):
    """Who waits is told of the pause's end by a timer, and not by the next request."""
    def leaves_once(peer):
        if len(service.peers) == 1:
            service.settings = None
            peer.socket.close()

    service = services(settings={STREAMS: 0}, begin=leaves_once)
    gateway = gateways(before(service, connect="20s"))
    client = clients(gateway)
    client.send(request("POST", body=b"x"))
    assert client.response().status == 200
    assert service.connections == 2


# MARK: Room


def test_room_that_a_reset_makes_is_offered_at_once(gateways, services, clients):
    """The second waits for a connection that is never greeted. The first goes away: nothing more is heard of its connection,
    whose one stream is free from the RST_STREAM on."""
    service = services(
        lambda peer, call: None if call.get(":path") == "/held" else echo(peer, call),
        settings={STREAMS: 1}, greets=lambda number: number == 0)
    gateway = gateways(before(service, connect="20s"))
    leaving, waiting = clients(gateway), clients(gateway)
    leaving.send(request(target="/held"))
    assert service.received().get(":path") == "/held"
    waiting.send(request(target="/waits"))
    until(lambda: service.accepted == 2, "a second connection")
    began = time.monotonic()
    leaving.close()
    assert waiting.response().json()["target"] == "/waits"
    assert time.monotonic() - began < 10, "only when the connect had timed out"
    assert service.was_reset() == (1, 8)
    assert service.connections == 1


# MARK: A reload


def test_who_waits_through_a_reload_is_served_under_the_new_security(gateways, services, clients, tmp_path):
    """One request is with the service, one waits for a connection that is being made: a reload changes whom the certificate
    must name. Neither the old connection nor the one in the making takes the second request."""
    authority = Authority(tmp_path)
    pair = authority.issue("service", "DNS:localhost,DNS:core.internal")
    service = services(
        lambda peer, call: None if call.get(":path") == "/held" else echo(peer, call),
        tls=authority.server(pair, "h2"), settings={STREAMS: 1}, greets=lambda number: number != 1)
    config = before(service, scheme="h2", connect="20s", host="localhost")
    config["services"]["up"]["tls"] = {"ca": str(authority.cert)}
    gateway = gateways(config)
    held, waiting = clients(gateway), clients(gateway)
    held.send(request(target="/held"))
    assert service.received().get(":path") == "/held"
    waiting.send(request(target="/waits"))
    until(lambda: service.accepted == 2, "a second connection")
    config["services"]["up"]["tls"]["server_name"] = "core.internal"
    gateway.reload(config)
    assert waiting.response().json()["target"] == "/waits"
    assert service.server_names == ["localhost", "core.internal"] and service.accepted == 3
    # What was begun under the old settings is ended under them.
    service.peers[0].answer(1, 200, [], b"late")
    assert held.response().body == b"late"
    for _ in range(3):
        assert held.ask().status == 200
    assert service.accepted == 3 and not [call for call in service.peers[0].calls.values() if call.get(":path") != "/held"]
    until(lambda: service.peers[0].is_closed, "the end of the old connection")


def test_who_waits_for_a_grant_is_moved_by_a_reload(gateways, services, clients, tmp_path):
    authority = Authority(tmp_path)
    pair = authority.issue("service", "DNS:localhost,DNS:core.internal")
    service = services(tls=authority.server(pair, "h2"), settings={STREAMS: 0})
    config = before(service, scheme="h2", connect="20s", host="localhost")
    config["services"]["up"]["tls"] = {"ca": str(authority.cert)}
    gateway = gateways(config)
    waiting = clients(gateway)
    waiting.send(request("POST", body=b"x"))
    until(lambda: service.connections == 1, "a connection")
    service.settings = None
    config["services"]["up"]["tls"]["server_name"] = "core.internal"
    gateway.reload(config)
    assert waiting.response().json()["length"] == 1
    assert service.server_names == ["localhost", "core.internal"]


# MARK: The end of a connection


def test_an_upload_is_read_on_when_its_service_is_gone_behind_a_whole_answer(gateways, services):
    """The service answers at once, takes nothing of the request, and leaves. The client reads its answer only when its
    request is out: what it still sends has nowhere to go, and is taken from it all the same."""
    answer = b"a" * 180_000

    def event(peer, one):
        if isinstance(one, h2.events.RequestReceived):
            peer.answer(one.stream_id, 200, [], answer)
        elif isinstance(one, h2.events.WindowUpdated) and peer.calls and not any(peer._pending.values()):
            peer.socket.shutdown(socket.SHUT_WR)
        return isinstance(one, (h2.events.RequestReceived, h2.events.DataReceived, h2.events.StreamEnded))

    service = services(event=event, credit=False)
    gateway = gateways(before(service))
    with Client2(gateway.address(), gives_credit=False) as client:
        number = client.request("POST", end=False)
        assert client.data(number, b"u" * 400_000)
        client.gives_credit = True
        client.connection.acknowledge_received_data(len(client.streams[number].body), number)
        client.flush()
        assert client.answer(number).body == answer
