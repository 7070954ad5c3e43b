"""Every reason of the registry is provoked, over HTTP/1.1 and over HTTP/2: nobody meets a reason that no test has met.

A provocation gets the protocol's asker and says what came of it: the answer that the client got, or nothing where there
can be none, and then the access line alone tells."""

import json
import socket
import ssl
import time

import pytest

from harness import crowd, names
from harness.authority import Authority
from harness.bound import SANITIZER, TooLate, until
from harness.gateway import merged, plain, run
from harness.http2 import Client2
from harness.tokens import bearer2, key_set
from harness.ports import free_port
from harness.websocket import KEY, echo_bytes, handshake, opens
from harness.wire import Client, request, response

# No peer leads there, and a test that could would be a bug report.
NOT_FROM_OUTSIDE = {"internal": "only a mistake of our own leads there: ExchangeMachineTests has every way to it"}
NOT_UNDER_A_SANITIZER = {"overloaded": "most of the memory is then the sanitizer's"}
NOT_OVER_HTTP2 = {
    "unsupported_version": "a head of HTTP/2 has no version in it (RFC 9113 §8.3.1)",
    "plain_http": "whoever speaks in clear by mistake speaks HTTP/1.1",
}


class Lab:
    """What a provocation works with; `ask` and `send` speak the protocol that the test is about."""

    def __init__(self, protocol, gateways, upstreams, key, folder):
        self.is_http2 = protocol == "h2"
        self.gateways = gateways
        self.upstreams = upstreams
        self.key = key
        self.folder = folder
        self.gateway = None
        self.held = []

    def before(self, upstream=None, **change):
        """A gateway of one worker before a service that echoes, unless another is given."""
        self.gateway = self.gateways(plain(upstream or self.upstreams(), **merged({"workers": 1}, change)))
        return self

    def before_service(self, serve=None, answer=None, **change):
        return self.before(self.upstreams(serve=serve) if serve else self.upstreams(answer), **change)

    def client(self):
        self.held.append((Client2 if self.is_http2 else Client)(self.gateway.address()))
        return self.held[-1]

    def ask(self, method="GET", target="/", fields=(), body=None, **options):
        return self.client().ask(method, target, list(fields), body, **options)

    def begun(self, method="GET", target="/", fields=(), body=b""):
        """Begins a request and leaves it unfinished where a body is said to come; the client."""
        client = self.client()
        if self.is_http2:
            number = client.request(method, target, list(fields), end=not fields)
            if body:
                client.data(number, body, end=False)
        else:
            client.send(request(method, target, fields) + body)
        return client

    def answer(self, client):
        return client.answer(1) if self.is_http2 else client.response()

    def raw(self, data):
        """Bytes of HTTP/1.1, and the answer to them."""
        client = self.client()
        client.send(data)
        return client.response()

    def reset_head(self, *fields):
        """A head of HTTP/2 for which the session resets the stream, which leaves only the log to tell."""
        client = self.client()
        number = client.request(fields=list(fields))
        client.until(lambda: client.streams[number].reset is not None)

    def close(self):
        for held in self.held:
            held.close()


def refused_by_a_service(text):
    """A service that answers every connection with this, and closes."""
    def serve(wire):
        wire.head()
        wire.send(text)
    return serve


def bad_request(lab):
    lab.before()
    if lab.is_http2:
        return lab.reset_head(("X-Upper", "1"))
    return lab.raw(b"GET / HTTP/1.1\r\nHost: gate.test\r\nX A: 1\r\n\r\n")


def bad_host(lab):
    lab.before()
    if lab.is_http2:
        return lab.ask(authority="gate.test:port")
    return lab.raw(b"GET / HTTP/1.1\r\nHost: gate.test\r\nHost: other.test\r\n\r\n")


