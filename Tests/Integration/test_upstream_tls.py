"""TLS to services: verified unless all of it holds, resumed where it can be, and never a cut answer taken for whole."""

import hashlib
import socket
import ssl

import pytest

from harness import names
from harness.authority import Authority
from harness.bound import until
from harness.gateway import plain
from harness.wire import Closed, problem, request, response


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue("service", "DNS:localhost,IP:127.0.0.1")


def secured(upstream, authority=None, host="127.0.0.1", scheme="https", workers=1, **tls):
    """The plain configuration before a service with TLS."""
    settings = dict(tls)
    if authority is not None:
        settings["ca"] = str(authority.cert)
    config = plain(upstream, workers=workers)
    config["services"]["up"] = {"to": [f"{scheme}://{host}:{upstream.port}"]}
    if settings:
        config["services"]["up"]["tls"] = settings
    return config


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_service_with_a_good_certificate_is_asked_over_tls(
        gateways, upstreams, clients, authority, pair, host, version):
    upstream = upstreams(tls=authority.server(pair, version=version))
    client = clients(gateways(secured(upstream, authority, host)))
    for number in range(5):
        body = hashlib.sha256(bytes([number])).digest() * 3000
        answer = client.ask("POST", f"/x/{number}", body=body)
        assert answer.status == 200 and answer.json()["sha256"] == hashlib.sha256(body).hexdigest()
        assert upstream.received().get("host") == f"{host}:{upstream.port}"
    assert upstream.connections == 1
    # An address is told to nobody as SNI (RFC 6066 §3).
    assert upstream.tls_facts[0]["sni"] == (None if host == "127.0.0.1" else "localhost")
    assert upstream.tls_facts[0]["version"] == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


def test_large_bodies_go_both_ways_unharmed(gateways, upstreams, clients, authority, pair):
    blob = hashlib.sha256(b"seed").digest() * 100_000
    upstream = upstreams(
        lambda wire, request: wire.send(response(200, [], request.body)) or True, tls=authority.server(pair))
    client = clients(gateways(secured(upstream, authority)))
    answer = client.ask("PUT", body=blob)
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(blob).digest()


