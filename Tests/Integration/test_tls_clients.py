"""TLS of a listener: what it asks of its clients, and what it tells those that do not come to terms with it."""

import signal
import socket
import ssl
import subprocess
import threading
import urllib.request

import pytest

from harness import names
from harness.authority import Authority
from harness.bound import until
from harness.gateway import plain
from harness.http2 import Client2
from harness.upstream2 import Upstream2
from harness.wire import Client, problem

BOTH = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "edge-ca")


@pytest.fixture(scope="module")
def edge(authority):
    return authority.issue("edge", "DNS:edge.test,DNS:*.wild.test")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """An authority for clients, apart from the gateway's own."""
    return Authority(tmp_path_factory.mktemp("people"), "people-ca")


@pytest.fixture(scope="module")
def alice(people):
    return people.issue("alice", "DNS:alice.test,URI:spiffe://test/alice", usage="clientAuth")


def config(upstream, *pairs, **tls):
    certificates = [{"cert": str(cert), "key": str(key)} for cert, key in pairs]
    return plain(upstream, workers=1, admin={"listen": "127.0.0.1:0"}, listeners={"http": None, "https": {
        "bind": ["127.0.0.1:0"], "tls": {"certificates": certificates, **tls}}})


def context(authority, protocol="http/1.1", pair=None, version=None):
    made = ssl.create_default_context(cafile=str(authority.cert))
    made.set_alpn_protocols([protocol])
    if pair:
        made.load_cert_chain(*map(str, pair))
    if version is not None:
        made.minimum_version = made.maximum_version = version
    return made


def fingerprint(cert):
    text = subprocess.run(["openssl", "x509", "-in", str(cert), "-noout", "-fingerprint", "-sha256"],
                          capture_output=True, timeout=20, check=True).stdout.decode()
    return text.strip().split("=")[1].replace(":", "").lower()


def metric(gateway, name):
    with urllib.request.urlopen(gateway.url("/metrics", "admin"), timeout=10) as answer:
        text = answer.read().decode()
    return next((int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name)), 0)


IDENTITY = ("x-client-cert-subject", "x-client-cert-san", "x-client-cert-fingerprint")
# What a client may claim, in the spellings that a service cannot tell from ours.
FORGED = [("X-Client-Cert-Subject", "CN=root"), ("x_client_cert_subject", "CN=root"), ("X-Client_Cert-SAN", "DNS:root"),
          ("X-CLIENT-CERT-FINGERPRINT", "00"), ("X-Client-Cert-Whatever", "1")]


def identity(request):
    return {name: value for name, value in ((key.lower().replace("_", "-"), value) for key, value in request.fields)
            if name.startswith("x-client-cert")}


@pytest.mark.parametrize("version", BOTH)
def test_a_service_is_told_whose_certificate_was_verified(gateways, upstream, authority, edge, people, alice, version):
    gateway = gateways(config(upstream, edge, client_certificates={"mode": "required", "ca": str(people.cert)}))
    expected = dict(zip(IDENTITY, ("CN=alice", "DNS:alice.test,URI:spiffe://test/alice", fingerprint(alice[0]))))
    made = context(authority, pair=alice, version=version)
    for _ in range(2):
        # The second is resumed: the ticket knows the client too.
        with Client(gateway.address(), tls=made, name="edge.test") as client:
            assert client.ask(host="edge.test", fields=FORGED).status == 200
            assert identity(upstream.received()) == expected
            assert client.ask(host="edge.test").status == 200
            assert identity(upstream.received()) == expected
    made = context(authority, "h2", pair=alice, version=version)
    with Client2(gateway.address(), tls=made, name="edge.test") as client:
        forged = [(name.lower(), value) for name, value in FORGED]
        assert client.ask(authority="edge.test", fields=forged).status == 200
        assert identity(upstream.received()) == expected


