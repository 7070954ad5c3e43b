"""`redirect_to_https`: everything is asked again under https, exactly as it was asked."""

import pytest

from harness import names
from harness.gateway import plain
from harness.http2 import Client2
from harness.wire import chunked, problem


def redirecting(upstream, port=8443, **change):
    return plain(upstream, **{"listeners": {"old": {"bind": ["127.0.0.1:0"], "redirect_to_https": port}}, **change})


@pytest.fixture
def gateway(gateways, upstream):
    return gateways(redirecting(upstream))


TARGETS = ["/", "/a/b?c=d&e", "/a/../b%2fc?x=/../%zz", "//evil.test/x", "/a?", "/a?b?c", "/%00", "/a//b", "/a|b",
           "/" + "long" * 4000]


@pytest.mark.parametrize("target", TARGETS, ids=[target[:24] for target in TARGETS])
def test_path_and_query_are_kept_byte_for_byte(gateways, upstream, clients, target):
    """RFC 9110 §15.4.9: 308 keeps method and body, so whoever asks again asks the same."""
    gateway = gateways(redirecting(upstream, limits_of_http={"request_line": "32KiB"}))
    answer = clients(gateway, "old").ask(target=target)
    assert answer.start_line == "HTTP/1.1 308 Permanent Redirect"
    assert answer.get("location") == f"https://gate.test:8443{target}"
    assert answer.get("content-length") == "0" and answer.get("connection") is None
    with Client2(gateway.address("old")) as client:
        stream = client.ask(path=target)
        assert (stream.status, stream.get("location")) == (308, f"https://gate.test:8443{target}")
        assert stream.body == b"" and stream.get("content-length") == "0"
    assert upstream.requests.empty()


HOSTS = {"gate.test:8080": "gate.test:8443", "GATE.test": "GATE.test:8443", "192.0.2.1:80": "192.0.2.1:8443",
         "[2001:db8::1]:80": "[2001:db8::1]:8443", "[::1]": "[::1]:8443"}


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_is_the_one_that_was_asked_with_our_port(gateway, clients, host):
    assert clients(gateway, "old").ask(host=host).get("location") == f"https://{HOSTS[host]}/"
    with Client2(gateway.address("old")) as client:
        assert client.ask(authority=host).get("location") == f"https://{HOSTS[host]}/"


def test_the_port_of_https_is_left_out(gateways, upstream, clients):
    gateway = gateways(redirecting(upstream, port=443))
    assert clients(gateway, "old").ask(target="/x", host="gate.test:80").get("location") == "https://gate.test/x"


def test_absolute_form_and_asterisk_form(gateway, clients):
    """RFC 9112 §3.2.2, §3.2.4: the authority of the target counts; `*` stands for no path at all."""
    client = clients(gateway, "old")
    answer = client.ask(target="http://gate.test/x?y")
    assert answer.get("location") == "https://gate.test:8443/x?y"
    assert client.ask("OPTIONS", target="*").get("location") == "https://gate.test:8443"


def test_without_a_host_there_is_nowhere_to_go(gateway, clients):
    client = clients(gateway, "old")
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    problem(client.response(), "bad_host")
    for fields in (b"", b"Host: \r\n", b"Host: a b\r\n", b"Host: a\r\nHost: b\r\n"):
        client = clients(gateway, "old")
        client.send(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")
        problem(client.response(), "bad_host")


def test_every_method_and_the_connection_stays(gateway, clients):
    client = clients(gateway, "old")
    for method in ("GET", "HEAD", "DELETE", "OPTIONS", "PATCH", "BREW"):
        assert client.ask(method, target=f"/{method}").get("location") == f"https://gate.test:8443/{method}"
    for _ in range(3):
        assert client.ask("POST", body=b"x" * 100).status == 308
        client.send(b"PUT / HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc"))
        assert client.response().status == 308
    assert client.ask(target="/last").get("location") == "https://gate.test:8443/last"


def test_pipelined(gateway, clients):
    client = clients(gateway, "old")
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: gate.test\r\n\r\n" % index for index in range(20)))
    for index in range(20):
        assert client.response().get("location") == f"https://gate.test:8443/{index}"


def test_a_host_that_cannot_be_in_an_address_is_no_part_of_one(gateway, clients):
    for host in ("gate.test/evil", "user@gate.test", "gate.test:x", "gate%2etest", "[::1"):
        problem(clients(gateway, "old").ask(host=host), "bad_host")


def test_it_is_logged_and_touches_no_other_listener(gateway, clients, upstream):
    answer = clients(gateway, "old").ask(target="/x?secret")
    line = gateway.access_line(answer.get("x-request-id"))
    assert line["status"] == 308 and line["reason"] == "redirect_to_https" and line["listener"] == "old"
    assert line["path"] == "/x" and "route" not in line
    assert names.REASONS["redirect_to_https"] == 308
    assert clients(gateway, "http").ask().status == 200


def test_a_reload_begins_and_ends_it_on_open_connections(gateways, upstream, clients):
    gateway = gateways(redirecting(upstream))
    client = clients(gateway, "old")
    assert client.ask().status == 308
    gateway.reload(redirecting(upstream, port=9443))
    assert client.ask().get("location") == "https://gate.test:9443/"
    gateway.reload(plain(upstream, listeners={"old": {"bind": ["127.0.0.1:0"]}}))
    assert client.ask().status == 200