BAD = {
    "a certificate for another name": ("other", "DNS:other.test", 2, "ostname mismatch"),
    "a name in the common name alone": ("localhost", "", 2, "ostname mismatch"),
    "a wildcard for a part of a label": ("partial", "DNS:l*t", 2, "ostname mismatch"),
    "a certificate that has expired": ("expired", "DNS:localhost", -1, "expired"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_verified_is_502_and_no_request_leaves(gateways, upstreams, clients, authority, what):
    name, alternatives, days, words = BAD[what]
    upstream = upstreams(tls=authority.server(authority.issue(name, alternatives, days)))
    gateway = gateways(secured(upstream, authority, "localhost"))
    said = problem(clients(gateway).ask("POST", body=b"secret"), "upstream_tls")
    assert upstream.nothing_received()
    event = gateway.event(names.UPSTREAM_TLS_FAILED, service="up")
    assert event["level"] == "warning" and event["reason"].startswith("untrusted") and words in event["reason"]
    line = gateway.access_line(said["request_id"])
    assert (line["status"], line["reason"]) == (502, "upstream_tls")


def test_the_system_does_not_know_the_tests_authority(gateways, upstreams, clients, authority, pair):
    upstream = upstreams(tls=authority.server(pair))
    gateway = gateways(secured(upstream))
    problem(clients(gateway).ask(), "upstream_tls")
    assert gateway.event(names.UPSTREAM_TLS_FAILED)["reason"].startswith("untrusted")


def test_the_address_must_be_in_the_certificate(gateways, upstreams, clients, authority):
    upstream = upstreams(tls=authority.server(authority.issue("only-name", "DNS:localhost")))
    problem(clients(gateways(secured(upstream, authority, "127.0.0.1"))).ask(), "upstream_tls")


def test_server_name_is_whom_the_certificate_must_name(gateways, upstreams, clients, authority):
    upstream = upstreams(tls=authority.server(authority.issue("core", "DNS:core.internal")))
    client = clients(gateways(secured(upstream, authority, server_name="core.internal")))
    assert client.ask().status == 200
    assert upstream.tls_facts[0]["sni"] == "core.internal"


def test_a_service_that_wants_a_certificate_gets_the_configured_one(gateways, upstreams, clients, authority, pair):
    cert, key = authority.issue("gateway", "DNS:gateway.test")
    upstream = upstreams(tls=authority.server(pair, clients=authority))
    client = clients(gateways(secured(upstream, authority, cert=str(cert), key=str(key))))
    assert client.ask().status == 200
    assert dict(sum(upstream.tls_facts[0]["peer"]["subject"], ())) == {"commonName": "gateway"}


def test_without_the_certificate_that_it_wants_the_service_refuses(gateways, upstreams, clients, authority, pair):
    upstream = upstreams(tls=authority.server(pair, clients=authority, version=ssl.TLSVersion.TLSv1_2))
    gateway = gateways(secured(upstream, authority))
    problem(clients(gateway).ask("POST", body=b"x"), "upstream_tls")
    assert gateway.event(names.UPSTREAM_TLS_FAILED)["reason"].startswith("alert_received")


def test_a_service_without_tls_behind_https_is_502(gateways, upstreams, clients, authority):
    upstream = upstreams(serve=lambda wire: wire.send(b"HTTP/1.1 400 No\r\n\r\n"))
    problem(clients(gateways(secured(upstream, authority))).ask(), "upstream_tls")


def test_a_handshake_that_stalls_counts_as_connecting(gateways, upstreams, clients, authority):
    held = []
    upstream = upstreams(serve=lambda wire: (held.append(wire), wire.until_close()))
    config = secured(upstream, authority)
    config["routes"][0]["timeouts"] = {"connect": "200ms"}
    problem(clients(gateways(config)).ask(), "upstream_connect_timeout")


def test_a_broken_certificate_file_is_told_at_its_place(gateways, upstreams, clients, authority, pair, tmp_path):
    upstream = upstreams(tls=authority.server(pair))
    gateway = gateways(secured(upstream, authority))
    empty = tmp_path / "empty.crt"
    empty.write_text("nothing\n")
    config = secured(upstream, authority)
    config["services"]["up"]["tls"]["ca"] = str(empty)
    assert "no certificate in it" in gateway.reload(config, good=False)["reason"]
    assert clients(gateway).ask().status == 200


def test_a_session_is_resumed_on_the_next_connection(gateways, upstreams, clients, authority, pair):
    """Each connection serves one request, so the second begins with a ticket of the first."""
    def answer(wire, _):
        wire.send(response(200, [("Connection", "close")], b"ok"))
        return False

    upstream = upstreams(answer, tls=authority.server(pair))
    client = clients(gateways(secured(upstream, authority)))
    for _ in range(3):
        assert client.ask().body == b"ok"
    assert [fact["resumed"] for fact in upstream.tls_facts] == [False, True, True]


def test_a_kept_connection_is_not_used_under_other_settings(gateways, upstreams, clients, authority, tmp_path):
    """A reload that trusts another authority must not go on with what the old one vouched for."""
    upstream = upstreams(tls=authority.server(authority.issue("kept", "DNS:localhost")))
    gateway = gateways(secured(upstream, authority, "localhost"))
    client = clients(gateway)
    assert client.ask().status == 200
    other = Authority(tmp_path, "other-ca")
    gateway.reload(secured(upstream, other, "localhost"))
    problem(client.ask(), "upstream_tls")


CLOSE_DELIMITED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhalf of it"


@pytest.mark.parametrize("ending", ["close_notify", "the end of TCP alone"])
def test_a_body_until_the_end_is_whole_only_with_close_notify(
        gateways, upstreams, clients, authority, pair, ending):
    """RFC 9112 §9.8: an end without close_notify may be an attacker's."""
    def serve(wire):
        assert wire.request() is not None
        wire.send(CLOSE_DELIMITED)
        if ending == "close_notify":
            wire.socket.unwrap()
        else:
            socket.socket(fileno=wire.socket.detach()).close()

    gateway = gateways(secured(upstreams(serve=serve, tls=authority.server(pair)), authority))
    client = clients(gateway)
    client.send(request())
    if ending == "close_notify":
        assert client.response().body == b"half of it"
    else:
        with pytest.raises(Closed):
            client.response()
        assert gateway.access_line(status=200)["reason"] == "upstream_truncated"


def test_a_kept_connection_that_the_service_has_closed_is_replaced_unseen(
        gateways, upstreams, clients, authority, pair):
    upstream = upstreams(tls=authority.server(pair))
    client = clients(gateways(secured(upstream, authority)))
    for _ in range(3):
        assert client.ask().status == 200
        upstream.drop_connections()
    assert client.ask("POST", body=b"x").status == 200


def test_http_and_https_endpoints_may_stand_beside_each_other(gateways, upstreams, clients, authority, pair):
    clear, secret = upstreams(), upstreams(tls=authority.server(pair))
    config = secured(secret, authority)
    config["services"]["up"]["to"].append(f"http://{clear.address}")
    config["services"]["up"]["balance"] = "round-robin"
    client = clients(gateways(config))
    for _ in range(4):
        assert client.ask().status == 200
    assert (clear.requests.qsize(), secret.requests.qsize()) == (2, 2)


def test_an_idle_connection_outlives_the_tickets_that_come_late(gateways, upstreams, clients, authority, pair):
    """RFC 8446 §4.6.1: session tickets may come at any time, also when nothing is asked."""
    context = authority.server(pair)
    context.num_tickets = 4
    upstream = upstreams(tls=context)
    client = clients(gateways(secured(upstream, authority)))
    assert until(lambda: client.ask().status == 200, "an answer")
    assert client.ask().status == 200
    assert upstream.connections == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("why", ["idle for too long", "one too many"])
def test_an_idle_connection_is_closed_with_close_notify(gateways, upstreams, clients, authority, pair, version, why):
    """RFC 8446 §6.1: or the service must take the end for a cut."""
    ends = []

    def serve(wire):
        while (asked := wire.request()) is not None:
            wire.send(response(200, [], asked.body))
            wire.socket.suppress_ragged_eofs = False
            try:
                wire.buffer = wire.socket.recv(65536)
            except ssl.SSLEOFError:
                ends.append("cut")
                return
            if not wire.buffer:
                ends.append("close_notify")
                return

    config = secured(upstreams(serve=serve, tls=authority.server(pair, version=version)), authority)
    config["services"]["up"]["keepalive"] = (
        {"idle": "200ms"} if why == "idle for too long" else {"connections": 0})
    client = clients(gateways(config))
    assert client.ask("POST", body=b"x").body == b"x"
    until(lambda: ends, "the end at the service")
    assert ends == ["close_notify"]


def test_a_handshake_that_fails_is_tried_once_an_endpoint(gateways, upstreams, clients, authority):
    """What an endpoint was found to be it will be again."""
    pairs = [authority.issue(f"wrong-{number}", "DNS:other.test") for number in range(2)]
    services = [upstreams(tls=authority.server(pair)) for pair in pairs]
    for count in (1, 2):
        config = secured(services[0], authority, "localhost")
        config["services"]["up"]["to"] = [f"https://127.0.0.1:{service.port}" for service in services[:count]]
        client = clients(gateways(config))
        before = [service.connections for service in services]
        problem(client.ask("POST", body=b"x"), "upstream_tls")
        assert [service.connections - first for service, first in zip(services, before)] == [1, count - 1]


def test_another_endpoint_with_a_good_certificate_is_found(gateways, upstreams, clients, authority, pair):
    bad = [upstreams(tls=authority.server(authority.issue(f"bad-{number}", "DNS:other.test"))) for number in range(2)]
    good = upstreams(tls=authority.server(pair))
    config = secured(good, authority)
    config["services"]["up"]["to"] = [f"https://127.0.0.1:{service.port}" for service in (*bad, good)]
    config["services"]["up"]["balance"] = "round-robin"
    client = clients(gateways(config))
    for _ in range(6):
        assert client.ask("POST", body=b"x").status == 200
    assert good.requests.qsize() == 6 and all(service.nothing_received() for service in bad)