def test_a_service_of_http2_is_told_the_same(gateways, authority, edge, people, alice):
    upstream = Upstream2()
    try:
        settings = config(upstream, edge, client_certificates={"mode": "optional", "ca": str(people.cert)})
        gateway = gateways({**settings, "services": {"up": {"to": [f"h2c://{upstream.address}"]}}})
        with Client(gateway.address(), tls=context(authority, pair=alice), name="edge.test") as client:
            assert client.ask(host="edge.test", fields=FORGED).status == 200
        fields = dict(upstream.received().fields)
        assert fields["x-client-cert-subject"] == "CN=alice" and "x-client-cert-whatever" not in fields
    finally:
        upstream.close()


@pytest.mark.parametrize("version", BOTH)
def test_a_limit_counts_by_certificate(gateways, upstream, authority, edge, people, alice, version):
    """Over both protocols and on resumed connections together; who shows none is not counted."""
    settings = config(upstream, edge, client_certificates={"mode": "optional", "ca": str(people.cert)})
    settings["limits"] = {"each": {"rate": "3/h", "per": "certificate"}}
    settings["routes"][0]["limits"] = ["each"]
    gateway = gateways(settings)

    def statuses(pair, count, protocol="http/1.1"):
        make, key = (Client2, "authority") if protocol == "h2" else (Client, "host")
        with make(gateway.address(), tls=context(authority, protocol, pair, version), name="edge.test") as client:
            return [client.ask(**{key: "edge.test"}).status for _ in range(count)]

    made, session = context(authority, pair=alice, version=version), None
    for is_known in (False, True):
        with made.wrap_socket(socket.create_connection(gateway.address()), server_hostname="edge.test",
                              session=session) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
            assert b" 200 " in client.recv(65536) and client.session_reused == is_known
            session = client.session
    assert statuses(alice, 2, "h2") == [200, 429]
    assert statuses(alice, 1) == [429]
    assert statuses(people.issue(f"bob-{version.name}", "DNS:bob.test", usage="clientAuth"), 4) == [200, 200, 200, 429]
    assert statuses(None, 5) == [200] * 5