def bad_framing(lab):
    lab.before()
    if lab.is_http2:
        client = lab.client()
        return client.answer(client.request("CONNECT", "/ws", [
            (":protocol", "websocket"), ("sec-websocket-version", "13"), ("content-length", "5")], end=False))
    return lab.raw(
        b"POST / HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


def method_not_allowed(lab):
    return lab.before().ask("TRACE")


def not_implemented(lab):
    lab.before()
    if lab.is_http2:
        client = lab.client()
        return client.answer(client.request("CONNECT", "/x", [(":protocol", "connect-udp")], end=False))
    return lab.raw(b"CONNECT gate.test:443 HTTP/1.1\r\nHost: gate.test:443\r\n\r\n")


def unsupported_version(lab):
    return lab.before().raw(b"GET / HTTP/3.0\r\nHost: gate.test\r\n\r\n")


def redirect_to_https(lab):
    listeners = {"http": {"bind": ["127.0.0.1:0"], "redirect_to_https": 443, "protocols": ["http/1.1", "h2c"]}}
    return lab.before(listeners=listeners).ask()


def secured(lab, **tls):
    authority = Authority(lab.folder)
    files = authority.issue("edge", "DNS:edge.test")
    lab.before(listeners={"http": {"protocols": None, "tls": {
        "certificates": [{"cert": str(files[0]), "key": str(files[1])}], **tls}}})
    made = ssl.create_default_context(cafile=str(authority.cert))
    made.set_alpn_protocols(["h2" if lab.is_http2 else "http/1.1"])
    return made


def plain_http(lab):
    secured(lab)
    lab.held.append(Client(lab.gateway.address()))
    return lab.held[-1].ask()


def misdirected_request(lab):
    context = secured(lab, strict_sni=True)
    make = Client2 if lab.is_http2 else Client
    lab.held.append(make(lab.gateway.address(), tls=context, name="edge.test"))
    return lab.held[-1].ask(**{"authority" if lab.is_http2 else "host": "other.test"})


def body_too_large(lab):
    return lab.before(limits_of_http={"body": "1KiB"}).ask("POST", body=b"x" * 1025)


def request_timeout(lab):
    lab.before(limits_of_http={"body_idle_timeout": "200ms"})
    return lab.answer(lab.begun("POST", fields=[("content-length", "10")], body=b"half"))


def no_route(lab):
    return lab.before(routes=[{"name": "only", "match": {"prefix": "/only"}, "to": "up"}]).ask()


def guarded(lab, *fields, require=None):
    file = lab.folder / "jwks.json"
    file.write_text(key_set(lab.key))
    issuer = {"jwt": {"issuer": "https://auth.test", "audience": ["platform-api"], "keys": {"file": str(file)}}}
    route = {"name": "all", "match": {"prefix": "/"}, "to": "up"} | ({"require": require} if require else {})
    return lab.before(auth={"main": issuer}, defaults={"auth": "main"}, routes=[route]).ask(fields=fields)


def keys_unavailable(lab):
    lab.held.append(free_port())
    url = f"http://127.0.0.1:{lab.held[-1].getsockname()[1]}/keys"
    issuer = {"jwt": {"issuer": "https://auth.test", "audience": ["platform-api"], "keys": {"url": url}}}
    lab.before(auth={"main": issuer}, defaults={"auth": "main"})
    return lab.ask(fields=bearer2(lab.key.token()))


def token_expired(lab):
    return guarded(lab, *bearer2(lab.key.token(exp=int(time.time()) - 3600)))


def token_unknown_key(lab):
    return guarded(lab, *bearer2(lab.key.token(header={"alg": "RS256", "kid": "nobody's"})))


def insufficient_scope(lab):
    return guarded(lab, *bearer2(lab.key.token(scope="read")), require={"scopes": ["write"]})


def insufficient_role(lab):
    return guarded(lab, *bearer2(lab.key.token(roles=["reader"])), require={"roles": ["editor"]})


def rate_limited(lab):
    lab.before(limits={"client": {"rate": "1/h", "per": "client"}}, defaults={"limits": ["client"]})
    assert lab.ask().status == 200
    return lab.ask()


def too_many_in_flight(lab):
    upstream = lab.upstreams(serve=lambda wire: (upstream.requests.put(wire.head()), wire.until_close()))
    lab.before(upstream, routes=[
        {"name": "all", "match": {"prefix": "/"}, "to": "up", "concurrency": {"max": 1, "per": "client"}}])
    lab.begun()
    upstream.received()
    return lab.ask()


def upstream_connect(lab):
    held = free_port()
    service = {"to": [f"http://127.0.0.1:{held.getsockname()[1]}"]}
    return lab.before(services={"up": service}).ask()


def upstream_tls(lab):
    upstream = lab.upstreams(serve=lambda wire: wire.send(b"HTTP/1.1 400 No\r\n\r\n"))
    return lab.before(services={"up": {"to": [f"https://{upstream.address}"]}}).ask()


def upstream_connect_timeout(lab):
    silent = lab.upstreams(serve=lambda wire: wire.until_close())
    quick = {"name": "all", "match": {"prefix": "/"}, "to": "up", "timeouts": {"connect": "200ms"}}
    return lab.before(services={"up": {"to": [f"https://{silent.address}"]}}, routes=[quick]).ask()


def upstream_reset(lab):
    return lab.before_service(answer=lambda wire, _: False).ask("POST", body=b"x")


def upstream_invalid(lab):
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
    return lab.before_service(serve=refused_by_a_service(text)).ask()


def upstream_truncated(lab):
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"
    lab.before_service(serve=refused_by_a_service(text)).begun()


def silent_service(wire):
    wire.until_close()


def upstream_timeout(lab):
    quick = {"name": "all", "match": {"prefix": "/"}, "to": "up", "timeouts": {"request": "200ms"}}
    return lab.before_service(serve=silent_service, routes=[quick]).ask()


def upstream_overloaded(lab):
    """A service whose connections are made by its kernel and answered by nobody, till a worker may have no more of them."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        quick = {"name": "all", "match": {"prefix": "/"}, "to": "up", "timeouts": {"connect": "500ms"}}
        service = {"to": ["http://127.0.0.1:%d" % listener.getsockname()[1]]}
        lab.before(services={"up": service}, routes=[quick], limits_of_http={"streams": 2000})
        client = Client2(lab.gateway.address())
        lab.held.append(client)
        client.until(lambda: client.settings)
        for _ in range(1024):
            client.request("POST")
        return lab.ask("POST")


def overloaded(lab):
    """Nine tenths of a small budget are taken; nobody is let in, and idle connections go, only behind that."""
    authority = Authority(lab.folder)
    cert, key = authority.issue("edge", "DNS:localhost")
    secure = {"bind": ["127.0.0.1:0"], "connections": {"per_client": 100_000},
              "tls": {"certificates": [{"cert": str(cert), "key": str(key)}]}}
    lab.before(memory={"budget": "16MiB"}, listeners={"secure": secure})
    told = []

    def is_told():
        told.append(lab.ask())
        lab.held.pop().close()
        return told[-1].status == 503

    lab.held += crowd.fill(lab.gateway.address("secure"), ssl.create_default_context(cafile=str(authority.cert)), is_told)
    return told[-1]


def tunnel(lab):
    client = lab.client()
    if lab.is_http2:
        number = client.request(
            "CONNECT", "/ws", [(":protocol", "websocket"), ("sec-websocket-version", "13")], end=False)
        client.until(lambda: client.streams[number].fields)
        assert client.streams[number].status == 200
    else:
        client.send(handshake(key=KEY))
        assert client.head().status == 101
    return client


def draining(lab):
    lab.gateway = lab.gateways(
        plain(lab.upstreams(opens(echo_bytes)), workers=1), options=("--drain-timeout", "0"))
    tunnel(lab)
    lab.gateway.process.terminate()
    assert lab.gateway.wait() == 0


def websocket_idle(lab):
    tunnel(lab.before_service(answer=opens(echo_bytes), limits_of_http={"websocket_idle_timeout": "200ms"}))


def client_closed(lab):
    upstream = lab.upstreams(serve=lambda wire: (upstream.requests.put(wire.head()), wire.until_close()))
    client = lab.before(upstream).begun()
    upstream.received()
    client.close()


# One row a reason. A lambda where one request of the shape that both protocols have is all.
PROVOCATIONS = {
    "redirect_to_https": redirect_to_https,
    "bad_request": bad_request,
    "bad_target": lambda lab: lab.before().ask(target="/a%00b"),
    "bad_host": bad_host,
    "bad_framing": bad_framing,
    "plain_http": plain_http,
    "misdirected_request": misdirected_request,
    "uri_too_long": lambda lab: lab.before(limits_of_http={"request_line": "1KiB"}).ask(target="/" + "a" * 2000),
    "head_too_large": lambda lab: lab.before(limits_of_http={"fields": 20}).ask(
        fields=[(f"x-{number}", "1") for number in range(25)]),
    "body_too_large": body_too_large,
    "request_timeout": request_timeout,
    "unsupported_version": unsupported_version,
    "method_not_allowed": method_not_allowed,
    "not_implemented": not_implemented,
    "expectation_failed": lambda lab: lab.before().ask(fields=[("expect", "a miracle")]),
    "no_route": no_route,
    "token_missing": guarded,
    "token_invalid": lambda lab: guarded(lab, *bearer2("not.a.token")),
    "token_expired": token_expired,
    "token_unknown_key": token_unknown_key,
    "keys_unavailable": keys_unavailable,
    "insufficient_scope": insufficient_scope,
    "insufficient_role": insufficient_role,
    "rate_limited": rate_limited,
    "too_many_in_flight": too_many_in_flight,
    "upstream_connect": upstream_connect,
    "upstream_tls": upstream_tls,
    "upstream_connect_timeout": upstream_connect_timeout,
    "upstream_reset": upstream_reset,
    "upstream_invalid": upstream_invalid,
    "upstream_truncated": upstream_truncated,
    "upstream_timeout": upstream_timeout,
    "upstream_overloaded": upstream_overloaded,
    "overloaded": overloaded,
    "draining": draining,
    "websocket_idle": websocket_idle,
    "client_closed": client_closed,
}


@pytest.fixture
def lab(request, gateways, upstreams, key, tmp_path):
    made = Lab(request.param, gateways, upstreams, key, tmp_path)
    yield made
    made.close()


def registry():
    status, out, errors = run("reasons", "--format", "json")
    assert status == 0, errors
    return {entry["name"]: entry for entry in json.loads(out)}


def test_the_program_tells_the_names_that_the_tests_know():
    assert {name: entry["status"] for name, entry in registry().items()} == names.REASONS


def test_every_reason_has_a_provocation_or_says_why_not():
    assert set(registry()) == set(PROVOCATIONS) | set(NOT_FROM_OUTSIDE)
    assert not set(PROVOCATIONS) & set(NOT_FROM_OUTSIDE) and set(NOT_OVER_HTTP2) <= set(PROVOCATIONS)


def test_one_reason_is_explained_and_a_wrong_name_gets_the_nearest():
    status, out, _ = run("reasons", "rate_limited")
    assert status == 0 and out.startswith("rate_limited: Too many requests\n")
    assert "urn:gatehouse:reason:rate_limited" in out and "What to do:" in out
    status, out, errors = run("reasons", "rate_limit")
    assert (status, out) == (1, "") and "did you mean 'rate_limited'" in errors


@pytest.mark.bound(120)
@pytest.mark.parametrize("lab", ["http/1.1", "h2"], indirect=True)
@pytest.mark.parametrize("reason", PROVOCATIONS)
def test_a_reason_is_provoked_and_told_alike_everywhere(lab, reason):
    if lab.is_http2 and reason in NOT_OVER_HTTP2:
        pytest.skip(NOT_OVER_HTTP2[reason])
    if SANITIZER and reason in NOT_UNDER_A_SANITIZER:
        pytest.skip(NOT_UNDER_A_SANITIZER[reason])
    answer = PROVOCATIONS[reason](lab)
    told = registry()[reason]
    if answer is None:
        lab.gateway.access_line(reason=reason)
        return
    line = lab.gateway.access_line(answer.get("x-request-id"), reason=reason)
    assert told["is_sent"], "the registry says that it is never sent"
    assert answer.status == line["status"] == told["status"]
    retry_after = answer.get("retry-after")
    assert int(retry_after) >= told["retry_after"] if told["retry_after"] else retry_after is None
    if reason == "redirect_to_https":
        return
    said = json.loads(answer.body)
    assert answer.get("content-type") == "application/problem+json"
    expected = {"type": told["type"], "title": told["title"], "status": told["status"], "reason": reason,
                "request_id": line["request_id"]}
    assert {name: said[name] for name in expected} == expected