def test_concurrency_counts_by_certificate(gateways, upstreams, authority, edge, people, alice):
    arrived, may_answer = threading.Event(), threading.Event()

    def service(wire, asked):
        arrived.set()
        assert may_answer.wait(20)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return True

    settings = config(upstreams(service), edge, client_certificates={"mode": "optional", "ca": str(people.cert)})
    settings["routes"][0]["concurrency"] = {"max": 1, "per": "certificate"}
    gateway = gateways(settings)
    bob = people.issue("bob-waits", "DNS:bob.test", usage="clientAuth")
    with Client(gateway.address(), tls=context(authority, pair=alice), name="edge.test") as first, \
            Client(gateway.address(), tls=context(authority, pair=alice), name="edge.test") as second, \
            Client(gateway.address(), tls=context(authority, pair=bob), name="edge.test") as third:
        first.socket.sendall(b"GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
        assert arrived.wait(20)
        problem(second.ask(host="edge.test"), "too_many_in_flight")
        third.socket.sendall(b"GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
        may_answer.set()
        assert first.response().status == 200 and third.response().status == 200
        assert second.ask(host="edge.test").status == 200


def test_nobody_says_so_without_a_certificate(gateways, upstream, authority, edge, people):
    """On plaintext listeners and on those that ask nobody, in heads and in trailers."""
    gateway = gateways(config(upstream, edge, client_certificates={"mode": "optional", "ca": str(people.cert)}))
    with Client(gateway.address(), tls=context(authority), name="edge.test") as client:
        assert client.ask(host="edge.test", fields=FORGED).status == 200
        assert identity(upstream.received()) == {}
    clear = gateways(plain(upstream))
    with Client(clear.address()) as client:
        assert client.ask(fields=FORGED).status == 200
        assert identity(upstream.received()) == {}
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
                    b"X-Client_Cert-Subject: CN=root\r\nX-Client-Cert-New: 1\r\nX-Kept: 1\r\n\r\n")
        assert client.response().status == 200
        assert upstream.received().trailers == [("X-Kept", "1")]


@pytest.mark.parametrize("version", BOTH)
def test_clients_without_a_good_certificate_are_refused_and_told_of(
        gateways, upstream, authority, edge, people, alice, version):
    gateway = gateways(config(upstream, edge, client_certificates={"mode": "required", "ca": str(people.cert)}))
    stranger = authority.issue("stranger", "DNS:stranger.test", usage="clientAuth")
    expired = people.issue("expired", "DNS:expired.test", days=-1, usage="clientAuth")
    for pair, reason, words in ((None, "certificate_missing", ""), (stranger, "untrusted", "self-signed"),
                                (expired, "untrusted", "expired")):
        mark = len(gateway.events.all)
        with pytest.raises((ssl.SSLError, OSError)):
            # TLS 1.3 tells the client when it reads.
            with Client(gateway.address(), tls=context(authority, pair=pair, version=version),
                        name="edge.test") as client:
                client.socket.sendall(b"GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
                assert client.socket.recv(1) == b"never"
        event = gateway.event(names.HANDSHAKE_FAILED, start=mark)
        assert event["reason"].startswith(reason) and words in event["reason"] and event["level"] == "info"
        assert event["listener"] == "https" and event["client"] == "127.0.0.1" and event["server_name"] == "edge.test"
    assert metric(gateway, 'gatehouse_tls_handshake_failures_total{reason="untrusted"}') == 2
    assert metric(gateway, 'gatehouse_tls_handshake_failures_total{reason="certificate_missing"}') == 1
    with Client(gateway.address(), tls=context(authority, pair=alice, version=version), name="edge.test") as client:
        assert client.ask(host="edge.test").status == 200


def test_a_changed_ca_file_decides_from_the_next_handshake_on(gateways, upstream, authority, edge, people, alice, tmp_path):
    """A ticket from before is worth nothing then."""
    file = tmp_path / "clients.crt"
    file.write_bytes(people.cert.read_bytes())
    gateway = gateways(config(upstream, edge, client_certificates={"mode": "required", "ca": str(file)}))
    made = context(authority, pair=alice)
    session = None
    for is_known in (False, True):
        with made.wrap_socket(socket.create_connection(gateway.address()), server_hostname="edge.test",
                              session=session) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
            assert b" 200 " in client.recv(65536)
            assert client.session_reused == is_known
            session = client.session
    file.write_bytes(authority.cert.read_bytes())
    gateway.event(names.TLS_FILES_READ)

    def is_refused():
        try:
            with made.wrap_socket(socket.create_connection(gateway.address()), server_hostname="edge.test",
                                  session=session) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
                return client.recv(1) == b""
        except (ssl.SSLError, OSError):
            return True

    until(is_refused, "the worker has the new authorities")


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_a_request_for_another_host_is_sent_elsewhere(gateways, upstream, authority, edge, people, protocol):
    """RFC 9110 §15.5.20, on listeners where who was asked for matters."""
    other = authority.issue("other", "DNS:other.test")
    make, key = (Client2, "authority") if protocol == "h2" else (Client, "host")
    strict = gateways(config(upstream, edge, other, strict_sni=True))
    asking = gateways(config(upstream, edge, other, client_certificates={"mode": "optional", "ca": str(people.cert)}))
    lax = gateways(config(upstream, edge, other))
    for gateway in (strict, asking):
        with make(gateway.address(), tls=context(authority, protocol), name="edge.test") as client:
            for host, status in (("edge.test", 200), ("edge.test:8443", 200), ("a.wild.test", 200),
                                 ("other.test", 421), ("a.b.wild.test", 421), ("127.0.0.1", 421), ("EDGE.test.", 200)):
                answer = client.ask(**{key: host})
                assert answer.status == status, host
                if status == 421:
                    assert answer.json()["reason"] == "misdirected_request"
    with make(lax.address(), tls=context(authority, protocol), name="edge.test") as client:
        assert client.ask(**{key: "other.test"}).status == 200


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH", "OPTIONS"])
def test_http_in_clear_on_a_tls_port_is_answered_in_kind(gateways, upstream, edge, method):
    gateway = gateways(config(upstream, edge, hsts={"max_age": "1d"}))
    with Client(gateway.address()) as client:
        answer = client.ask(method, "/secret?x=1")
        problem(answer, "plain_http")
        assert answer.get("connection") == "close" and answer.get("strict-transport-security") is None
        assert client.is_closed()
    line = gateway.access_line(reason="plain_http")
    assert (line["method"], line["path"], line["status"]) == (method, "/secret", 400)
    assert metric(gateway, 'gatehouse_tls_handshake_failures_total{reason="plain_http"}') == 1
    assert upstream.requests.empty()


def test_why_a_handshake_failed_is_told_and_counted(gateways, upstream, edge):
    gateway = gateways(config(upstream, edge, strict_sni=True, handshake={"timeout": "2s"}))
    host, port = gateway.address()

    def s_client(*options):
        subprocess.run(["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", "edge.test", *options],
                       input=b"", capture_output=True, timeout=20, check=False)

    def reset_in_the_middle():
        with socket.create_connection((host, port)) as raw:
            raw.sendall(b"\x16\x03\x01")

    def stalls():
        with socket.create_connection((host, port)) as raw:
            raw.sendall(b"\x16\x03\x01")
            assert raw.recv(1) == b""

    def garbage():
        with socket.create_connection((host, port)) as raw:
            raw.sendall(b"\xff" * 64)
            raw.recv(64)

    causes = {
        "no_shared_cipher": lambda: s_client("-tls1_2", "-cipher", "AES128-GCM-SHA256"),
        "unsupported_version": lambda: s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
        "no_shared_protocol": lambda: s_client("-alpn", "spdy/1"),
        "unknown_server_name": lambda: s_client("-servername", "nobody.test"),
        # The client does not know our authority, and says so: `unknown CA`.
        "alert_received": lambda: s_client("-verify_return_error"),
        "closed_early": reset_in_the_middle,
        "timed_out": stalls,
        "bad_record": garbage,
    }
    for reason, provoke in causes.items():
        mark = len(gateway.events.all)
        provoke()
        event = gateway.event(names.HANDSHAKE_FAILED, start=mark)
        assert event["reason"].split(":")[0] == reason, event
        assert metric(gateway, f'gatehouse_tls_handshake_failures_total{{reason="{reason}"}}') == 1
        if reason == "alert_received":
            assert "unknown CA" in event["reason"]
        if reason == "unknown_server_name":
            assert event["server_name"] == "nobody.test"
    # Whoever only looks whether the port is open is counted, and not told of.
    mark = len(gateway.events.all)
    socket.create_connection((host, port)).close()
    until(lambda: metric(gateway, 'gatehouse_tls_handshake_failures_total{reason="closed_early"}') == 2, "counted")
    assert len(gateway.events.all) == mark


def test_failures_are_told_at_a_bounded_rate_and_all_counted(gateways, upstream, edge):
    gateway = gateways(config(upstream, edge))
    for _ in range(60):
        with socket.create_connection(gateway.address()) as raw:
            raw.sendall(b"\xff" * 64)
            raw.recv(64)
    assert metric(gateway, 'gatehouse_tls_handshake_failures_total{reason="bad_record"}') == 60
    # The log is whole when the gateway has ended: its lines come behind what they tell of.
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    told = [event for event in gateway.events.all if event.get("event") == names.HANDSHAKE_FAILED]
    assert 1 <= len(told) < 60


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_hsts_is_on_every_answer_once(gateways, upstreams, authority, edge, protocol):
    def answer(wire, request):
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nStrict-Transport-Security: max-age=1\r\n"
                  b"strict-transport-security: max-age=2\r\n\r\nok")
        return True

    settings = config(upstreams(answer), edge, hsts={"max_age": "365d", "include_subdomains": True})
    settings["routes"] = [{"name": "all", "match": {"prefix": "/a"}, "to": "up"}]
    gateway = gateways(settings)
    make, key = (Client2, "authority") if protocol == "h2" else (Client, "host")
    with make(gateway.address(), tls=context(authority, protocol), name="edge.test") as client:
        for path, status in (("/a", 200), ("/none", 404)):
            answer = client.ask("GET", path, **{key: "edge.test"})
            assert answer.status == status
            assert answer.get("strict-transport-security") == "max-age=31536000; includeSubDomains"
